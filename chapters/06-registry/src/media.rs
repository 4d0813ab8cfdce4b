//! Media types: what a blob claims to be.
//!
//! OCI and Docker name the same things differently (OCI image-spec, media-types.md; Docker's
//! "Image Manifest Version 2, Schema 2"). A registry serves whatever was pushed, so both are
//! understood, and what is understood is one type.

use std::fmt;

/// How a layer's tar archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// A plain tar archive.
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// Zstandard (RFC 8878).
    Zstd,
}

/// A media type of the OCI image specification or of Docker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum MediaType {
    /// `application/vnd.oci.image.manifest.v1+json`
    OciManifest,
    /// `application/vnd.docker.distribution.manifest.v2+json`
    DockerManifest,
    /// `application/vnd.docker.distribution.manifest.v1+(pretty)jws`: schema 1, not content-addressed.
    DockerSchema1,
    /// `application/vnd.oci.image.index.v1+json`
    OciIndex,
    /// `application/vnd.docker.distribution.manifest.list.v2+json`
    DockerList,
    /// `application/vnd.oci.image.config.v1+json`
    OciConfig,
    /// `application/vnd.docker.container.image.v1+json`
    DockerConfig,
    /// `application/vnd.oci.image.layer.v1.tar`, `+gzip` or `+zstd`
    OciLayer(Compression),
    /// `application/vnd.docker.image.rootfs.diff.tar`, `.gzip` or `.zstd`
    DockerLayer(Compression),
    /// A layer that lies elsewhere (Docker's foreign, OCI's nondistributable): Windows bases.
    ForeignLayer(String),
    /// Anything else.
    Other(String),
}

const NAMES: &[(MediaType, &str)] = &[
    (MediaType::OciManifest, "application/vnd.oci.image.manifest.v1+json"),
    (MediaType::DockerManifest, "application/vnd.docker.distribution.manifest.v2+json"),
    (MediaType::DockerSchema1, "application/vnd.docker.distribution.manifest.v1+prettyjws"),
    (MediaType::DockerSchema1, "application/vnd.docker.distribution.manifest.v1+json"),
    (MediaType::OciIndex, "application/vnd.oci.image.index.v1+json"),
    (MediaType::DockerList, "application/vnd.docker.distribution.manifest.list.v2+json"),
    (MediaType::OciConfig, "application/vnd.oci.image.config.v1+json"),
    (MediaType::DockerConfig, "application/vnd.docker.container.image.v1+json"),
    (MediaType::OciLayer(Compression::None), "application/vnd.oci.image.layer.v1.tar"),
    (MediaType::OciLayer(Compression::Gzip), "application/vnd.oci.image.layer.v1.tar+gzip"),
    (MediaType::OciLayer(Compression::Zstd), "application/vnd.oci.image.layer.v1.tar+zstd"),
    (MediaType::DockerLayer(Compression::None), "application/vnd.docker.image.rootfs.diff.tar"),
    (
        MediaType::DockerLayer(Compression::Gzip),
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    ),
    (
        MediaType::DockerLayer(Compression::Zstd),
        "application/vnd.docker.image.rootfs.diff.tar.zstd",
    ),
];

impl MediaType {
    /// Reads a media type as it stands in a descriptor or in a Content-Type header; parameters
    /// such as `; charset=utf-8` are dropped.
    pub fn parse(text: &str) -> MediaType {
        let name = text.split(';').next().unwrap_or("").trim();
        if let Some((known, _)) = NAMES.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)) {
            return known.clone();
        }
        if name.contains(".foreign.") || name.contains(".nondistributable.") {
            return MediaType::ForeignLayer(name.to_owned());
        }
        MediaType::Other(name.to_owned())
    }

    /// The media type's own name.
    pub fn as_str(&self) -> &str {
        match self {
            MediaType::ForeignLayer(name) | MediaType::Other(name) => name,
            known => NAMES.iter().find(|(t, _)| t == known).map_or("", |(_, name)| name),
        }
    }

    /// Whether this is a manifest of one image.
    pub fn is_manifest(&self) -> bool {
        matches!(self, MediaType::OciManifest | MediaType::DockerManifest)
    }

    /// Whether this is a list of manifests.
    pub fn is_index(&self) -> bool {
        matches!(self, MediaType::OciIndex | MediaType::DockerList)
    }

    /// Whether this is an image configuration.
    pub fn is_config(&self) -> bool {
        matches!(self, MediaType::OciConfig | MediaType::DockerConfig)
    }

    /// How a layer is compressed; `None` for what is no layer that Corten takes.
    pub fn compression(&self) -> Option<Compression> {
        match self {
            MediaType::OciLayer(c) | MediaType::DockerLayer(c) => Some(*c),
            _ => None,
        }
    }

    /// The manifests and indexes that Corten understands, for an Accept header.
    pub fn accepted_manifests() -> String {
        [Self::OciIndex, Self::OciManifest, Self::DockerList, Self::DockerManifest]
            .map(|t| t.as_str().to_owned())
            .join(", ")
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_round_trips_and_parameters_are_dropped() {
        for (kind, name) in NAMES {
            assert_eq!(&MediaType::parse(name), kind);
            assert_eq!(&MediaType::parse(&format!("{name}; charset=utf-8")), kind);
            if kind != &MediaType::DockerSchema1 {
                assert_eq!(kind.as_str(), *name);
            }
        }
    }

    #[test]
    fn layers_that_lie_elsewhere_are_told_apart() {
        for name in [
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        ] {
            assert_eq!(MediaType::parse(name), MediaType::ForeignLayer(name.to_owned()));
        }
    }
}
