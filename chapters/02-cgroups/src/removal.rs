//! Removing a group: rmdir(2) works on an empty group only, so this waits for the last process and
//! removes what a container has made below, and what was made above for it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use crate::cgroup::Cgroup;
use crate::error::{Context, Result};
use crate::freezer::event;
use crate::hierarchy::Version;
use crate::{file, sys};

impl Cgroup {
    // ANCHOR: remove
    /// Removes the group in every hierarchy, the groups below it, and those above that were made for
    /// it. Waits up to `patience` for processes that are ending. A group that is gone already is no error.
    ///
    /// The kernel frees what a group has used long after; nobody has to wait for that. A caller
    /// that has an answer to give gives it first and does this afterwards.
    ///
    /// # Errors
    /// `EBUSY` where processes are still in it: [`Cgroup::kill`] comes first.
    pub fn remove(&self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        for group in self.groups() {
            loop {
                match remove_tree(group.path()) {
                    Ok(()) | Err(Errno::ENOENT) => break,
                    Err(Errno::EBUSY) if Instant::now() < deadline => {
                        let left = deadline.saturating_duration_since(Instant::now());
                        self.wait_for_a_change(group.target.version, group.path(), left)?;
                    }
                    Err(errno) => return Err(errno).on("rmdir", group.path()),
                }
            }
            remove_above(group.path());
        }
        Ok(())
    }
    // ANCHOR_END: remove

    // ANCHOR: wait
    /// Returns when a process of the group has ended. v2 says so by POLLPRI on `cgroup.events`; in
    /// v1 a pidfd of each process is readable when it has.
    fn wait_for_a_change(&self, version: Version, path: &Path, left: Duration) -> Result<()> {
        let result = match version {
            Version::V2 => wait_v2(path, left),
            Version::V1 => wait_v1(path, left),
        };
        match result {
            Err(Errno::ENOENT | Errno::ENODEV) => Ok(()),
            other => other.on("wait for the processes of", path),
        }
    }
    // ANCHOR_END: wait
}

// ANCHOR: above
/// What marks a group that was made because one in it was wanted: an attribute that a group's owner may set, in
/// v1 and v2, since Linux 5.7 (KERNFS_ROOT_SUPPORT_USER_XATTR in the kernel's kernel/cgroup/cgroup.c).
const MARK: &str = "user.corten.above";

/// Marks a group that was made on the way to another. One that cannot be marked stays when that has gone.
pub(crate) fn mark(path: &Path) {
    let _ = xattr::set(path, MARK, b"1");
}

/// Removes the groups above `path` that were made on the way to it or to one beside it, as far as they are
/// empty: what somebody else has made stays, whoever was the last in it. For one that is gone already, too.
pub fn remove_above(path: &Path) {
    for above in path.ancestors().skip(1) {
        let marked = xattr::get(above, MARK).is_ok_and(|value| value.is_some());
        let gone = match marked {
            true => rmdir(above).is_ok(),
            false => !above.exists(),
        };
        if !gone {
            return;
        }
    }
}
// ANCHOR_END: above

/// Removes `path` and what is below it, the deepest first. Usually there is nothing below, so that
/// is looked at only when the first attempt fails.
fn remove_tree(path: &Path) -> nix::Result<()> {
    match rmdir(path) {
        Err(Errno::EBUSY | Errno::ENOTEMPTY) => {}
        other => return other,
    }
    for child in file::directories(path) {
        match remove_tree(&child) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    rmdir(path)
}

fn rmdir(path: &Path) -> nix::Result<()> {
    std::fs::remove_dir(path).map_err(|error| crate::error::errno_of(&error))
}

fn wait_v2(path: &Path, left: Duration) -> nix::Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let events = nix::fcntl::open(&path.join("cgroup.events"), flags, Mode::empty())?;
    if event(&file::read_all(events.as_fd())?, "populated") {
        file::changed(events.as_fd(), left)?;
    }
    Ok(())
}

fn wait_v1(path: &Path, left: Duration) -> nix::Result<()> {
    let mut processes = Vec::new();
    let mut pending = vec![path.to_path_buf()];
    while let Some(dir) = pending.pop() {
        let text = file::read(&dir.join("cgroup.procs"))?;
        processes.extend(text.lines().filter_map(|line| line.parse::<libc::pid_t>().ok()));
        pending.extend(file::directories(&dir));
    }
    let mut pidfds: Vec<OwnedFd> = Vec::new();
    for pid in processes {
        match corten_namespaces::sys::pidfd_open(pid) {
            Ok(fd) => pidfds.push(fd),
            // It has ended: a change.
            Err(Errno::ESRCH) => return Ok(()),
            // A thread of a process whose first thread is elsewhere, or one of another pid
            // namespace, has no pidfd.
            Err(_) => {}
        }
    }
    sys::wait_for_any(&pidfds, left)
}
