//! Platforms: for which machine an image was built.
//!
//! An image index lists the same image for several platforms, named as Go names them (OCI
//! image-spec, image-index.md). [`Platform::choose`] takes the best of what there is.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// Operating system, architecture and variant, in Go's names: `linux/amd64`, `linux/arm/v7`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Platform {
    /// `linux`, `windows`, …
    pub os: String,
    /// `amd64`, `arm64`, `riscv64`, …
    pub architecture: String,
    /// `v7`, `v8`, …
    pub variant: Option<String>,
}

impl Platform {
    /// A platform, with the variants that mean nothing (`arm64/v8`, `amd64/v1`) left out, as
    /// containerd normalises them.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Platform {
        let variant = match (architecture, variant) {
            (_, Some("")) | ("arm64", Some("v8" | "8")) | ("amd64", Some("v1")) => None,
            ("arm", None) => Some("v7"),
            (_, variant) => variant,
        };
        Platform {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        }
    }

    /// The platform of this program.
    pub fn host() -> Platform {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "loongarch64" => "loong64",
            other => other,
        };
        Platform::new("linux", architecture, None)
    }

    /// How well an image for `candidate` runs on `self`: `None` not at all, else 0 is best.
    fn distance(&self, candidate: &Platform) -> Option<u32> {
        if self.os != candidate.os || self.architecture != candidate.architecture {
            return None;
        }
        if self.variant == candidate.variant {
            return Some(0);
        }
        // A newer variant of arm and of amd64 runs what was built for an older one.
        let level = |p: &Platform| match &p.variant {
            None => Some(if p.architecture == "amd64" { 1 } else { 8 }),
            Some(v) => v.strip_prefix('v')?.parse::<u32>().ok(),
        };
        level(self)?.checked_sub(level(candidate)?)
    }

    /// The index of the best of `candidates` for this platform.
    pub fn choose<'a>(&self, candidates: impl Iterator<Item = &'a Platform>) -> Option<usize> {
        let ranked = candidates.enumerate().filter_map(|(i, c)| Some((self.distance(c)?, i)));
        ranked.min().map(|(_, index)| index)
    }

    /// Whether an image for `candidate` runs on this platform.
    pub fn runs(&self, candidate: &Platform) -> bool {
        self.distance(candidate).is_some()
    }

    /// Attestations stand in an index as manifests of the platform `unknown/unknown`.
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" || self.architecture == "unknown"
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = Error;

    fn from_str(text: &str) -> Result<Platform> {
        let parts: Vec<&str> = text.split('/').collect();
        let ok = |part: &&str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        if !parts.iter().all(ok) {
            return Err(Error::invalid("platform", text, "expected OS/ARCH[/VARIANT]"));
        }
        match parts[..] {
            [os, arch] => Ok(Platform::new(os, arch, None)),
            [os, arch, variant] => Ok(Platform::new(os, arch, Some(variant))),
            _ => Err(Error::invalid("platform", text, "expected OS/ARCH[/VARIANT]")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen<'a>(wanted: &str, offered: &[&'a str]) -> Option<&'a str> {
        let platforms: Vec<Platform> = offered.iter().map(|p| p.parse().unwrap()).collect();
        wanted.parse::<Platform>().unwrap().choose(platforms.iter()).map(|i| offered[i])
    }

    #[test]
    fn the_best_variant_is_chosen() {
        let offered =
            ["linux/arm/v5", "linux/arm/v7", "linux/amd64", "linux/arm64/v8", "linux/amd64/v3"];
        for (wanted, got) in [
            ("linux/amd64", Some("linux/amd64")),
            ("linux/amd64/v2", Some("linux/amd64")),
            ("linux/amd64/v4", Some("linux/amd64/v3")),
            ("linux/arm64", Some("linux/arm64/v8")),
            ("linux/arm/v7", Some("linux/arm/v7")),
            ("linux/arm/v6", Some("linux/arm/v5")),
            ("linux/arm", Some("linux/arm/v7")),
            ("linux/riscv64", None),
            ("windows/amd64", None),
        ] {
            assert_eq!(chosen(wanted, &offered), got, "{wanted}");
        }
    }

    #[test]
    fn a_platform_is_two_or_three_words() {
        for bad in ["linux", "linux/", "/amd64", "linux/arm/v7/x", "", "linux/am d64"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }
}
