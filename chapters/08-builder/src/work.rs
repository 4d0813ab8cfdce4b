//! Directories for what is being made: locked while somebody has them, and removed with him.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::error::{At, Result};

/// A directory of this process's own; removed when dropped.
#[derive(Debug)]
pub struct Work {
    path: PathBuf,
    next: AtomicU64,
    _lock: Flock<File>,
}

impl Work {
    /// A new directory below `root`, which is made where it is missing.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn new(root: &Path) -> Result<Work> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        loop {
            // Whoever was the last to leave has removed it.
            private(root)?;
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = root.join(format!("{}-{count}", std::process::id()));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {}
                // Left by a process that had our number; or somebody takes ours for a leftover.
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::AlreadyExists | std::io::ErrorKind::NotFound
                    ) =>
                {
                    continue;
                }
                other => other.at("make", &path)?,
            }
            // Somebody may take it for a leftover until it is locked.
            let file = match File::open(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                other => other.at("open", &path)?,
            };
            let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Err((_, Errno::EWOULDBLOCK)) => continue,
                other => other.map_err(|(_, errno)| errno).at("lock", &path)?,
            };
            if path.exists() {
                return Ok(Work { path, next: AtomicU64::new(0), _lock: lock });
            }
        }
    }

    /// A new empty directory in it.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn directory(&self) -> Result<PathBuf> {
        let path = self.path.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        fs::DirBuilder::new().mode(0o700).create(&path).at("make", &path)?;
        Ok(path)
    }

    /// Removes what is left of one of its directories; what fails is removed at the end.
    pub fn discard(&self, path: &Path) {
        if let (Ok(parent), Some(name)) = (File::open(&self.path), path.file_name()) {
            let _ = corten_unionfs::remove::remove_tree(parent.as_fd(), name);
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // What cannot be removed now is found by the next build.
        let _ = remove(&self.path);
        if let Some(root) = self.path.parent() {
            // It stays where somebody has something in it.
            let _ = fs::remove_dir(root);
        }
    }
}

fn remove(path: &Path) -> Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let parent = File::open(parent).at("open", parent)?;
    match corten_unionfs::remove::remove_tree(parent.as_fd(), name) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno).at("remove", path),
    }
}

// ANCHOR: clear
/// Removes what killed builds have left below `root`.
///
/// # Errors
/// Where something cannot be removed.
pub fn clear(root: &Path) -> Result<()> {
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.at("read", root)?,
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(file) = File::open(&path) else { continue };
        if let Ok(_lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            remove(&path)?;
        }
    }
    // It stays where somebody has something in it.
    let _ = fs::remove_dir(root);
    Ok(())
}
// ANCHOR_END: clear

/// Makes a directory that only its owner can enter: below lie set-user-ID programs.
pub(crate) fn private(path: &Path) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).at("make", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_build_leaves_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("work");
        let work = Work::new(&root).unwrap();
        let inside = work.directory().unwrap();
        fs::create_dir_all(root.join("1-1/2")).unwrap();
        clear(&root).unwrap();
        assert!(inside.exists() && !root.join("1-1").exists());
        drop(work);
        assert!(!root.exists());
    }
}
