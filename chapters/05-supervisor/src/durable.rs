//! Files that a power cut leaves old or new, never half: temporary file, fsync, rename, fsync of the
//! directory (fsync(2): the rename is an entry of the directory and not of the file).

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// How the name of a file ends that is being written.
pub const TEMPORARY: &str = ".new";

/// Nobody but its owner.
const OWNER: u32 = 0o600;

/// How much a file is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worth {
    /// It must survive a power cut.
    Durable,
    /// It is of no use after a power cut; readers still see it whole.
    Volatile,
}

// ANCHOR: write
/// Writes `content` to `path`, for ever or until the next power cut.
///
/// # Errors
/// Where a step fails; the old file is still there then, and no other.
pub fn write(path: &Path, content: &[u8], mode: u32, worth: Worth) -> Result<()> {
    let temporary = temporary(path);
    let written = (|| {
        let mut file = open(&temporary, mode)?;
        file.write_all(content)?;
        if file.metadata()?.len() > content.len() as u64 {
            file.set_len(content.len() as u64)?;
        }
        if worth == Worth::Volatile {
            return std::fs::rename(&temporary, path);
        }
        file.sync_data()?;
        std::fs::rename(&temporary, path)?;
        File::open(parent(path))?.sync_all()
    })();
    written.map_err(|error| {
        let _ = std::fs::remove_file(&temporary);
        Error::path("write", path, error)
    })
}
// ANCHOR_END: write

/// Makes what was created, renamed or removed in a directory last.
///
/// # Errors
/// With the path.
pub fn sync_directory(path: &Path) -> Result<()> {
    let synced = File::open(path).and_then(|directory| directory.sync_all());
    synced.map_err(|error| Error::path("sync", path, error))
}

/// Writes `value` as JSON that a person can read, for its owner only.
///
/// # Errors
/// As [`fn@write`].
pub fn write_json(path: &Path, value: &impl Serialize, worth: Worth) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|source| Error::Json { path: path.to_owned(), source })?;
    text.push(b'\n');
    write(path, &text, OWNER, worth)
}

/// Reads what [`write_json`] wrote; `None` where there is no such file.
///
/// # Errors
/// [`Error::Json`] where it is not what this program writes.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::path("read", path, error)),
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|source| Error::Json { path: path.to_owned(), source }),
    }
}

// ANCHOR: reserve
/// Takes the room that the next [`fn@write`] of `path` needs, so that it succeeds on a disk that has
/// become full meanwhile: blocks that are there already are written over.
///
/// # Errors
/// Where there is no room now; nothing is left then.
pub fn reserve(path: &Path, size: i64) -> Result<()> {
    let temporary = temporary(path);
    let reserved = (|| {
        let file = open(&temporary, OWNER)?;
        match fallocate(file.as_fd(), FallocateFlags::empty(), 0, size) {
            // Not every file system can; then a full disk costs what it costs.
            Err(Errno::EOPNOTSUPP) => Ok(()),
            result => result.map_err(std::io::Error::from),
        }
    })();
    reserved.map_err(|error| {
        let _ = std::fs::remove_file(&temporary);
        Error::path("reserve room for", path, error)
    })
}
// ANCHOR_END: reserve

/// Without truncating it: what was reserved stays so.
fn open(temporary: &Path, mode: u32) -> std::io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(mode).open(temporary)
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(TEMPORARY);
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_leaves_no_temporary() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        assert_eq!(read_json::<u32>(&path).unwrap(), None);
        write_json(&path, &1, Worth::Durable).unwrap();
        write_json(&path, &2, Worth::Volatile).unwrap();
        assert_eq!(read_json::<u32>(&path).unwrap(), Some(2));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        std::fs::write(&path, "{").unwrap();
        let error = read_json::<u32>(&path).unwrap_err().to_string();
        assert!(error.contains("a.json: not what Corten writes"), "{error}");
    }

    #[test]
    fn room_that_was_reserved_is_written_over_and_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        reserve(&path, 4096).unwrap();
        assert_eq!(temporary(&path).metadata().unwrap().len(), 4096);
        write(&path, b"short", OWNER, Worth::Durable).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"short");
        assert!(!temporary(&path).exists());
    }
}
