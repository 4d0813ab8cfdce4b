//! (being written)
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use oci_spec::image::ImageConfiguration;
use crate::digest::Digest;
use crate::error::Result;
use crate::manifest::{Descriptor, ImageConfig, Manifest};
use crate::reference::Reference;

/// A content store: an OCI image layout in a directory.
#[derive(Debug, Clone)]
pub struct Store { root: PathBuf }

/// One line of `corten images`: an entry of index.json.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The name; `None` for an image whose name moved on to a newer one.
    pub name: Option<Reference>,
    /// The manifest.
    pub descriptor: Descriptor,
    /// The digest that the registry has for the name (of the index where there is one).
    pub source: Option<Digest>,
}

/// A layer of an image: the blob and what it unpacks to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The blob; `descriptor.media_type.compression()` says how it is compressed.
    pub descriptor: Descriptor,
    /// The digest of the uncompressed tar archive.
    pub diff_id: Digest,
}

/// A complete image of the store.
#[derive(Debug, Clone)]
pub struct Image {
    /// The digest of the configuration: the image id.
    pub id: Digest,
    /// All names of it.
    pub names: Vec<Reference>,
    /// The manifest's descriptor.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// The configuration.
    pub config: ImageConfig,
    /// The layers, the lowest first.
    pub layers: Vec<Layer>,
}

/// What [`Store::remove`] did.
#[derive(Debug, Clone, Default)]
pub struct Removed {
    /// Names that are gone.
    pub untagged: Vec<Reference>,
    /// Image ids that are gone, because no name was left.
    pub images: Vec<Digest>,
    /// Blobs that were deleted.
    pub blobs: Vec<Digest>,
    /// Bytes that this freed.
    pub freed: u64,
}

/// What `import` shall make of a layer.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// The name of the new image.
    pub name: Option<Reference>,
    /// Platform, Env, Cmd and so on; `rootfs` and `history` are replaced.
    pub config: ImageConfiguration,
    /// The history's comment.
    pub message: String,
}

impl Store {
    /// Opens the layout in `root`, makes it where it is not there, and clears what crashed pulls left.
    pub fn open(root: impl Into<PathBuf>) -> Result<Store> { Ok(Store { root: root.into() }) }
    /// The directory.
    pub fn root(&self) -> &Path { &self.root }
    /// Where a blob is or would be.
    pub fn blob_path(&self, _digest: &Digest) -> PathBuf { unimplemented!() }
    /// Opens a blob.
    pub fn open_blob(&self, _digest: &Digest) -> Result<File> { unimplemented!() }
    /// What stands behind a name: the manifest.
    pub fn resolve(&self, _name: &Reference) -> Result<Option<Descriptor>> { unimplemented!() }
    /// All entries of index.json.
    pub fn list(&self) -> Result<Vec<Entry>> { unimplemented!() }
    /// The image of a name, or of an id or its beginning.
    pub fn image(&self, _name_or_id: &str) -> Result<Image> { unimplemented!() }
    /// Gives the image `target` (name or id) the further name `name`.
    pub fn tag(&self, _target: &str, _name: &Reference) -> Result<()> { unimplemented!() }
    /// Takes a name away; an image without a name stays until it is removed by id or pruned.
    pub fn untag(&self, _name: &Reference) -> Result<()> { unimplemented!() }
    /// Removes a name, and with the last one the image; or an image by id. `force` removes one with several names by id.
    pub fn remove(&self, _name_or_id: &str, _force: bool) -> Result<Removed> { unimplemented!() }
    /// Makes an image of one tar archive, plain or gzip.
    pub fn import(&self, _tar: &mut dyn Read, _options: &ImportOptions) -> Result<Image> { unimplemented!() }
}
