//! What is known of the content of a folder's files: digests that are good as long as stat(2) says the
//! same.
//!
//! A file that was changed has another time of change (ctime), which no program can set. Only where that
//! time is so fresh that a second change could have the same, nothing is remembered.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use nix::sys::stat::FileStat;

use crate::error::{At, Result};

/// So many seconds a change must be old: clocks of file systems are no finer than a tick of the kernel,
/// and those of others across a network may be wrong by a little.
const SETTLED: i64 = 2;

/// The bytes of an entry on the disk: a file's identity, its size and times, the digest.
const ENTRY: usize = 7 * 8 + 32;

/// The first bytes of the file: what it is, and which version of it.
const MAGIC: &[u8; 8] = b"ctnsums1";

/// A file as stat(2) tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Identity([u64; 7]);

impl Identity {
    fn of(stat: &FileStat) -> Identity {
        Identity([
            stat.st_dev,
            stat.st_ino,
            stat.st_size as u64,
            stat.st_mtime as u64,
            stat.st_mtime_nsec as u64,
            stat.st_ctime as u64,
            stat.st_ctime_nsec as u64,
        ])
    }
}

/// Digests of one folder.
#[derive(Debug)]
pub struct Sums {
    path: PathBuf,
    known: HashMap<Identity, [u8; 32]>,
    /// Those that were asked for, or are new: the others are forgotten.
    used: Mutex<HashMap<Identity, [u8; 32]>>,
}

impl Sums {
    /// What the file `path` knows; nothing where there is none, or it is spoiled.
    pub fn open(path: PathBuf) -> Sums {
        let bytes = fs::read(&path).unwrap_or_default();
        let mut known = HashMap::new();
        let entries = bytes.strip_prefix(MAGIC).unwrap_or_default();
        if entries.len().is_multiple_of(ENTRY) {
            for entry in entries.chunks_exact(ENTRY) {
                let (numbers, sum) = entry.split_at(ENTRY - 32);
                let mut identity = [0; 7];
                for (number, bytes) in identity.iter_mut().zip(numbers.chunks_exact(8)) {
                    *number = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
                }
                known.insert(Identity(identity), sum.try_into().unwrap_or_default());
            }
        }
        Sums { path, known, used: Mutex::default() }
    }

    /// The digest of a file, where it is known.
    pub(crate) fn get(&self, stat: &FileStat) -> Option<[u8; 32]> {
        let identity = Identity::of(stat);
        let sum = *self.known.get(&identity)?;
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(identity, sum);
        Some(sum)
    }

    // ANCHOR: put
    /// Takes note of a digest.
    pub(crate) fn put(&self, stat: &FileStat, sum: [u8; 32]) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_secs() as i64);
        if stat.st_ctime + SETTLED < now {
            let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
            used.insert(Identity::of(stat), sum);
        }
    }
    // ANCHOR_END: put

    /// Writes what was used, where it is other than what was known. A power cut may lose it.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn save(&self) -> Result<()> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() == self.known.len() && used.keys().all(|one| self.known.contains_key(one)) {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(MAGIC.len() + used.len() * ENTRY);
        bytes.extend_from_slice(MAGIC);
        for (identity, sum) in used.iter() {
            identity.0.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
            bytes.extend_from_slice(sum);
        }
        let parent = self.path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(parent).at("make", parent)?;
        let new = self.path.with_extension(format!("new-{}", std::process::id()));
        fs::write(&new, bytes).at("write", &new)?;
        fs::rename(&new, &self.path).at("rename to", &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_known_as_long_as_the_file_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let stat = nix::sys::stat::stat(dir.path()).unwrap();
        let path = dir.path().join("sums");
        let sums = Sums::open(path.clone());
        // Just made: it could change again and look the same.
        sums.put(&stat, [1; 32]);
        sums.save().unwrap();
        assert!(!path.exists());
        let mut old = stat;
        old.st_ctime -= 60;
        sums.put(&old, [1; 32]);
        sums.save().unwrap();
        let sums = Sums::open(path.clone());
        assert_eq!(sums.get(&old), Some([1; 32]));
        old.st_size += 1;
        assert_eq!(sums.get(&old), None);
        // What a power cut has spoiled knows nothing.
        fs::write(&path, [MAGIC.as_slice(), b"half"].concat()).unwrap();
        old.st_size -= 1;
        assert_eq!(Sums::open(path).get(&old), None);
    }
}
