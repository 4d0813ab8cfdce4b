//! Images as one archive, for where no registry is: what `corten save` writes.
//!
//! The archive is an OCI image layout, and beside it lies `manifest.json` in Docker's format, which
//! names the same blobs. So `docker load`, `skopeo copy oci-archive:` and `docker-archive:` all read
//! it. The same images give the same bytes.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::{Entry, Store};
use crate::digest::Digest;
use crate::error::{At, Error, Result};
use crate::manifest::{Descriptor, MAX_MANIFEST};
use crate::reference::Reference;

impl Store {
    /// Writes the images of these names or ids, each with the name that it was asked for by, as a tar
    /// archive.
    ///
    /// # Errors
    /// As for [`Store::image`]; what the writer fails with; a blob that is missing or damaged.
    pub fn save(&self, names: &[String], out: &mut dyn Write) -> Result<()> {
        // While this runs, no removal may take a blob away.
        let lease = self.lease()?;
        let (mut blobs, mut entries) = (BTreeMap::new(), Vec::new());
        let mut for_docker: BTreeMap<Digest, Value> = BTreeMap::new();
        for text in names {
            let (by_name, entry) = self.entry_of(text)?;
            let name = entry.name.as_ref().filter(|_| by_name);
            let (descriptor, manifest) = self.manifest(&entry.descriptor)?;
            for blob in manifest.layers.iter().chain([&manifest.config, &descriptor]) {
                blobs.insert(blob.digest.clone(), blob.clone());
            }
            entries.push(Entry::new(name, &descriptor, None).descriptor.to_oci()?);
            let image = for_docker.entry(manifest.config.digest.clone()).or_insert_with(|| {
                let layers: Vec<String> = manifest.layers.iter().map(path_of).collect();
                json!({"Config": path_of(&manifest.config), "RepoTags": [], "Layers": layers})
            });
            if let (Some(tags), Some(name)) = (image["RepoTags"].as_array_mut(), name) {
                tags.extend(name.tag().map(|_| Value::from(Reference::familiar(name))));
            }
        }
        lease.hold(blobs.keys())?;
        let mut tar = tar::Builder::new(out);
        add(&mut tar, "oci-layout", &mut &br#"{"imageLayoutVersion":"1.0.0"}"#[..], 30)?;
        for blob in blobs.values() {
            let mut content = self.verified(blob)?;
            add(&mut tar, &path_of(blob), &mut content, blob.size)?;
        }
        let kind = "application/vnd.oci.image.index.v1+json";
        let index = json!({"schemaVersion": 2, "mediaType": kind, "manifests": entries});
        let docker = Value::from_iter(for_docker.into_values());
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

/// A blob's place in the archive.
fn path_of(blob: &Descriptor) -> String {
    format!("blobs/{}/{}", blob.digest.algorithm().name(), blob.digest.hex())
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
