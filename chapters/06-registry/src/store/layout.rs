//! index.json: the names, as OCI image-spec's image-layout.md defines them.
//!
//! `org.opencontainers.image.ref.name` carries the familiar name (`busybox:latest`), so that
//! `skopeo inspect oci:DIR:busybox:latest` finds it; `io.containerd.image.name` carries the
//! canonical one, as containerd writes it. What other tools wrote into the file is kept.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use oci_spec::image as oci;

use crate::digest::Digest;
use crate::error::{At, Error, Result};
use crate::manifest::{Descriptor, Index, MAX_MANIFEST};
use crate::reference::Reference;

/// The annotation by which other tools find an image.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation by which containerd finds it.
pub const FULL_NAME: &str = "io.containerd.image.name";
/// Our annotation: the digest that the registry has for the name. For an image index that is not
/// the digest of the manifest that was chosen from it.
pub const SOURCE: &str = "corten.source.digest";
/// Our annotation: that digest came from another name of the image, and the name's own repository need not
/// know it.
pub const LENT: &str = "corten.source.lent";

/// One entry of index.json: an image, and a name of it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The name; `None` for an image whose name moved on to a newer one.
    pub name: Option<Reference>,
    /// The manifest; or an index, where another tool put one there.
    pub descriptor: Descriptor,
    /// The digest that the registry has for the name.
    pub source: Option<Digest>,
    /// Whether it has it for another name of the image, in another repository.
    pub lent: bool,
}

impl Entry {
    pub(super) fn new(name: Option<&Reference>, of: &Descriptor, source: Option<&Digest>) -> Entry {
        let mut descriptor = of.clone();
        descriptor.annotations.remove(LENT);
        for (key, value) in [
            (REF_NAME, name.map(Reference::familiar)),
            (FULL_NAME, name.map(ToString::to_string)),
            (SOURCE, source.map(ToString::to_string)),
        ] {
            match value {
                Some(value) => descriptor.annotations.insert(key.to_owned(), value),
                None => descriptor.annotations.remove(key),
            };
        }
        Entry { name: name.cloned(), descriptor, source: source.cloned(), lent: false }
    }

    /// The same with a source that the name's repository need not know.
    pub(super) fn lent(mut self) -> Entry {
        self.descriptor.annotations.insert(LENT.to_owned(), "true".to_owned());
        self.lent = true;
        self
    }

    /// Whether its name is a tag: one that people gave it.
    pub(super) fn is_tag(&self) -> bool {
        self.name.as_ref().is_some_and(|name| name.digest().is_none())
    }

    /// `NAME@DIGEST`, by which the registry knows the image.
    pub fn digest_name(&self) -> Option<Reference> {
        let source = self.source.as_ref().filter(|_| !self.lent)?;
        Some(self.name.as_ref()?.with_digest(source.clone()))
    }

    fn from_descriptor(descriptor: Descriptor) -> Entry {
        let reference = |key| descriptor.annotations.get(key).map(String::as_str);
        let short = reference(REF_NAME);
        let full = reference(FULL_NAME).and_then(|name| Reference::parse(name).ok());
        let name = match (full, short) {
            // umoci copies all annotations when it tags, so the full name may be a stale one.
            (Some(full), Some(short)) if full.familiar() != short && full.tag() != Some(short) => {
                Reference::parse(short).ok()
            }
            (Some(full), _) => Some(full),
            (None, short) => short.and_then(|name| Reference::parse(name).ok()),
        };
        let source = reference(SOURCE).and_then(|digest| digest.parse().ok());
        let lent = reference(LENT).is_some();
        Entry { name, descriptor, source, lent }
    }

    /// Whether `wanted` names this entry: by tag, or by a digest of the same repository.
    pub(super) fn is(&self, wanted: &Reference) -> bool {
        let Some(name) = &self.name else { return false };
        match wanted.digest() {
            None => name == wanted,
            Some(digest) => {
                name.name() == wanted.name()
                    && (self.descriptor.digest == *digest
                        || (!self.lent && self.source.as_ref() == Some(digest)))
            }
        }
    }
}

/// Writes `oci-layout` and an empty index.json where they are not there.
pub(super) fn prepare(root: &Path, scratch: &Path) -> Result<()> {
    let layout = root.join("oci-layout");
    match fs::read(&layout) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            write_durably(scratch, &layout, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        Err(e) => return Err(e).at("read", &layout),
        Ok(bytes) => check_version(&layout, &bytes)?,
    }
    let index = root.join("index.json");
    if !index.try_exists().at("stat", &index)? {
        write(root, scratch, &[])?;
    }
    Ok(())
}

/// Checks that `root` is a layout of a version that is understood.
pub(super) fn check(root: &Path) -> Result<()> {
    let layout = root.join("oci-layout");
    check_version(&layout, &fs::read(&layout).at("read", &layout)?)
}

fn check_version(path: &Path, bytes: &[u8]) -> Result<()> {
    let what = path.display().to_string();
    let layout: oci::OciLayout =
        serde_json::from_slice(bytes).map_err(|e| Error::malformed(what.as_str(), e))?;
    if layout.image_layout_version().starts_with("1.") {
        return Ok(());
    }
    let why = format!("image layout version {}, not 1.x", layout.image_layout_version());
    Err(Error::Unsupported { what, why })
}

/// All entries of index.json.
pub(super) fn read(root: &Path) -> Result<Vec<Entry>> {
    let path = root.join("index.json");
    parse(&path.display().to_string(), &fs::read(&path).at("read", &path)?)
}

/// The entries of an index.json, which `what` names in errors.
pub(super) fn parse(what: &str, bytes: &[u8]) -> Result<Vec<Entry>> {
    // Our own file may have any number of names; one from an archive has been limited.
    let index: oci::ImageIndex =
        serde_json::from_slice(bytes).map_err(|e| Error::malformed(what, e))?;
    let entries = index.manifests().iter();
    entries.map(|d| Descriptor::from_oci(d).map(Entry::from_descriptor)).collect()
}

/// Replaces index.json. The caller has the store's lock alone.
pub(super) fn write(root: &Path, scratch: &Path, entries: &[Entry]) -> Result<()> {
    let path = root.join("index.json");
    let index = Index::build(entries.iter().map(|entry| entry.descriptor.clone()).collect())?;
    write_durably(scratch, &path, index.raw())
}

/// Replaces the file `path`: after a power cut it has the old content or the new one.
pub(super) fn write_durably(scratch: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = scratch.join(format!("{name}.new"));
    let mut file = File::create(&temporary).at("create", &temporary)?;
    file.write_all(bytes).at("write", &temporary)?;
    file.sync_all().at("fsync", &temporary)?;
    fs::rename(&temporary, path).at("rename to", path)?;
    sync_dir(path.parent().unwrap_or(path))
}

/// Makes renames in and unlinks from `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).at("fsync", dir)
}

/// Index and manifest files beyond this are not parsed by a sweep either.
pub(super) const MAX_PARSED: u64 = MAX_MANIFEST;
