//! Directories of the store without a name of their own yet, and what brings them to the disk.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use corten_namespaces::Context;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::stat::Mode;

use super::{Layer, RECORD};
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::node;

const TEMPORARY: &str = ".tmp-";

/// A directory of the store without a name of its own yet; removed when dropped.
pub(super) struct Temporary<'a> {
    pub(super) path: PathBuf,
    driver: &'a dyn Driver,
    _lock: Flock<OwnedFd>,
}

impl<'a> Temporary<'a> {
    /// Makes a directory for a layer that stands on the one in `parent`, and locks it.
    pub(super) fn new(
        store: &Path,
        driver: &'a dyn Driver,
        parent: Option<&Path>,
    ) -> Result<Temporary<'a>> {
        Temporary::made(store, driver, |path| driver.begin(path, parent))
    }

    /// Makes an empty directory for what is to be removed.
    pub(super) fn grave(store: &Path, driver: &'a dyn Driver) -> Result<Temporary<'a>> {
        Temporary::made(store, driver, |path| {
            nix::unistd::mkdir(path, Mode::S_IRWXU).on("mkdir", path).map_err(Error::from)
        })
    }

    fn made(
        store: &Path,
        driver: &'a dyn Driver,
        make: impl Fn(&Path) -> Result<()>,
    ) -> Result<Temporary<'a>> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = store.join(format!("{TEMPORARY}{}-{count}", std::process::id()));
            match make(&path) {
                Ok(()) => {}
                // Left by a process that had our number; or, between its making and our lock,
                // another process takes it for a leftover and removes it.
                Err(error) if matches!(error.errno(), Some(Errno::EEXIST | Errno::ENOENT)) => {
                    if !store.exists() {
                        return Err(error);
                    }
                    continue;
                }
                Err(error) => {
                    let _ = driver.discard(&path);
                    return Err(error);
                }
            }
            let Ok(dir) = open_dir(&path) else { continue };
            let Ok(lock) = Flock::lock(dir, FlockArg::LockExclusiveNonblock) else { continue };
            // Locked; is it still there?
            if path.exists() {
                return Ok(Temporary { path, driver, _lock: lock });
            }
        }
    }

    /// Writes the record; the disk has it, with all else in here, after the next syncfs(2).
    pub(super) fn describe(&self, layer: &Layer) -> Result<()> {
        let record = self.path.join(RECORD);
        let mut text = serde_json::to_vec_pretty(layer)
            .map_err(|e| Error::Store { path: record.clone(), why: e.to_string() })?;
        text.push(b'\n');
        // Truncated where it is a snapshot's: the parent keeps its own.
        let mut file = File::create(&record).on("create", &record)?;
        file.write_all(&text).on("write", &record).map_err(Error::from)
    }

    // ANCHOR: publish
    /// Gives it the name `to`, once all of it is on the disk. Where another process was faster, its
    /// layer stays and this one is removed: they are the same.
    pub(super) fn publish(self, to: &Path) -> Result<()> {
        match fs::rename(&self.path, to).map_err(node::errno) {
            Ok(()) | Err(Errno::ENOTEMPTY | Errno::EEXIST) => Ok(()),
            Err(errno) => Err(errno).on("rename", to).map_err(Error::from),
        }
    }
    // ANCHOR_END: publish
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        // After a rename there is nothing of that name. What cannot be removed now is found by the
        // next `open`.
        let _ = self.driver.discard(&self.path);
    }
}

/// Removes the temporary directories whose makers are gone: nobody holds their lock.
pub(super) fn remove_leftovers(store: &Path, driver: &dyn Driver) -> Result<()> {
    for entry in fs::read_dir(store).on("read", store)? {
        let entry = entry.on("read", store)?;
        if !entry.file_name().as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) {
            continue;
        }
        let path = entry.path();
        // Its maker may be removing it right now.
        let Ok(dir) = open_dir(&path) else { continue };
        if let Ok(lock) = Flock::lock(dir, FlockArg::LockExclusiveNonblock) {
            drop(Temporary { path, driver, _lock: lock });
        }
    }
    Ok(())
}

/// Replaces a small file such that after a crash it is the old one or the new one.
pub(super) fn write_durably(path: &Path, text: &[u8]) -> Result<()> {
    let new = path.with_extension(format!("new-{}", std::process::id()));
    let mut file = File::create(&new).on("create", &new)?;
    file.write_all(text).on("write", &new)?;
    file.sync_all().on("fsync", &new)?;
    fs::rename(&new, path).on("rename", path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

pub(super) fn open_dir(path: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, Mode::empty()).on("open", path).map_err(Error::from)
}

pub(super) fn sync_dir(path: &Path) -> Result<()> {
    nix::unistd::fsync(open_dir(path)?).on("fsync", path).map_err(Error::from)
}
