//! What a name of the store stands for, whole: to be pushed or saved.

use std::collections::HashSet;

use super::{Entry, Store};
use crate::error::{Error, Result};
use crate::manifest::{Descriptor, Document, MAX_MANIFEST, Manifest};
use crate::media::MediaType;

/// All that one name stands for.
pub(crate) struct Bundle {
    pub(crate) kind: MediaType,
    pub(crate) raw: Vec<u8>,
    /// The manifests of an index.
    pub(crate) manifests: Vec<Manifest>,
    pub(crate) blobs: Vec<Descriptor>,
}

impl Bundle {
    pub(crate) fn of(document: Document, manifests: Vec<Manifest>) -> Bundle {
        let (kind, raw) = (document.media_type().clone(), document.raw().to_vec());
        let own = match &document {
            Document::Manifest(manifest) => Some(manifest),
            Document::Index(_) => None,
        };
        let mut seen = HashSet::new();
        let blobs = manifests
            .iter()
            .chain(own)
            .flat_map(|manifest| manifest.layers.iter().chain([&manifest.config]))
            .filter(|blob| seen.insert(blob.digest.clone()))
            .cloned()
            .collect();
        Bundle { kind, raw, manifests, blobs }
    }
}

impl Store {
    /// What goes to a registry for this name or id, beside what it has in the store: what the registry gave,
    /// where all of it is here; else the image's own manifest.
    ///
    /// # Errors
    /// As for [`Store::image`]; [`Error::Malformed`] where a blob is missing.
    pub(crate) fn bundle(&self, name_or_id: &str) -> Result<(Descriptor, Bundle)> {
        let (_, entry) = self.entry_of(name_or_id)?;
        if let Some(bundle) = self.source_bundle(&entry)? {
            return Ok((entry.descriptor, bundle));
        }
        let (_, manifest) = self.manifest(&entry.descriptor)?;
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            if !self.has_blob(blob)? {
                let why = format!("blob {} is missing: pull the image again", blob.digest);
                return Err(Error::malformed(name_or_id, why));
            }
        }
        Ok((entry.descriptor, Bundle::of(Document::Manifest(manifest), Vec::new())))
    }

    /// The document of the registry, or an index of another tool, if it is complete.
    fn source_bundle(&self, entry: &Entry) -> Result<Option<Bundle>> {
        let digest = entry.source.as_ref().unwrap_or(&entry.descriptor.digest);
        let path = self.blob_path(digest);
        let Ok(metadata) = std::fs::metadata(&path) else { return Ok(None) };
        let kind = entry.descriptor.media_type.clone();
        let blob = Descriptor::new(kind, digest.clone(), metadata.len());
        let raw = self.read_blob(&blob, MAX_MANIFEST)?;
        let document = Document::parse_own(&format!("manifest {digest}"), raw)?;
        let mut manifests = Vec::new();
        if let Document::Index(index) = &document {
            for entry in &index.manifests {
                if !self.has_blob(entry)? {
                    return Ok(None);
                }
                let what = format!("manifest {}", entry.digest);
                let raw = self.read_blob(entry, MAX_MANIFEST)?;
                match Document::parse(&what, &entry.media_type, raw) {
                    Ok(Document::Manifest(manifest)) => manifests.push(manifest),
                    // An attestation, or what else is no image: not all of it can be pushed.
                    _ => return Ok(None),
                }
            }
        }
        let bundle = Bundle::of(document, manifests);
        for blob in &bundle.blobs {
            if !self.has_blob(blob)? {
                return Ok(None);
            }
        }
        Ok(Some(bundle))
    }
}
