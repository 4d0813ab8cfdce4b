//! Images of several platforms under one name: which of them are here.
//!
//! A name means one image. That there are others of it is told by an index: the entry's own, where an
//! archive brought it, or the one that the registry has for the name (`source`), of which each pull takes
//! one image. So `pull --platform` twice leaves both images reachable by the index of their name, and
//! an archive can hold them together.

use super::{Entry, Store};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::{
    Descriptor, Document, ImageConfig, Index, MAX_CONFIG, MAX_MANIFEST, Manifest,
};
use crate::media::MediaType;
use crate::platform::Platform;

/// An image of a name, for one platform.
#[derive(Debug, Clone)]
pub(super) struct Variant {
    /// What it was built for.
    pub platform: Platform,
    /// The manifest, as the index names it.
    pub child: Descriptor,
    /// The same in OCI's form.
    pub manifest: Manifest,
}

/// What stands behind a name.
#[derive(Debug, Clone)]
pub(super) struct Variants {
    /// Where the images are named together.
    pub index: Option<Index>,
    /// Those whose manifests are here, in the index's order.
    pub all: Vec<Variant>,
}

impl Store {
    /// The platforms for which there is an image of this name, or of this id, here.
    ///
    /// # Errors
    /// As for [`Store::image`].
    pub fn platforms_of(&self, name_or_id: &str) -> Result<Vec<Platform>> {
        let whole = self.whole_variants(&self.entry_of(name_or_id)?.1)?;
        Ok(whole.all.into_iter().map(|variant| variant.platform).collect())
    }

    /// Those of an entry of which nothing is missing.
    pub(super) fn whole_variants(&self, entry: &Entry) -> Result<Variants> {
        let mut variants = self.variants(entry)?;
        let mut whole = Vec::new();
        for variant in variants.all {
            if self.is_whole(&variant.manifest)? {
                whole.push(variant);
            }
        }
        variants.all = whole;
        Ok(variants)
    }

    fn variants(&self, entry: &Entry) -> Result<Variants> {
        let what = format!("manifest {}", entry.descriptor.digest);
        let raw = self.read_blob(&entry.descriptor, MAX_MANIFEST)?;
        let own = match Document::parse(&what, &entry.descriptor.media_type, raw)? {
            Document::Index(index) => {
                let all = self.variants_of(&index)?;
                return Ok(Variants { index: Some(index), all });
            }
            Document::Manifest(manifest) => manifest,
        };
        let index = entry.source.as_ref().and_then(|source| self.stored_index(source));
        let mut all = match &index {
            Some(index) => self.variants_of(index)?,
            None => Vec::new(),
        };
        if all.iter().all(|variant| variant.manifest.config.digest != own.config.digest) {
            let platform = self.platform_of(&own)?;
            let (child, manifest) = (entry.descriptor.clone(), own.to_oci()?);
            all.insert(0, Variant { platform, child, manifest });
        }
        Ok(Variants { index, all })
    }

    /// The images of an index whose manifests are here.
    pub(super) fn variants_of(&self, index: &Index) -> Result<Vec<Variant>> {
        let mut all = Vec::new();
        for child in &index.manifests {
            let unknown = child.platform.as_ref().is_some_and(Platform::is_unknown);
            if unknown || !child.media_type.is_manifest() || !self.has_blob(child)? {
                continue;
            }
            let what = format!("manifest {}", child.digest);
            let raw = self.read_blob(child, MAX_MANIFEST)?;
            // An index may name artifacts, too.
            let Ok(Document::Manifest(manifest)) = Document::parse(&what, &child.media_type, raw)
            else {
                continue;
            };
            let platform = match &child.platform {
                Some(platform) => platform.clone(),
                None if self.has_blob(&manifest.config)? => self.platform_of(&manifest)?,
                None => continue,
            };
            let manifest = manifest.to_oci()?;
            all.push(Variant { platform, child: child.clone(), manifest });
        }
        Ok(all)
    }

    /// The index of this digest, where one is here.
    fn stored_index(&self, digest: &Digest) -> Option<Index> {
        let raw = self.read_blob(&self.stored(digest)?, MAX_MANIFEST).ok()?;
        match Document::parse_own(&format!("index {digest}"), raw).ok()? {
            Document::Index(index) => Some(index),
            Document::Manifest(_) => None,
        }
    }

    fn platform_of(&self, manifest: &Manifest) -> Result<Platform> {
        let what = format!("configuration {}", manifest.config.digest);
        let raw = self.read_blob(&manifest.config, MAX_CONFIG)?;
        Ok(ImageConfig::parse(&what, raw)?.platform())
    }

    /// Whether configuration and layers are here.
    pub(super) fn is_whole(&self, manifest: &Manifest) -> Result<bool> {
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            if !self.has_blob(blob)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Variants {
    /// Those for these platforms, of each the best; all where none is asked for. `what` names them in the
    /// error.
    ///
    /// # Errors
    /// [`Error::NoPlatform`] where there is none.
    pub fn chosen(&self, what: &str, platforms: &[Platform]) -> Result<Vec<&Variant>> {
        let Some(first) = platforms.first() else { return Ok(self.all.iter().collect()) };
        let offered = || self.all.iter().map(|variant| &variant.platform);
        let mut places: Vec<usize> =
            platforms.iter().filter_map(|wanted| wanted.choose(offered())).collect();
        if let ([], [only]) = (places.as_slice(), self.all.as_slice())
            && (only.platform.os.is_empty() || only.platform.architecture.is_empty())
        {
            // What an image does not tell is not held against it.
            places.push(0);
        }
        places.sort_unstable();
        places.dedup();
        if places.is_empty() {
            let (wanted, available) = (Box::new(first.clone()), offered().cloned().collect());
            return Err(Error::NoPlatform { what: what.to_owned(), wanted, available });
        }
        Ok(places.into_iter().map(|place| &self.all[place]).collect())
    }

    /// The index of several of them: the one that they come from, where it names no others and has OCI's
    /// form, so that its digest stays; else one of our own, so that nothing it names is missing.
    pub fn index_of(&self, chosen: &[&Variant]) -> Result<(Descriptor, Vec<u8>)> {
        let as_it_is = |child: &Descriptor| {
            chosen.iter().any(|variant| {
                let digest = &variant.manifest.descriptor().digest;
                variant.child.digest == child.digest && *digest == child.digest
            })
        };
        let whole = self.index.as_ref().filter(|index| {
            *index.media_type() == MediaType::OciIndex && index.manifests.iter().all(as_it_is)
        });
        let raw = match whole {
            Some(index) => index.raw().to_vec(),
            None => {
                Index::build(chosen.iter().map(|variant| variant.named()).collect())?.raw().to_vec()
            }
        };
        Ok((Descriptor::of(MediaType::OciIndex, &raw), raw))
    }
}

impl Variant {
    /// How an index of ours names it.
    pub fn named(&self) -> Descriptor {
        Descriptor {
            platform: Some(self.platform.clone()),
            annotations: self.child.annotations.clone(),
            ..self.manifest.descriptor()
        }
    }
}
