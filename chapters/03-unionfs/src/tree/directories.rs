//! The open directories on the way to the last entry.
//!
//! Archives list a tree depth first, so the next entry nearly always lies in a directory that is
//! still open, and a path is resolved (openat2, inside the root) only when it does not. A directory's
//! times are put back when it is left: making entries in it has changed them.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use corten_namespaces::Context;
use nix::sys::stat;
use nix::sys::time::TimeSpec;

use crate::error::{Error, Result};
use crate::node;

/// So many stay open. A layer may nest directories deeper than a process may open files.
const OPEN: usize = 64;

/// An open directory.
pub(super) struct Directory {
    path: PathBuf,
    fd: Rc<OwnedFd>,
    /// Its times before anything was made in it.
    accessed: TimeSpec,
    modified: TimeSpec,
    changed: bool,
    /// New entries take its group.
    pub(super) gives_group: bool,
}

impl Directory {
    /// One that was there.
    pub(super) fn found(path: PathBuf, fd: OwnedFd) -> Result<Directory> {
        let stat = stat::fstat(&fd).on("stat", &path)?;
        Ok(Directory {
            accessed: TimeSpec::new(stat.st_atime, stat.st_atime_nsec),
            modified: TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec),
            changed: false,
            gives_group: stat.st_mode & libc::S_ISGID != 0,
            path,
            fd: Rc::new(fd),
        })
    }

    /// One that has just been made and shall have the time `modified` in the end.
    pub(super) fn made(path: &Path, fd: OwnedFd, modified: TimeSpec, mode: u32) -> Directory {
        Directory {
            path: path.to_path_buf(),
            fd: Rc::new(fd),
            accessed: modified,
            modified,
            changed: true,
            gives_group: mode & libc::S_ISGID != 0,
        }
    }

    fn leave(self) -> Result<()> {
        if !self.changed {
            return Ok(());
        }
        stat::futimens(&self.fd, &self.accessed, &self.modified)
            .on("set the times of", &self.path)
            .map_err(Error::from)
    }
}

/// The open directories, each inside the one before it.
#[derive(Default)]
pub(super) struct Directories(Vec<Directory>);

/// A directory in which an entry is about to be made.
pub(super) struct Here {
    pub(super) fd: Rc<OwnedFd>,
    pub(super) gives_group: bool,
}

impl Directories {
    /// Leaves what `path` does not lie in. Gives the innermost directory that it does lie in.
    pub(super) fn leave_for(&mut self, path: &Path) -> Result<Option<&Directory>> {
        while let Some(last) = self.0.pop_if(|last| !holds(&last.path, path)) {
            last.leave()?;
        }
        Ok(self.0.last())
    }

    /// The innermost directory, to make something in, if that is `path`.
    pub(super) fn here(&mut self, path: &Path) -> Option<Here> {
        let last = self.0.last_mut()?;
        if last.path.as_os_str() != path.as_os_str() {
            return None;
        }
        last.changed = true;
        Some(Here { fd: Rc::clone(&last.fd), gives_group: last.gives_group })
    }

    /// Enters a directory that lies in the innermost one.
    pub(super) fn enter(&mut self, directory: Directory) -> Result<()> {
        if self.0.len() >= OPEN {
            self.0.remove(0).leave()?;
        }
        self.0.push(directory);
        Ok(())
    }

    /// Leaves all.
    pub(super) fn leave_all(&mut self) -> Result<()> {
        while let Some(last) = self.0.pop() {
            last.leave()?;
        }
        Ok(())
    }
}

impl Directory {
    /// Opens the directory `path`, which must be directly in this one, and no link; `None` where it
    /// is further below or a link or not there.
    pub(super) fn child(&self, path: &Path) -> Option<OwnedFd> {
        let name = path.file_name()?;
        let direct = path.parent()?.as_os_str() == self.path.as_os_str();
        direct.then(|| node::open_dir(self.fd.as_fd(), name).ok()).flatten()
    }
}

/// Whether the directory `outer` is `path` or holds it. Both are plain: no `.`, no double slash.
fn holds(outer: &Path, path: &Path) -> bool {
    let (outer, path) = (outer.as_os_str().as_bytes(), path.as_os_str().as_bytes());
    match path.strip_prefix(outer) {
        Some(rest) => outer.is_empty() || rest.is_empty() || rest[0] == b'/',
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_holds_itself_and_what_is_below_but_no_longer_name() {
        let holds = |a: &str, b: &str| holds(Path::new(a), Path::new(b));
        assert!(holds("", "a/b") && holds("a", "a") && holds("a", "a/b"));
        assert!(!holds("a", "ab") && !holds("a/b", "a") && !holds("a", ""));
    }
}
