//! Files that a power cut leaves old or new, never half-written.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{At, Error, Result};

/// How much a file is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worth {
    /// It must survive a power cut.
    Durable,
    /// It is of no use after a power cut; readers still see it whole.
    Volatile,
}

/// Writes `bytes` under `path`: a temporary file beside it, fsync, rename, fsync of the directory;
/// without the two fsyncs where it is volatile.
///
/// # Errors
/// With the operation that failed; the old file is untouched then.
pub fn write(path: &Path, bytes: &[u8], mode: u32, worth: Worth) -> Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = Path::new(&temporary);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode);
    let mut file = options.open(temporary).at("create", temporary)?;
    file.write_all(bytes).at("write", temporary)?;
    if worth == Worth::Volatile {
        return std::fs::rename(temporary, path).at("rename to", path);
    }
    file.sync_all().at("sync", temporary)?;
    std::fs::rename(temporary, path).at("rename to", path)?;
    sync_directory(path.parent().unwrap_or(Path::new("/")))
}

/// Makes what was created, renamed or removed in a directory last.
///
/// # Errors
/// With the path.
pub fn sync_directory(path: &Path) -> Result<()> {
    File::open(path).and_then(|directory| directory.sync_all()).at("sync", path)
}

/// Writes `value` as JSON that a person can read.
///
/// # Errors
/// As [`fn@write`].
pub fn write_json(path: &Path, value: &impl Serialize, worth: Worth) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|e| malformed(path, &e))?;
    text.push(b'\n');
    write(path, &text, 0o600, worth)
}

/// Reads what [`write_json`] wrote; `None` where there is no such file.
///
/// # Errors
/// [`Error::State`] where it is not what this program writes.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let mut text = Vec::new();
    match File::open(path).and_then(|mut file| file.read_to_end(&mut text)) {
        Ok(_) => serde_json::from_slice(&text).map(Some).map_err(|e| malformed(path, &e)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).at("read", path),
    }
}

fn malformed(path: &Path, why: &serde_json::Error) -> Error {
    Error::State { path: path.display().to_string(), why: format!("not what Corten writes: {why}") }
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
}
