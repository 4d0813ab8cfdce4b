//! Downloads that can be resumed: what has come of a blob is kept in `.corten/partial/HEX` until it
//! is complete, so that a pull which was cut off, by the network or by the power, goes on where it
//! was.
//!
//! What lies there is believed as little as what comes from the network: it is hashed again, and
//! the blob gets its name only when the whole has the digest. Its owner holds it by flock(2); who
//! does not get it downloads on his own, so nobody waits for a peer whose registry drips.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::Store;
use super::blob::{CHUNK, pour};
use super::lock::Lease;
use crate::digest::{Digest, Hasher, VerifyingReader};
use crate::error::{At, Error, Result};
use crate::manifest::Descriptor;

/// After so many bytes what has come is made durable: more than that is not lost with the power.
const DURABLE_EVERY: u64 = 8 << 20;
/// A removal of an image spares partial blobs that are younger than this.
const FRESH: Duration = Duration::from_secs(24 * 60 * 60);

/// Opens the content of a blob from a byte on.
pub(crate) type Open<'a, 'r> = dyn FnMut(u64) -> Result<Box<dyn Read + 'r>> + 'a;

/// Which partial blobs a sweep takes. Never those that somebody is working on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leftovers {
    Old,
    All,
}

struct Partial {
    path: PathBuf,
    file: Flock<File>,
}

impl Store {
    fn partial_path(&self, digest: &Digest) -> PathBuf {
        self.own_dir().join("partial").join(digest.hex())
    }

    // ANCHOR: fetch
    /// Takes a blob in like [`Store::put_blob`], beginning with what an earlier attempt left. Gives
    /// the number of bytes that were read from `open`. Where nothing was left, `growing` is called
    /// with the file that the blob grows in: whoever reads there reads the bytes of this download
    /// and no others, which are not verified before this returns.
    ///
    /// # Errors
    /// As for [`Store::put_blob`]. What has come is kept only where the connection broke off.
    pub(crate) fn fetch_blob<'r>(
        &self,
        lease: &Lease,
        blob: &Descriptor,
        open: &mut Open<'_, 'r>,
        growing: &mut dyn FnMut(File),
    ) -> Result<u64> {
        lease.hold([&blob.digest])?;
        if self.has_blob(blob)? {
            return Ok(0);
        }
        let path = self.partial_path(&blob.digest);
        let Some(mut partial) = Partial::open(path)? else {
            self.put_blob(lease, &mut open(0)?, blob)?;
            return Ok(blob.size);
        };
        let (hasher, had) = partial.read_back(blob)?;
        if had == 0 {
            growing(partial.file.try_clone().at("copy the descriptor of", &partial.path)?);
        }
        let result = match self.complete(&mut partial, blob, hasher, had, open) {
            // What was left was damaged, by the power cut perhaps: then all of it anew.
            Err(Error::WrongDigest { .. }) if had > 0 => {
                partial.clear()?;
                let hasher = blob.digest.algorithm().hasher();
                self.complete(&mut partial, blob, hasher, 0, open).map(|()| blob.size)
            }
            result => result.map(|()| blob.size - had),
        };
        if result.as_ref().is_err_and(|error| !error.is_worth_resuming()) {
            // The error that is on its way says more than a failure to clean up would.
            let _ = fs::remove_file(&partial.path);
        }
        result
    }
    // ANCHOR_END: fetch

    /// Reads the rest, verifies the whole and gives it its name.
    fn complete<'r>(
        &self,
        partial: &mut Partial,
        blob: &Descriptor,
        hasher: Hasher,
        had: u64,
        open: &mut Open<'_, 'r>,
    ) -> Result<()> {
        let path = partial.path.clone();
        let what = format!("blob {}", blob.digest);
        let rest: Box<dyn Read> = if had == blob.size { Box::new(io::empty()) } else { open(had)? };
        let mut source = VerifyingReader::resumed(rest, what, &blob.digest, blob.size, hasher, had);
        pour(&mut source, &mut partial.file, &path, DURABLE_EVERY)?;
        self.adopt(&path, &blob.digest)
    }

    /// Forgets what has come of a blob.
    pub(crate) fn forget_partial(&self, digest: &Digest) {
        let path = self.partial_path(digest);
        // Somebody else's is left to him.
        if path.exists()
            && let Ok(Some(partial)) = Partial::open(path)
        {
            let _ = fs::remove_file(&partial.path);
        }
    }

    /// Removes partial blobs that nobody works on. Gives the bytes that this freed.
    pub(super) fn sweep_partial(&self, which: Leftovers) -> Result<u64> {
        let dir = self.own_dir().join("partial");
        let mut freed = 0;
        for entry in fs::read_dir(&dir).at("read directory", &dir)? {
            let path = entry.at("read directory", &dir)?.path();
            let Some(partial) = Partial::open(path)? else { continue };
            let metadata = partial.file.metadata().at("stat", &partial.path)?;
            let age =
                metadata.modified().ok().and_then(|t| SystemTime::now().duration_since(t).ok());
            if which == Leftovers::All || age.is_some_and(|age| age > FRESH) {
                freed += metadata.len();
                fs::remove_file(&partial.path).at("unlink", &partial.path)?;
            }
        }
        Ok(freed)
    }
}

