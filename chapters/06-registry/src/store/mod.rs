//! The content store: an OCI image layout in a directory, which skopeo and umoci read too.
//!
//! ```text
//! images/oci-layout                 the format's version
//! images/index.json                 the names: each entry is a manifest's descriptor   (layout)
//! images/blobs/sha256/HEX           content, named by its digest                        (blob)
//! images/.corten/lock               flock: who may change index.json or delete blobs    (lock)
//! images/.corten/leases/PID-N/      a pull in progress: what it holds, temporary files  (lock)
//! images/.corten/signatures/HEX.json signatures of an image, for a policy                 (trust)
//! images/.corten/kept/NAME          blobs that a builder's cache needs               (staging)
//! images/.corten/partial/HEX        what has come of a download that broke off          (partial)
//! ```
//!
//! The order of writes is what makes a crash harmless: blobs first, each durable before it has its
//! name; index.json last; and the other way round for a removal (sweep). Readers take no lock: a
//! rename shows them the old index.json or the new one.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::error::{At, Error, Result};
use crate::manifest::{
    Descriptor, Document, ImageConfig, Index, MAX_CONFIG, MAX_MANIFEST, Manifest,
};
use crate::platform::Platform;
use crate::reference::Reference;

mod blob;
mod bundle;
mod commit;
mod fsck;
mod history;
mod import;
mod layout;
mod load;
mod lock;
mod names;
mod partial;
mod save;
mod staging;
mod sweep;
mod trust;
mod variants;

pub(crate) use bundle::Bundle;
pub use commit::CommitOptions;
pub use fsck::Health;
pub use history::Step;
pub use import::ImportOptions;
pub use layout::{Entry, FULL_NAME, LENT, REF_NAME, SOURCE};
pub use lock::Lease;
use lock::StoreLock;
pub use staging::{Staged, Staging};
pub use sweep::{Removed, Untagged};

/// A content store. Cheap to clone; every process and thread may have its own of one directory.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// A layer of an image: the blob and what it unpacks to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The blob; `descriptor.media_type.compression()` says how it is compressed.
    pub descriptor: Descriptor,
    /// The digest of the uncompressed tar archive.
    pub diff_id: Digest,
}

/// An image of the store, with its documents parsed.
#[derive(Debug, Clone)]
pub struct Image {
    /// The digest of the configuration: the image id.
    pub id: Digest,
    /// All names of it, sorted.
    pub names: Vec<Reference>,
    /// The digests by which registries know it: `NAME@DIGEST`.
    pub repo_digests: Vec<Reference>,
    /// The manifest's descriptor.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// The configuration.
    pub config: ImageConfig,
    /// The layers, the lowest first.
    pub layers: Vec<Layer>,
}

impl Image {
    /// The compressed size of all layers together.
    pub fn size(&self) -> u64 {
        self.layers.iter().map(|layer| layer.descriptor.size).sum()
    }
}

impl Store {
    /// Opens the layout in `root`, makes it where it is not there, and removes the temporary files
    /// of pulls that crashed.
    ///
    /// # Errors
    /// Where the directory cannot be written, or holds a layout of another version.
    pub fn open(root: impl Into<PathBuf>) -> Result<Store> {
        let store = Store { root: root.into() };
        for algorithm in ["sha256", "sha512"] {
            let blobs = store.root.join("blobs").join(algorithm);
            fs::create_dir_all(&blobs).at("create directory", &blobs)?;
        }
        let own = store.own_dir();
        lock::prepare(&own)?;
        if !store.root.join("index.json").exists() || !store.root.join("oci-layout").exists() {
            let _alone = StoreLock::wait(&own, false)?;
            layout::prepare(&store.root, &own)?;
        } else {
            layout::check(&store.root)?;
        }
        // Whoever has the lock is alive and clears up himself.
        if let Some(alone) = StoreLock::try_exclusive(&own)? {
            lock::clear_dead(&own, &alone)?;
        }
        Ok(store)
    }

    /// The directory of the layout.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What is not part of the layout: lock and leases. On the same file system as the blobs, so
    /// that a rename can move a temporary file into its place.
    fn own_dir(&self) -> PathBuf {
        self.root.join(".corten")
    }

    /// A new lease: protects what is put into the store until a name reaches it.
    ///
    /// # Errors
    /// Where the store cannot be written.
    pub fn lease(&self) -> Result<Lease> {
        Lease::new(&self.own_dir())
    }

    /// All entries of index.json, in its order.
    ///
    /// # Errors
    /// Where the file cannot be read or is malformed.
    pub fn list(&self) -> Result<Vec<Entry>> {
        layout::read(&self.root)
    }

    /// The entry of a name.
    ///
    /// # Errors
    /// As for [`Store::list`].
    pub fn find(&self, name: &Reference) -> Result<Option<Entry>> {
        let entries = self.list()?;
        // A digest may fit several entries of a repository; the one that is named by it goes first.
        let exact = entries.iter().position(|entry| entry.name.as_ref() == Some(name));
        let index = exact.or_else(|| entries.iter().position(|entry| entry.is(name)));
        Ok(index.and_then(|index| entries.into_iter().nth(index)))
    }

    /// What stands behind a name: the descriptor of the manifest (or of an index that another tool
    /// put there).
    ///
    /// # Errors
    /// As for [`Store::list`].
    pub fn resolve(&self, name: &Reference) -> Result<Option<Descriptor>> {
        Ok(self.find(name)?.map(|entry| entry.descriptor))
    }

