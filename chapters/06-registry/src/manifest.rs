//! Manifests, indexes and image configurations.
//!
//! Each is JSON, named by the digest of its bytes. So the bytes as they came are kept ([`raw`]
//! methods): writing the parsed value out again would drop the fields that only Docker knows and
//! change the digest. Parsing turns them into checked types once; nothing later sees a digest or a
//! media type as text.
//!
//! [`raw`]: Manifest::raw

use std::collections::HashMap;

use oci_spec::image as oci;

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::json;
use crate::media::MediaType;
use crate::platform::Platform;

/// The largest manifest or index that is read, as the distribution specification advises
/// registries ("Pushing manifests").
pub const MAX_MANIFEST: u64 = 4 << 20;
/// The largest image configuration that is read. It holds the build history, so it may be long,
/// but it has to fit in memory.
pub const MAX_CONFIG: u64 = 8 << 20;

/// What names content: its type, digest and size (OCI image-spec, descriptor.md).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// What the content claims to be.
    pub media_type: MediaType,
    /// The digest of the content.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// For which platform it is, in an index.
    pub platform: Option<Platform>,
    /// Free annotations.
    pub annotations: HashMap<String, String>,
}

impl Descriptor {
    /// A descriptor of `bytes`.
    pub fn of(media_type: MediaType, bytes: &[u8]) -> Descriptor {
        Descriptor::new(media_type, Digest::sha256(bytes), bytes.len() as u64)
    }

    /// A descriptor without platform and annotations.
    pub fn new(media_type: MediaType, digest: Digest, size: u64) -> Descriptor {
        Descriptor { media_type, digest, size, platform: None, annotations: HashMap::new() }
    }

    pub(crate) fn from_oci(from: &oci::Descriptor) -> Result<Descriptor> {
        let platform = from.platform().as_ref().map(|p| {
            Platform::new(
                &p.os().to_string(),
                &p.architecture().to_string(),
                p.variant().as_deref(),
            )
        });
        Ok(Descriptor {
            media_type: MediaType::parse(from.media_type().as_ref()),
            digest: from.digest().to_string().parse()?,
            size: from.size(),
            platform,
            annotations: from.annotations().clone().unwrap_or_default(),
        })
    }

    pub(crate) fn to_oci(&self) -> Result<oci::Descriptor> {
        let digest = self.digest.to_string().parse::<oci::Digest>();
        let digest = digest.map_err(|e| Error::malformed(self.digest.to_string(), e))?;
        let media_type = oci::MediaType::from(self.media_type.as_str());
        let mut to = oci::Descriptor::new(media_type, self.size, digest);
        if let Some(platform) = &self.platform {
            let mut oci_platform = oci::Platform::default();
            oci_platform.set_os(oci::Os::from(platform.os.as_str()));
            oci_platform.set_architecture(oci::Arch::from(platform.architecture.as_str()));
            oci_platform.set_variant(platform.variant.clone());
            to.set_platform(Some(oci_platform));
        }
        if !self.annotations.is_empty() {
            to.set_annotations(Some(self.annotations.clone()));
        }
        Ok(to)
    }
}

/// A manifest: one image's configuration and layers.
#[derive(Debug, Clone)]
pub struct Manifest {
    raw: Vec<u8>,
    media_type: MediaType,
    /// The image configuration; its digest is the image id.
    pub config: Descriptor,
    /// The layers, the lowest first.
    pub layers: Vec<Descriptor>,
}

/// An index: manifests of one image for several platforms.
#[derive(Debug, Clone)]
pub struct Index {
    raw: Vec<u8>,
    media_type: MediaType,
    /// The manifests.
    pub manifests: Vec<Descriptor>,
}

/// What stands behind a name in a registry.
#[derive(Debug, Clone)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// A choice of images.
    Index(Index),
}

impl Document {
    // ANCHOR: parse
    /// Parses a manifest or an index. `declared` is the Content-Type or the descriptor's type, which
    /// must agree with the document's own `mediaType` and with its fields: a document that is a
    /// manifest to one reader and an index to another is an attack (CVE-2021-41190).
    ///
    /// # Errors
    /// [`Error::Malformed`] and [`Error::Unsupported`], naming `what`.
    pub fn parse(what: &str, declared: &MediaType, raw: Vec<u8>) -> Result<Document> {
        json::check(what, &raw)?;
        let probe: Probe = serde_json::from_slice(&raw)
            .map_err(|e| Error::malformed(what, format!("not a manifest: {e}")))?;
        if *declared == MediaType::DockerSchema1 || probe.schema_version == Some(1) {
            return Err(Error::Unsupported {
                what: what.to_owned(),
                why:
                    "a schema 1 manifest, which was replaced in 2017 and cannot be verified: push \
                      the image again with a current tool"
                        .to_owned(),
            });
        }
        if let Some(inner) = &probe.media_type
            && MediaType::parse(inner) != *declared
        {
            let why = format!("sent as {declared}, but calls itself {inner}");
            return Err(Error::malformed(what, why));
        }
        if probe.layers.is_some() && probe.manifests.is_some() {
            return Err(Error::malformed(what, "it has both layers and manifests"));
        }
        if declared.is_manifest() {
            Ok(Document::Manifest(Manifest::parse(what, declared.clone(), raw)?))
        } else if declared.is_index() {
            Ok(Document::Index(Index::parse(what, declared.clone(), raw)?))
        } else {
            let why = format!("media type {declared} is neither an image manifest nor an index");
            Err(Error::Unsupported { what: what.to_owned(), why })
        }
    }
    // ANCHOR_END: parse

