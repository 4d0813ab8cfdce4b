//! Exercise 8.2: a digest of a folder.
#![deny(unsafe_code)]

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use sha2::{Digest, Sha256};

// ANCHOR: sum
/// A digest of what `COPY` of the folder would make: names, kinds, modes, content, targets of links; no
/// times, and not the order in which the file system happens to tell the names.
///
/// # Errors
/// Where something cannot be read.
pub fn sum(folder: &Path) -> io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    add(&mut hash, folder)?;
    Ok(hash.finalize().into())
}

fn add(hash: &mut Sha256, folder: &Path) -> io::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    // How many: so that it is known where the folder ends.
    hash.update((entries.len() as u64).to_le_bytes());
    for entry in entries {
        let (path, metadata) = (entry.path(), entry.path().symlink_metadata()?);
        text(hash, entry.file_name().as_bytes());
        // The kind is a part of it.
        hash.update(metadata.permissions().mode().to_le_bytes());
        match metadata.file_type() {
            kind if kind.is_dir() => add(hash, &path)?,
            kind if kind.is_symlink() => text(hash, fs::read_link(&path)?.as_os_str().as_bytes()),
            kind if kind.is_file() => text(hash, &fs::read(&path)?),
            // Of a pipe or a socket there is nothing more to tell, and reading it might never end.
            _ => {}
        }
    }
    Ok(())
}

/// Bytes, with their number before them.
fn text(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}
// ANCHOR_END: sum

fn main() -> io::Result<()> {
    for folder in std::env::args_os().skip(1) {
        let digits = sum(Path::new(&folder))?.map(|byte| format!("{byte:02x}"));
        println!("{}  {}", digits.concat(), Path::new(&folder).display());
    }
    Ok(())
}
