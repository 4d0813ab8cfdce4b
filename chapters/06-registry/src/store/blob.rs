//! Blobs: content by digest. A file in `blobs/sha256/` is complete, verified and durable, or it is
//! not there.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use super::lock::Lease;
use super::{Store, layout};
use crate::digest::{Digest, VerifyingReader};
use crate::error::{At, Error, Result};
use crate::manifest::Descriptor;
use crate::media::MediaType;

/// What is read from a blob's source at once: large enough that the system calls do not count.
pub(super) const CHUNK: usize = 128 << 10;

impl Store {
    /// Where a blob is or would be.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root().join("blobs").join(digest.algorithm().name()).join(digest.hex())
    }

    /// Whether the blob is there with the size that the descriptor tells.
    ///
    /// # Errors
    /// Where the file system cannot say.
    pub fn has_blob(&self, blob: &Descriptor) -> Result<bool> {
        let path = self.blob_path(&blob.digest);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(metadata.is_file() && metadata.len() == blob.size),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e).at("stat", &path),
        }
    }

    /// Opens a blob for reading.
    ///
    /// # Errors
    /// `ENOENT` where it is not in the store.
    pub fn open_blob(&self, digest: &Digest) -> Result<File> {
        let path = self.blob_path(digest);
        File::open(&path).at("open blob", &path)
    }

    /// Reads a small blob and verifies it again: disks fail too.
    ///
    /// # Errors
    /// [`Error::TooLarge`] above `limit`, [`Error::WrongDigest`], [`Error::WrongSize`].
    pub fn read_blob(&self, blob: &Descriptor, limit: u64) -> Result<Vec<u8>> {
        if blob.size > limit {
            return Err(Error::TooLarge { what: format!("blob {}", blob.digest), limit });
        }
        let path = self.blob_path(&blob.digest);
        let what = path.display().to_string();
        let mut bytes = Vec::new();
        VerifyingReader::new(self.open_blob(&blob.digest)?, what, &blob.digest, blob.size)
            .read_to_end(&mut bytes)
            .at("read blob", &path)?;
        Ok(bytes)
    }

    /// Takes content in: streams it to a temporary file, verifies size and digest, makes it durable
    /// and gives it its name. Where the blob is there already, nothing is read.
    ///
    /// # Errors
    /// [`Error::WrongDigest`], [`Error::WrongSize`], whatever the reader fails with, or an errno such
    /// as `ENOSPC`. Nothing is left of the blob then.
    pub fn put_blob(&self, lease: &Lease, reader: &mut dyn Read, blob: &Descriptor) -> Result<()> {
        lease.hold([&blob.digest])?;
        if self.has_blob(blob)? {
            return Ok(());
        }
        let verifying =
            VerifyingReader::new(reader, format!("blob {}", blob.digest), &blob.digest, blob.size);
        self.receive(lease, verifying, blob.digest.hex(), |_| Ok(blob.digest.clone())).map(drop)
    }

    /// Takes bytes in whose digest is computed here.
    ///
    /// # Errors
    /// As for [`Store::put_blob`].
    pub fn put_bytes(&self, lease: &Lease, kind: MediaType, bytes: &[u8]) -> Result<Descriptor> {
        let descriptor = Descriptor::of(kind, bytes);
        self.put_blob(lease, &mut &*bytes, &descriptor)?;
        Ok(descriptor)
    }

    /// Copies `source` to a temporary file and moves that to the place of the digest that `name`
    /// gives when all is read. The lease must hold that digest by then.
    pub(super) fn receive<R: Read>(
        &self,
        lease: &Lease,
        mut source: R,
        temporary: &str,
        name: impl FnOnce(R) -> Result<Digest>,
    ) -> Result<Digest> {
        let path = lease.temporary(temporary);
        let mut file = File::create(&path).at("create", &path)?;
        let result = (|| {
            pour(&mut source, &mut file, &path, u64::MAX)?;
            let digest = name(source)?;
            self.adopt(&path, &digest)?;
            Ok(digest)
        })();
        if result.is_err() {
            // The error that is on its way says more than a failure to clean up would; the lease's
            // end removes the file in any case.
            let _ = fs::remove_file(&path);
        }
        result
    }

    /// Gives a file that is complete, verified and durable its name.
    pub(super) fn adopt(&self, path: &Path, digest: &Digest) -> Result<()> {
        let target = self.blob_path(digest);
        fs::rename(path, &target).at("rename to", &target)?;
        layout::sync_dir(target.parent().unwrap_or(&target))
    }
}

/// Copies `source` to the end of `file` and makes it durable, in between as well whenever so many
/// bytes have come.
pub(super) fn pour(
    source: &mut dyn Read,
    file: &mut File,
    path: &Path,
    durable_every: u64,
) -> Result<()> {
    let (mut buffer, mut in_danger) = (vec![0; CHUNK], 0);
    loop {
        let n = match source.read(&mut buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            result => result.at("receive into", path)?,
        };
        if n == 0 {
            return file.sync_all().at("fsync", path);
        }
        file.write_all(&buffer[..n]).at("write", path)?;
        in_danger += n as u64;
        if in_danger >= durable_every {
            file.sync_data().at("fdatasync", path)?;
            in_danger = 0;
        }
    }
}