    /// Parses a document by what it says of itself, where no descriptor does.
    ///
    /// # Errors
    /// As for [`Document::parse`].
    pub fn parse_own(what: &str, raw: Vec<u8>) -> Result<Document> {
        let probe: Probe = serde_json::from_slice(&raw)
            .map_err(|e| Error::malformed(what, format!("not a manifest: {e}")))?;
        let kind = match (&probe.media_type, probe.manifests.is_some()) {
            (Some(kind), _) => MediaType::parse(kind),
            (None, true) => MediaType::OciIndex,
            (None, false) => MediaType::OciManifest,
        };
        Document::parse(what, &kind, raw)
    }

    /// The media type.
    pub fn media_type(&self) -> &MediaType {
        match self {
            Document::Manifest(manifest) => &manifest.media_type,
            Document::Index(index) => &index.media_type,
        }
    }

    /// The bytes as they came.
    pub fn raw(&self) -> &[u8] {
        match self {
            Document::Manifest(manifest) => &manifest.raw,
            Document::Index(index) => &index.raw,
        }
    }
}

/// Only the fields that tell what a document is.
#[derive(serde::Deserialize)]
struct Probe {
    #[serde(rename = "schemaVersion")]
    schema_version: Option<u64>,
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
    layers: Option<serde::de::IgnoredAny>,
    manifests: Option<serde::de::IgnoredAny>,
}

impl Manifest {
    fn parse(what: &str, media_type: MediaType, raw: Vec<u8>) -> Result<Manifest> {
        let parsed: oci::ImageManifest = serde_json::from_slice(&raw)
            .map_err(|e| Error::malformed(what, format!("not an image manifest: {e}")))?;
        let config = Descriptor::from_oci(parsed.config())?;
        if !config.media_type.is_config() {
            return Err(Error::Unsupported {
                what: what.to_owned(),
                why: format!(
                    "its configuration is {}: an artifact (chart, module, signature), not a \
                     container image",
                    config.media_type
                ),
            });
        }
        let layers =
            parsed.layers().iter().map(Descriptor::from_oci).collect::<Result<Vec<_>>>()?;
        for layer in &layers {
            check_layer(what, layer)?;
        }
        Ok(Manifest { raw, media_type, config, layers })
    }

    /// The bytes as they came, of which the digest is.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The media type.
    pub fn media_type(&self) -> &MediaType {
        &self.media_type
    }

    /// The same image as an OCI manifest; an OCI manifest is given back as it is.
    ///
    /// skopeo and umoci look for OCI media types only in an OCI image layout. The configuration and
    /// the layers stay byte for byte, so the image id stays the same; the manifest's digest does not.
    ///
    /// # Errors
    /// Where the document cannot be serialised.
    pub fn to_oci(&self) -> Result<Manifest> {
        if self.media_type == MediaType::OciManifest {
            return Ok(self.clone());
        }
        let as_oci = |from: &Descriptor| Descriptor {
            media_type: match &from.media_type {
                MediaType::DockerConfig => MediaType::OciConfig,
                MediaType::DockerLayer(compression) => MediaType::OciLayer(*compression),
                other => other.clone(),
            },
            ..from.clone()
        };
        Manifest::build(as_oci(&self.config), self.layers.iter().map(as_oci).collect())
    }

    /// An OCI manifest of a configuration and layers. The same parts give the same bytes.
    ///
    /// # Errors
    /// Where the document cannot be serialised.
    pub fn build(config: Descriptor, layers: Vec<Descriptor>) -> Result<Manifest> {
        let bad = |why: String| Error::malformed("manifest", why);
        let document = oci::ImageManifestBuilder::default()
            .schema_version(oci::SCHEMA_VERSION)
            .media_type(oci::MediaType::ImageManifest)
            .config(config.to_oci()?)
            .layers(layers.iter().map(Descriptor::to_oci).collect::<Result<Vec<_>>>()?)
            .build()
            .map_err(|e| bad(e.to_string()))?;
        // By way of a Value, whose maps are sorted.
        let raw = serde_json::to_value(&document)
            .and_then(|value| serde_json::to_vec(&value))
            .map_err(|e| bad(e.to_string()))?;
        Ok(Manifest { raw, media_type: MediaType::OciManifest, config, layers })
    }

    /// The descriptor of this manifest.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::of(self.media_type.clone(), &self.raw)
    }
}

