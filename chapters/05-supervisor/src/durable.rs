//! Files that a power cut leaves old or new, never half: temporary file, fsync, rename, fsync of the
//! directory (fsync(2): the rename is an entry of the directory and not of the file).

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

use crate::error::{Error, Result};

// ANCHOR: write
/// Writes `content` to `path`, durably.
///
/// # Errors
/// Where a step fails; the old file is still there then, and no other.
pub fn write(path: &Path, content: &[u8]) -> Result<()> {
    let temporary = temporary(path);
    let written = (|| {
        let mut file = open(&temporary)?;
        file.write_all(content)?;
        if file.metadata()?.len() > content.len() as u64 {
            file.set_len(content.len() as u64)?;
        }
        file.sync_data()?;
        std::fs::rename(&temporary, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    })();
    written.map_err(|error| {
        let _ = std::fs::remove_file(&temporary);
        Error::path("write", path, error)
    })
}
// ANCHOR_END: write

/// Writes `content` to `path`: readers see the old or the new, a power cut may leave neither.
///
/// # Errors
/// Where a step fails; no temporary file is left then.
pub fn write_volatile(path: &Path, content: &[u8]) -> Result<()> {
    let temporary = temporary(path);
    let written =
        std::fs::write(&temporary, content).and_then(|()| std::fs::rename(&temporary, path));
    written.map_err(|error| {
        let _ = std::fs::remove_file(&temporary);
        Error::path("write", path, error)
    })
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
        let file = open(&temporary)?;
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
fn open(temporary: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).open(temporary)
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}