    /// The image of a name, of an id, or of the beginning of an id.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`]; [`Error::Ambiguous`]; or a document that is damaged.
    pub fn image(&self, name_or_id: &str) -> Result<Image> {
        self.load(&self.entry_of(name_or_id)?.1.descriptor)
    }

    /// The image of a descriptor, which is that of a manifest, or of an index: then it is the one for this
    /// machine, or the first that is here.
    ///
    /// # Errors
    /// As for [`Store::image`].
    pub fn load(&self, descriptor: &Descriptor) -> Result<Image> {
        let (descriptor, manifest) = self.manifest(descriptor)?;
        let what = format!("configuration {}", manifest.config.digest);
        let config = ImageConfig::parse(&what, self.read_blob(&manifest.config, MAX_CONFIG)?)?;
        let layers = pair_layers(&manifest, &config)?;
        let mut entries = self.list()?;
        entries.retain(|entry| self.id_of(entry).is_ok_and(|id| id == manifest.config.digest));
        let repo_digests = names::digest_names(&entries);
        let mut names: Vec<Reference> = entries.into_iter().filter_map(|e| e.name).collect();
        names.sort_by_key(Reference::familiar);
        let id = manifest.config.digest.clone();
        Ok(Image { id, names, repo_digests, descriptor, manifest, config, layers })
    }

    /// Reads index.json, changes it and writes it, alone.
    fn change<T>(&self, change: impl FnOnce(&mut Vec<Entry>) -> Result<T>) -> Result<T> {
        let own = self.own_dir();
        let _alone = StoreLock::wait(&own, false)?;
        let mut entries = layout::read(&self.root)?;
        let result = change(&mut entries)?;
        layout::write(&self.root, &own, &entries)?;
        Ok(result)
    }

    /// The manifest of a descriptor, by way of an index where it is one.
    fn manifest(&self, descriptor: &Descriptor) -> Result<(Descriptor, Manifest)> {
        let what = format!("manifest {}", descriptor.digest);
        let raw = self.read_blob(descriptor, MAX_MANIFEST)?;
        match Document::parse(&what, &descriptor.media_type, raw)? {
            Document::Manifest(manifest) => Ok((descriptor.clone(), manifest)),
            Document::Index(index) => {
                let chosen = self.usual(&what, &index)?;
                let what = format!("manifest {}", chosen.digest);
                let raw = self.read_blob(chosen, MAX_MANIFEST)?;
                match Document::parse(&what, &chosen.media_type, raw)? {
                    Document::Manifest(manifest) => Ok((chosen.clone(), manifest)),
                    Document::Index(_) => Err(Error::malformed(what, "an index within an index")),
                }
            }
        }
    }

    /// Of an index the manifest for this machine; where that one is not here, the first that is.
    fn usual<'a>(&self, what: &str, index: &'a Index) -> Result<&'a Descriptor> {
        let own = index.choose(what, &Platform::host());
        if let Ok(own) = own
            && self.has_blob(own)?
        {
            return Ok(own);
        }
        match self.variants_of(index)?.first() {
            Some(first) => {
                let named = index.manifests.iter().find(|one| one.digest == first.child.digest);
                named.map_or(own, Ok)
            }
            None => own,
        }
    }

    /// The image id of an entry.
    fn id_of(&self, entry: &Entry) -> Result<Digest> {
        Ok(self.manifest(&entry.descriptor)?.1.config.digest)
    }

    /// The entry that a user means, and whether by its name (not by its id).
    fn entry_of(&self, name_or_id: &str) -> Result<(bool, Entry)> {
        if let Ok(name) = Reference::parse(name_or_id)
            && let Some(entry) = self.find(&name)?
        {
            return Ok((true, entry));
        }
        let prefix = name_or_id.strip_prefix("sha256:").unwrap_or(name_or_id);
        let hex = !prefix.is_empty()
            && prefix.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !hex {
            // The grammar's own complaint tells more than "no such image".
            Reference::parse(name_or_id)?;
            return Err(Error::NoSuchImage { name: name_or_id.to_owned() });
        }
        let mut ids = HashSet::new();
        let mut found = None;
        for entry in self.list()? {
            // A damaged image is not in the way of finding a sound one.
            let Ok(id) = self.id_of(&entry) else { continue };
            if id.hex().starts_with(prefix) && ids.insert(id) {
                found = Some(entry);
            }
        }
        match found {
            Some(entry) if ids.len() == 1 => Ok((false, entry)),
            Some(_) => {
                let mut candidates: Vec<String> =
                    ids.iter().map(|id| id.short().to_owned()).collect();
                candidates.sort();
                Err(Error::Ambiguous { prefix: prefix.to_owned(), candidates })
            }
            None => Err(Error::NoSuchImage { name: name_or_id.to_owned() }),
        }
    }
}

/// Brings each layer together with the digest of what it unpacks to.
pub(crate) fn pair_layers(manifest: &Manifest, config: &ImageConfig) -> Result<Vec<Layer>> {
    let (layers, diff_ids) = (&manifest.layers, config.diff_ids());
    if layers.len() != diff_ids.len() {
        return Err(Error::malformed(
            format!("configuration {}", manifest.config.digest),
            format!("it has {} diff_ids for {} layers", diff_ids.len(), layers.len()),
        ));
    }
    let pairs = layers.iter().zip(diff_ids);
    Ok(pairs.map(|(l, d)| Layer { descriptor: l.clone(), diff_id: d.clone() }).collect())
}

#[cfg(test)]
mod tests;
