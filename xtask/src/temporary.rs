//! The tests' TMPDIR: empty before, compared after, removed at the end.
//!
//! In memory where that can be: the tests make and remove some hundred thousand files. An ext4 without a
//! journal gives a removed file's number to no other one for a minute (`recently_deleted` in the kernel's
//! fs/ext4/ialloc.c), and looks at each of them again for each file that is made. There the T1 tests took 384 s,
//! and in memory 313 s.
//! The mount is in a namespace of this process and its children, so it ends with them, however they end.

use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use crate::error::{OnPath, Result};
use crate::say;

/// Less memory than this is left to the tests themselves, in bytes.
const ENOUGH: u64 = 8 << 30;

/// A directory for the time of a run.
pub struct TemporaryDir {
    /// Where it is.
    pub path: PathBuf,
    is_mount: bool,
}

impl TemporaryDir {
    /// Makes it. Before any thread is started: only this one and those that it starts see the mount.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn create() -> Result<TemporaryDir> {
        let path = std::env::temp_dir().join(format!("corten-x-{}", std::process::id()));
        fs::create_dir(&path).on("create", &path)?;
        let is_mount = available() >= ENOUGH && in_memory(&path).is_ok();
        Ok(TemporaryDir { path, is_mount })
    }
}

impl Drop for TemporaryDir {
    fn drop(&mut self) {
        let unmounted = match self.is_mount {
            true => umount2(&self.path, MntFlags::MNT_DETACH).map_err(std::io::Error::from),
            false => Ok(()),
        };
        if let Err(error) = unmounted.and_then(|()| fs::remove_dir_all(&self.path)) {
            say!("remove {}: {error}", self.path.display());
        }
    }
}

/// Mounts a tmpfs, which only root can.
fn in_memory(path: &Path) -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let nothing = None::<&str>;
    // What is mounted on this machine arrives here, and nothing of this leaves. Among themselves the tests
    // have what a machine has: mounts that propagate, which they must keep from doing so.
    for propagation in [MsFlags::MS_SLAVE, MsFlags::MS_SHARED] {
        mount(nothing, "/", nothing, MsFlags::MS_REC | propagation, nothing)?;
    }
    let options = format!("mode=0755,size={}", available() / 2);
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))
}

/// The memory that programs can have without swapping, in bytes (proc_meminfo(5)).
fn available() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or_default() << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_memory() {
        assert!(available() > 1 << 20);
    }

    /// In a thread of its own, which gets the namespace and ends with it.
    #[corten_tier::t1]
    fn it_is_in_memory_and_leaves_nothing() {
        let ours = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let path = std::thread::spawn(|| {
            let directory = TemporaryDir::create().unwrap();
            let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
            let name = directory.path.display().to_string();
            let is_there = mounts.lines().any(|line| line.contains(&format!(" {name} ")));
            assert_eq!(is_there, available() >= ENOUGH);
            fs::write(directory.path.join("file"), "x").unwrap();
            directory.path.clone()
        });
        let path = path.join().unwrap();
        assert!(!path.exists());
        assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), ours);
    }
}
