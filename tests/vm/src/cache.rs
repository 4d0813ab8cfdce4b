//! What is built once and used by every later boot: `target/vm`, or `$CORTEN_VM_CACHE`.
//!
//! An entry is made under a temporary name and renamed when it is complete, so it is there as a
//! whole or not at all; a lock file keeps two processes from making the same one twice.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};

use crate::error::{Context, Result};

/// So many disk images are kept, the last used ones. They are sparse: some ten MiB each.
const IMAGES_KEPT: usize = 12;

/// The directory of the cache.
///
/// # Errors
/// Where it can't be created.
pub fn root() -> Result<PathBuf> {
    let path = if let Some(path) = std::env::var_os("CORTEN_VM_CACHE") {
        PathBuf::from(path)
    } else if let Some(target) = std::env::var_os("CARGO_TARGET_DIR") {
        PathBuf::from(target).join("vm")
    } else {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/vm")
    };
    fs::create_dir_all(&path).on("create", &path)?;
    path.canonicalize().on("resolve", &path)
}

/// The cached directory `name`; where there is none, `build` fills a new one.
pub(crate) fn directory(name: &str, build: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let path = root()?.join(name);
    let _lock = lock(&path)?;
    if !path.exists() {
        let parent = path.parent().unwrap_or(&path);
        let work = tempfile::tempdir_in(parent).on("create a directory in", parent)?;
        let new = work.path().join("new");
        fs::create_dir(&new).on("create", &new)?;
        build(&new)?;
        fs::rename(&new, &path).on("rename to", &path)?;
    }
    Ok(path)
}

/// The cached disk image `key`; where there is none, `build` writes a new one to the path given.
pub(crate) fn image(key: &str, build: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let directory = root()?.join("images");
    let path = directory.join(format!("{key}.ext4"));
    let _lock = lock(&directory.join("all"))?;
    if path.exists() {
        // The time of modification is the time of the last use.
        let file = File::options().append(true).open(&path).on("open", &path)?;
        file.set_modified(SystemTime::now()).on("touch", &path)?;
    } else {
        let work = tempfile::tempdir_in(&directory).on("create a directory in", &directory)?;
        let new = work.path().join("new.ext4");
        build(&new)?;
        fs::rename(&new, &path).on("rename to", &path)?;
        forget_old_images(&directory)?;
    }
    Ok(path)
}

/// Removes the images used least recently. A VM that is running keeps its own: QEMU has it open.
fn forget_old_images(directory: &Path) -> Result<()> {
    let mut images = Vec::new();
    for entry in fs::read_dir(directory).on("list", directory)? {
        let path = entry.on("list", directory)?.path();
        if path.extension().is_some_and(|e| e == "ext4") {
            let used = fs::metadata(&path).and_then(|m| m.modified()).on("stat", &path)?;
            images.push((used, path));
        }
    }
    images.sort();
    let excess = images.len().saturating_sub(IMAGES_KEPT);
    for (_, path) in images.into_iter().take(excess) {
        fs::remove_file(&path).on("remove", &path)?;
    }
    Ok(())
}

/// Waits for the lock of `path`, which is held until the returned value is dropped.
pub(crate) fn lock(path: &Path) -> Result<Flock<File>> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).on("create", parent)?;
    }
    let mut path = path.as_os_str().to_owned();
    path.push(".lock");
    let file = File::create(&path).on("create", &path)?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno).on("lock", &path)
}

/// A short name for a directory that the caller keeps, which changes when it is replaced.
pub(crate) fn path_key(path: &Path) -> Result<String> {
    let metadata = fs::metadata(path).on("stat", path)?;
    Ok(text_key(&format!("{} {} {}", path.display(), metadata.ino(), metadata.mtime())))
}

/// A short name for what is described so.
pub(crate) fn text_key(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))[..16].to_owned()
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
