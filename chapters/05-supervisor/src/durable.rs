//! Files that a power cut leaves old or new, never half: temporary file, fsync, rename, fsync of the
//! directory (fsync(2): the rename is an entry of the directory and not of the file).

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::error::{Error, Result};

// ANCHOR: write
/// Writes `content` to `path`, durably.
///
/// # Errors
/// Where a step fails; the old file is still there then, and no other.
pub fn write(path: &Path, content: &[u8]) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    let written = (|| {
        let mut file = File::create(&temporary)?;
        file.write_all(content)?;
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