impl Partial {
    /// Opens or makes the file and locks it; `None` where somebody else has it.
    fn open(path: PathBuf) -> Result<Option<Partial>> {
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .at("open", &path)?;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                // Between open and lock it may have been completed or removed: then again.
                Ok(file) if is_at(&file, &path) => return Ok(Some(Partial { path, file })),
                Ok(_) => {}
                Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
                Err((_, errno)) => return Err(errno).at("flock", &path),
            }
        }
    }

    /// Hashes what is there, and leaves the file open for the rest.
    fn read_back(&mut self, blob: &Descriptor) -> Result<(Hasher, u64)> {
        let length = self.file.metadata().at("stat", &self.path)?.len();
        let mut hasher = blob.digest.algorithm().hasher();
        if length > blob.size {
            self.clear()?;
            return Ok((hasher, 0));
        }
        let (mut buffer, mut seen) = (vec![0; CHUNK], 0);
        loop {
            let n = self.file.read(&mut buffer).at("read", &self.path)?;
            if n == 0 {
                return Ok((hasher, seen));
            }
            hasher.update(&buffer[..n]);
            seen += n as u64;
        }
    }

    fn clear(&mut self) -> Result<()> {
        use std::io::Seek as _;
        self.file.set_len(0).at("truncate", &self.path)?;
        self.file.rewind().at("seek in", &self.path)
    }
}

/// Whether the open file is still the one at this path.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::media::MediaType;

    const CONTENT: &[u8] = b"the whole content of a layer";

    /// A source that breaks off after `upto` bytes of the whole, and notes where it was asked to
    /// begin.
    fn source(upto: usize, asked: &RefCell<Vec<u64>>) -> impl FnMut(u64) -> Result<Box<dyn Read>> {
        struct Breaking(&'static [u8]);
        impl Read for Breaking {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let n = self.0.read(buffer)?;
                if n > 0 { Ok(n) } else { Err(Error::Stopped.into()) }
            }
        }
        move |from: u64| {
            asked.borrow_mut().push(from);
            let rest = &CONTENT[(from as usize).min(upto)..upto];
            Ok(if upto < CONTENT.len() { Box::new(Breaking(rest)) } else { Box::new(rest) })
        }
    }

    #[test]
    fn a_download_that_broke_off_goes_on_where_it_was_and_damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let lease = store.lease().unwrap();
        let blob = Descriptor::of(MediaType::Other("x".into()), CONTENT);
        let asked = RefCell::new(Vec::new());
        let mut growing = Vec::new();
        let mut fetch = |until| {
            let mut source = source(until, &asked);
            store.fetch_blob(&lease, &blob, &mut source, &mut |file| growing.push(file))
        };
        fetch(10).unwrap_err();
        fetch(15).unwrap_err();
        assert_eq!(*asked.borrow(), [0, 10]);

        // A power cut leaves zeros where data was not written.
        let path = store.partial_path(&blob.digest);
        let mut damaged = fs::read(&path).unwrap();
        damaged[12] = 0;
        fs::write(&path, damaged).unwrap();
        let read = fetch(CONTENT.len()).unwrap();
        assert_eq!(growing.len(), 1, "only what begins at the beginning can be read meanwhile");
        assert_eq!((read, &asked.borrow()[2..]), (CONTENT.len() as u64, &[15, 0][..]));
        assert_eq!(store.read_blob(&blob, 100).unwrap(), CONTENT);
        assert!(!path.exists());
    }

    #[test]
    fn who_finds_a_partial_blob_in_use_downloads_on_his_own() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let lease = store.lease().unwrap();
        let blob = Descriptor::of(MediaType::Other("x".into()), CONTENT);
        let theirs = Partial::open(store.partial_path(&blob.digest)).unwrap().unwrap();
        let asked = RefCell::new(Vec::new());
        store.fetch_blob(&lease, &blob, &mut source(CONTENT.len(), &asked), &mut drop).unwrap();
        assert!(theirs.path.exists() && store.has_blob(&blob).unwrap());
        assert_eq!(store.sweep_partial(Leftovers::All).unwrap(), 0);
        assert!(theirs.path.exists());
        drop(theirs);
        store.sweep_partial(Leftovers::Old).unwrap();
        assert!(store.partial_path(&blob.digest).exists());
        store.sweep_partial(Leftovers::All).unwrap();
        assert!(!store.partial_path(&blob.digest).exists());
    }
}
