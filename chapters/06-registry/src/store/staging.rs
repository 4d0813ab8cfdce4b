//! What a builder needs of the store: layers that are made here, images of several of them, and blobs
//! that are kept without a name.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use super::lock::StoreLock;
use super::{Image, Lease, Store};
use crate::digest::{Digest, HashingWriter};
use crate::error::{At, Error, Result};
use crate::manifest::{Descriptor, Manifest};
use crate::media::MediaType;
use crate::reference::Reference;

/// A blob that is being written. Dropped before it is finished, it leaves nothing.
#[derive(Debug)]
pub struct Staging<'a> {
    store: &'a Store,
    lease: &'a Lease,
    path: PathBuf,
    to: Option<HashingWriter<BufWriter<File>>>,
}

impl Write for Staging<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.to {
            Some(to) => to.write(bytes),
            None => Err(io::Error::other("the blob is finished")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.as_mut().map_or(Ok(()), Write::flush)
    }
}

/// A blob that is written and has no name yet.
#[derive(Debug)]
pub struct Staged<'a> {
    staging: Staging<'a>,
    file: File,
    /// What it is.
    pub descriptor: Descriptor,
}

impl<'a> Staging<'a> {
    /// Ends the writing: nothing is durable yet.
    ///
    /// # Errors
    /// Where the rest cannot be written.
    pub fn end(mut self, kind: MediaType) -> Result<Staged<'a>> {
        let finished = || Error::malformed("blob", "it is finished already");
        let (to, digest, size) = self.to.take().ok_or_else(finished)?.finish();
        let file =
            to.into_inner().map_err(io::IntoInnerError::into_error).at("write", &self.path)?;
        Ok(Staged { staging: self, file, descriptor: Descriptor::new(kind, digest, size) })
    }
}

impl Staged<'_> {
    /// Makes it durable and gives it its name; the lease holds it.
    ///
    /// # Errors
    /// Where that fails; nothing is left then.
    pub fn publish(self) -> Result<Descriptor> {
        let Staged { staging, file, descriptor } = self;
        staging.lease.hold([&descriptor.digest])?;
        if !staging.store.has_blob(&descriptor)? {
            file.sync_all().at("fsync", &staging.path)?;
            staging.store.adopt(&staging.path, &descriptor.digest)?;
        }
        Ok(descriptor)
    }
}

impl Drop for Staging<'_> {
    fn drop(&mut self) {
        // After the rename there is nothing of that name.
        let _ = fs::remove_file(&self.path);
    }
}

impl Store {
    /// A new blob, to be written.
    ///
    /// # Errors
    /// Where no file can be made.
    pub fn stage<'a>(&'a self, lease: &'a Lease) -> Result<Staging<'a>> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let path = lease.temporary(&format!("staged-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        let file = File::create(&path).at("create", &path)?;
        let to = HashingWriter::new(BufWriter::with_capacity(128 << 10, file));
        Ok(Staging { store: self, lease, path, to: Some(to) })
    }

    /// Puts an image in: a configuration, as JSON, and layers that are here. It gets these names, or
    /// none.
    ///
    /// # Errors
    /// A configuration that is none; where the store cannot be written.
    pub fn put_image(
        &self,
        lease: &Lease,
        config: &[u8],
        layers: Vec<Descriptor>,
        names: &[Reference],
    ) -> Result<Image> {
        lease.hold(layers.iter().map(|layer| &layer.digest))?;
        let config = self.put_bytes(lease, MediaType::OciConfig, config)?;
        let manifest = Manifest::build(config, layers)?;
        let manifest = self.put_bytes(lease, MediaType::OciManifest, manifest.raw())?;
        // Read before it is named: what nobody could read shall have no name.
        let image = self.load(&manifest)?;
        if names.is_empty() && image.names.is_empty() {
            self.record(None, &manifest, None)?;
        }
        for name in names {
            let same = self.resolve(name)?.is_some_and(|old| old.digest == manifest.digest);
            if !same {
                self.record(Some(name), &manifest, None)?;
            }
        }
        self.load(&manifest)
    }

    fn kept_dir(&self) -> PathBuf {
        self.own_dir().join("kept")
    }

    /// Keeps these blobs, whatever names there are, until `name` is let go. Not durable: after a power
    /// cut they may be let go.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn keep<'a>(
        &self,
        name: &str,
        digests: impl IntoIterator<Item = &'a Digest>,
    ) -> Result<()> {
        let directory = self.kept_dir();
        let lines: String = digests.into_iter().map(|digest| format!("{digest}\n")).collect();
        let _lock = StoreLock::wait(&self.own_dir(), true)?;
        fs::create_dir_all(&directory).at("create directory", &directory)?;
        let path = directory.join(name);
        fs::write(&path, lines).at("write", &path)
    }

    /// Keeps what was kept by `name` no longer; the next removal takes it.
    ///
    /// # Errors
    /// Where the file cannot be removed.
    pub fn let_go(&self, name: &str) -> Result<()> {
        let path = self.kept_dir().join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at("unlink", &path),
            _ => Ok(()),
        }
    }

    /// Adds what is kept.
    pub(super) fn mark_kept(&self, keep: &mut HashSet<Digest>) -> Result<()> {
        let directory = self.kept_dir();
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.at("read directory", &directory)?,
        };
        for entry in entries {
            let path = entry.at("read directory", &directory)?.path();
            // One that was let go meanwhile, or that a power cut has spoiled, keeps nothing.
            let text = fs::read_to_string(&path).unwrap_or_default();
            keep.extend(text.lines().filter_map(|line| line.parse::<Digest>().ok()));
        }
        Ok(())
    }
}
