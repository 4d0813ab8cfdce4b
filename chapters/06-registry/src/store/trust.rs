//! Signatures in the store, so that a policy can be enforced when an image is run, without the
//! registry: `.corten/signatures/HEX.json`, by the digest that is signed.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::PathBuf;

use super::{Entry, Store, layout};
use crate::digest::Digest;
use crate::error::{At, Error, Result};
use crate::manifest::{Descriptor, Document, MAX_MANIFEST};
use crate::media::MediaType;
use crate::signature::Policy;
use crate::signature::attach::{Kept, Signed};

impl Store {
    /// Whether the policy lets the image of this name or id run, by the signatures that were kept
    /// when it was pulled. An image is judged by the name that it is run by; by its id, by any of
    /// its names.
    ///
    /// # Errors
    /// [`Error::Untrusted`], and as for [`Store::image`].
    pub fn check_policy(&self, policy: &Policy, name_or_id: &str) -> Result<()> {
        let (by_name, entry) = self.entry_of(name_or_id)?;
        if by_name {
            return self.check_entry(policy, &entry);
        }
        let id = self.id_of(&entry)?;
        let same = |e: &Entry| e.name.is_some() && self.id_of(e).is_ok_and(|other| other == id);
        let mut verdict = policy.check_nameless(name_or_id);
        for entry in self.list()?.iter().filter(|entry| same(entry)) {
            verdict = self.check_entry(policy, entry);
            if verdict.is_ok() {
                break;
            }
        }
        verdict
    }

    fn check_entry(&self, policy: &Policy, entry: &Entry) -> Result<()> {
        let Some(name) = &entry.name else {
            return policy.check_nameless("an image without a name");
        };
        let vouched = self.vouched(entry)?;
        policy.check(name, &vouched, &mut || {
            let mut found = Vec::new();
            for digest in &vouched {
                found.extend(self.kept_signatures(digest)?);
            }
            Ok(found)
        })
    }

    /// The digests of which each determines the image: its manifest, and what the registry has for
    /// it, where that can be followed to the manifest.
    pub(crate) fn vouched(&self, entry: &Entry) -> Result<Vec<Digest>> {
        let own = &entry.descriptor.digest;
        let mut vouched = vec![own.clone()];
        let source = entry.source.as_ref().filter(|source| *source != own);
        let Some(blob) = source.and_then(|source| self.stored(source)) else { return Ok(vouched) };
        let what = format!("manifest {}", blob.digest);
        match Document::parse_own(&what, self.read_blob(&blob, MAX_MANIFEST)?)? {
            Document::Manifest(manifest) => {
                if manifest.to_oci()?.descriptor().digest == *own {
                    vouched.push(blob.digest);
                }
            }
            Document::Index(index) => {
                for child in &index.manifests {
                    if child.digest == *own || self.converts_to(child, own) {
                        vouched.extend([child.digest.clone(), blob.digest.clone()]);
                    }
                }
            }
        }
        Ok(vouched)
    }

    /// Whether a manifest in Docker's format is here and becomes this one.
    fn converts_to(&self, child: &Descriptor, own: &Digest) -> bool {
        let what = format!("manifest {}", child.digest);
        let document = self
            .read_blob(child, MAX_MANIFEST)
            .and_then(|raw| Document::parse(&what, &child.media_type, raw));
        let Ok(Document::Manifest(manifest)) = document else { return false };
        manifest.to_oci().is_ok_and(|oci| oci.descriptor().digest == *own)
    }

    /// The descriptor of a blob that is here, without a type.
    pub(super) fn stored(&self, digest: &Digest) -> Option<Descriptor> {
        let metadata = fs::metadata(self.blob_path(digest)).ok()?;
        let kind = MediaType::Other(String::new());
        Some(Descriptor::new(kind, digest.clone(), metadata.len()))
    }

    fn signatures_path(&self, digest: &Digest) -> PathBuf {
        self.own_dir().join("signatures").join(format!("{}.json", digest.hex()))
    }

    pub(crate) fn keep_signatures(&self, digest: &Digest, signatures: &[Signed]) -> Result<()> {
        let path = self.signatures_path(digest);
        let kept: Vec<Kept> = signatures.iter().map(Signed::keep).collect();
        let text = serde_json::to_vec(&kept).map_err(|e| Error::malformed("signatures", e))?;
        layout::write_durably(&self.own_dir(), &path, &text)
    }

    pub(crate) fn kept_signatures(&self, digest: &Digest) -> Result<Vec<Signed>> {
        let path = self.signatures_path(digest);
        let text = match fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            result => result.at("read", &path)?,
        };
        let kept: Vec<Kept> = serde_json::from_slice(&text)
            .map_err(|e| Error::malformed(path.display().to_string(), e))?;
        Ok(kept.iter().filter_map(Signed::kept).collect())
    }

    /// Removes the signatures of what is not here any more.
    pub(super) fn sweep_signatures(&self, keep: &HashSet<Digest>) -> Result<()> {
        let dir = self.own_dir().join("signatures");
        let kept: HashSet<&str> = keep.iter().map(Digest::hex).collect();
        for entry in fs::read_dir(&dir).at("read directory", &dir)? {
            let path = entry.at("read directory", &dir)?.path();
            let hex = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if !kept.contains(hex.as_str()) {
                fs::remove_file(&path).at("unlink", &path)?;
            }
        }
        Ok(())
    }
}