fn check_layer(what: &str, layer: &Descriptor) -> Result<()> {
    let why = match &layer.media_type {
        MediaType::ForeignLayer(name) => format!(
            "layer {} is {name}: it may be fetched only from its maker's own server, which Corten \
             does not do (such layers are bases of Windows images)",
            layer.digest
        ),
        other if other.compression().is_none() => {
            format!("layer {} has the unknown media type {other}", layer.digest)
        }
        _ => return Ok(()),
    };
    Err(Error::Unsupported { what: what.to_owned(), why })
}

impl Index {
    fn parse(what: &str, media_type: MediaType, raw: Vec<u8>) -> Result<Index> {
        let parsed: oci::ImageIndex = serde_json::from_slice(&raw)
            .map_err(|e| Error::malformed(what, format!("not an image index: {e}")))?;
        let manifests =
            parsed.manifests().iter().map(Descriptor::from_oci).collect::<Result<Vec<_>>>()?;
        Ok(Index { raw, media_type, manifests })
    }

    /// An OCI index of these manifests. The same ones give the same bytes.
    ///
    /// # Errors
    /// Where the document cannot be serialised.
    pub fn build(manifests: Vec<Descriptor>) -> Result<Index> {
        let named = manifests.iter().map(Descriptor::to_oci).collect::<Result<Vec<_>>>()?;
        let mut index = oci::ImageIndex::default();
        index.set_schema_version(oci::SCHEMA_VERSION);
        index.set_media_type(Some(oci::MediaType::ImageIndex));
        index.set_manifests(named);
        // By way of a Value, whose maps are sorted.
        let raw = serde_json::to_value(&index)
            .and_then(|value| serde_json::to_vec(&value))
            .map_err(|e| Error::malformed("index", e))?;
        Ok(Index { raw, media_type: MediaType::OciIndex, manifests })
    }

    /// The bytes as they came, of which the digest is.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The media type.
    pub fn media_type(&self) -> &MediaType {
        &self.media_type
    }

    /// The manifest for `wanted`. Attestations (`unknown/unknown`) are passed over; an entry
    /// without a platform is taken where it is the only one.
    ///
    /// # Errors
    /// [`Error::NoPlatform`] with what there is; [`Error::Unsupported`] for an index in an index.
    pub fn choose(&self, what: &str, wanted: &Platform) -> Result<&Descriptor> {
        let images: Vec<&Descriptor> = self
            .manifests
            .iter()
            .filter(|d| !d.platform.as_ref().is_some_and(Platform::is_unknown))
            .collect();
        if let [only] = images[..]
            && only.platform.is_none()
        {
            return manifest_only(what, only);
        }
        let with_platform: Vec<(&Platform, &Descriptor)> =
            images.iter().filter_map(|d| Some((d.platform.as_ref()?, *d))).collect();
        match wanted.choose(with_platform.iter().map(|(p, _)| *p)) {
            Some(index) => manifest_only(what, with_platform[index].1),
            None => Err(Error::NoPlatform {
                what: what.to_owned(),
                wanted: Box::new(wanted.clone()),
                available: with_platform.iter().map(|(p, _)| (*p).clone()).collect(),
            }),
        }
    }
}

fn manifest_only<'a>(what: &str, chosen: &'a Descriptor) -> Result<&'a Descriptor> {
    if chosen.media_type.is_manifest() {
        return Ok(chosen);
    }
    let why = format!("the index names {} ({}), not a manifest", chosen.digest, chosen.media_type);
    Err(Error::Unsupported { what: what.to_owned(), why })
}

/// An image configuration: what to run in the layers, and the layers' uncompressed digests.
#[derive(Debug, Clone)]
pub struct ImageConfig {
    raw: Vec<u8>,
    spec: oci::ImageConfiguration,
    diff_ids: Vec<Digest>,
}

impl ImageConfig {
    /// Parses a configuration.
    ///
    /// # Errors
    /// [`Error::Malformed`], naming `what`.
    pub fn parse(what: &str, raw: Vec<u8>) -> Result<ImageConfig> {
        json::check(what, &raw)?;
        let spec: oci::ImageConfiguration = serde_json::from_slice(&raw)
            .map_err(|e| Error::malformed(what, format!("not an image configuration: {e}")))?;
        let diff_ids =
            spec.rootfs().diff_ids().iter().map(|d| d.parse()).collect::<Result<Vec<_>>>()?;
        Ok(ImageConfig { raw, spec, diff_ids })
    }

    /// The bytes as they came; their digest is the image id.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The fields that OCI defines: `spec().config()` has Env, Entrypoint, Cmd, User, WorkingDir.
    pub fn spec(&self) -> &oci::ImageConfiguration {
        &self.spec
    }

    /// The digests of the uncompressed layers, the lowest first.
    pub fn diff_ids(&self) -> &[Digest] {
        &self.diff_ids
    }

    /// The platform that the image was built for.
    pub fn platform(&self) -> Platform {
        let (os, arch) = (self.spec.os().to_string(), self.spec.architecture().to_string());
        Platform::new(&os, &arch, self.spec.variant().as_deref())
    }
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
