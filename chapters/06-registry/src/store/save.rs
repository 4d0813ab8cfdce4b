//! Images as one archive, for where no registry is: what `corten save` writes.
//!
//! The archive is an OCI image layout, and beside it lies `manifest.json` in Docker's format, which
//! names the same blobs. So `docker load`, `skopeo copy oci-archive:` and `docker-archive:` all read
//! it. The same images give the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::variants::{Variant, Variants};
use super::{Entry, Lease, Store};
use crate::digest::Digest;
use crate::error::{At, Error, Result};
use crate::manifest::{Descriptor, MAX_MANIFEST, Manifest};
use crate::platform::Platform;
use crate::reference::Reference;

/// What an archive will hold.
#[derive(Default)]
struct Contents {
    /// Content of the store.
    blobs: BTreeMap<Digest, Descriptor>,
    /// Documents, which may be made for the archive.
    documents: BTreeMap<Digest, Vec<u8>>,
    /// Of index.json.
    entries: Vec<oci_spec::image::Descriptor>,
    /// Of Docker's manifest.json, by image id.
    for_docker: BTreeMap<Digest, Value>,
}

impl Store {
    /// Writes the images of these names or ids, each with the name that it was asked for by, as a tar
    /// archive.
    ///
    /// # Errors
    /// As for [`Store::image`]; what the writer fails with; a blob that is missing or damaged.
    pub fn save(&self, names: &[String], out: &mut dyn Write) -> Result<()> {
        self.save_for(names, &[], out)
    }

    /// The same, of the images of each name that are for one of these platforms. Where there are several
    /// of a name, the archive holds their index. Without a platform it is what the name stands for: one
    /// image, or all that are here of an index.
    ///
    /// # Errors
    /// As [`Store::save`]; [`Error::NoPlatform`] where a name has an image for none of them.
    pub fn save_for(
        &self,
        names: &[String],
        platforms: &[Platform],
        out: &mut dyn Write,
    ) -> Result<()> {
        // While this runs, no removal may take a blob away.
        let lease = self.lease()?;
        let mut contents = Contents::default();
        for text in names {
            let (by_name, entry) = self.entry_of(text)?;
            let name = entry.name.as_ref().filter(|_| by_name);
            let variants = match platforms.is_empty() && entry.descriptor.media_type.is_manifest() {
                true => None,
                false => Some(self.whole_variants(&entry)?),
            };
            let chosen = match &variants {
                Some(variants) => variants.chosen(text, platforms)?,
                None => Vec::new(),
            };
            match (&variants, chosen.as_slice()) {
                (Some(variants), [_, _, ..]) => contents.add_several(name, variants, &chosen)?,
                (_, [only]) => contents.add(name, &only.named(), &only.manifest)?,
                // What the name stands for; of what is missing, the blob is named by who reads it.
                _ => {
                    let (descriptor, manifest) = self.manifest(&entry.descriptor)?;
                    contents.add(name, &descriptor, &manifest)?;
                }
            }
        }
        self.write_archive(&lease, &contents, out)
    }

    fn write_archive(&self, lease: &Lease, contents: &Contents, out: &mut dyn Write) -> Result<()> {
        lease.hold(contents.blobs.keys())?;
        let mut tar = tar::Builder::new(out);
        add(&mut tar, "oci-layout", &mut &br#"{"imageLayoutVersion":"1.0.0"}"#[..], 30)?;
        let digests: BTreeSet<&Digest> =
            contents.blobs.keys().chain(contents.documents.keys()).collect();
        for digest in digests {
            if let Some(raw) = contents.documents.get(digest) {
                add(&mut tar, &path_of(digest), &mut &raw[..], raw.len() as u64)?;
            } else if let Some(blob) = contents.blobs.get(digest) {
                add(&mut tar, &path_of(digest), &mut self.verified(blob)?, blob.size)?;
            }
        }
        let kind = "application/vnd.oci.image.index.v1+json";
        let index = json!({"schemaVersion": 2, "mediaType": kind, "manifests": contents.entries});
        let docker = Value::from_iter(contents.for_docker.values().cloned());
        for (name, document) in [("index.json", index), ("manifest.json", docker)] {
            let text = document.to_string();
            add(&mut tar, name, &mut text.as_bytes(), text.len() as u64)?;
        }
        tar.finish().at("write", Path::new("the archive"))
    }

    /// The content of a blob, which fails at its end where it is not what its digest says.
    pub(super) fn verified(&self, blob: &Descriptor) -> Result<impl Read + use<>> {
        let what = format!("blob {}", blob.digest);
        let file = self.open_blob(&blob.digest)?;
        let length = file.metadata().at("stat", &self.blob_path(&blob.digest))?.len();
        if length != blob.size {
            let got = format!("{length} bytes on disk");
            return Err(Error::WrongSize { what, expected: blob.size, got });
        }
        Ok(crate::digest::VerifyingReader::new(file, what, &blob.digest, blob.size))
    }
}

impl Contents {
    /// Adds an image, with its manifest's descriptor.
    fn add(
        &mut self,
        name: Option<&Reference>,
        descriptor: &Descriptor,
        image: &Manifest,
    ) -> Result<()> {
        self.hold(&descriptor.digest, image);
        self.show(name, image);
        self.enter(name, descriptor)
    }

    /// Adds the images of a name, and their index. Docker's own file has one of them: this machine's, where
    /// it is among them.
    fn add_several(
        &mut self,
        name: Option<&Reference>,
        variants: &Variants,
        chosen: &[&Variant],
    ) -> Result<()> {
        for variant in chosen {
            self.hold(&variant.named().digest, &variant.manifest);
        }
        let (index, raw) = variants.index_of(chosen)?;
        self.documents.insert(index.digest.clone(), raw);
        let offered = chosen.iter().map(|variant| &variant.platform);
        let first = Platform::host().choose(offered).unwrap_or(0);
        self.show(name, &chosen[first].manifest);
        self.enter(name, &index)
    }

    fn hold(&mut self, digest: &Digest, image: &Manifest) {
        for blob in image.layers.iter().chain([&image.config]) {
            self.blobs.insert(blob.digest.clone(), blob.clone());
        }
        self.documents.insert(digest.clone(), image.raw().to_vec());
    }

    fn enter(&mut self, name: Option<&Reference>, top: &Descriptor) -> Result<()> {
        self.entries.push(Entry::new(name, top, None).descriptor.to_oci()?);
        Ok(())
    }

    /// In Docker's manifest.json.
    fn show(&mut self, name: Option<&Reference>, image: &Manifest) {
        let shown = self.for_docker.entry(image.config.digest.clone()).or_insert_with(|| {
            let layers: Vec<String> =
                image.layers.iter().map(|layer| path_of(&layer.digest)).collect();
            json!({"Config": path_of(&image.config.digest), "RepoTags": [], "Layers": layers})
        });
        if let (Some(tags), Some(name)) = (shown["RepoTags"].as_array_mut(), name) {
            tags.extend(name.tag().map(|_| Value::from(Reference::familiar(name))));
        }
    }
}

/// A blob's place in the archive.
fn path_of(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

fn add(
    tar: &mut tar::Builder<&mut dyn Write>,
    name: &str,
    content: &mut dyn Read,
    size: u64,
) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    let path = Path::new("the archive");
    tar.append_data(&mut header, name, &mut *content).at("write", path)?;
    // The archive has taken `size` bytes; the verdict on them comes with the end.
    let mut more = [0];
    content.read(&mut more).at("read", path).map(drop)
}

/// The largest document of an archive that is read.
pub(super) const MAX_DOCUMENT: u64 = MAX_MANIFEST;
