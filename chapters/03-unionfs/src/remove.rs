//! Removing a tree of any depth with a handful of descriptors.
//!
//! `std::fs::remove_dir_all` holds one descriptor per level, so a layer that nests a few thousand
//! directories could not be removed: it would stay half-made for ever.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::node;

/// Removes `name` in `parent`, with all below it where it is a directory. Links are removed, not
/// followed.
///
/// The tree must be out of the reach of others: the way back up is `..`.
pub(crate) fn remove_tree(parent: BorrowedFd<'_>, name: &OsStr) -> nix::Result<()> {
    match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
        Err(Errno::EISDIR) => {}
        other => return other,
    }
    let mut here = node::open_dir(parent, name)?;
    // The names of the directories between `name` and `here`.
    let mut below: Vec<OsString> = Vec::new();
    loop {
        if let Some(child) = empty_until_directory(&here)? {
            here = node::open_dir(here.as_fd(), &child)?;
            below.push(child);
            continue;
        }
        let Some(done) = below.pop() else { break };
        here = node::open_dir(here.as_fd(), OsStr::new(".."))?;
        unlinkat(here.as_fd(), done.as_os_str(), UnlinkatFlags::RemoveDir)?;
    }
    unlinkat(parent, name, UnlinkatFlags::RemoveDir)
}

/// Removes what can be removed at once, up to the first directory that has something in it, and
/// returns its name.
fn empty_until_directory(dir: &OwnedFd) -> nix::Result<Option<OsString>> {
    // A descriptor of its own, because the position in the directory belongs to the open file.
    let mut entries = Dir::from_fd(node::open_dir(dir.as_fd(), OsStr::new("."))?)?;
    for entry in entries.iter() {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        let removed = match entry.file_type() {
            Some(Type::Directory) => unlinkat(dir, name, UnlinkatFlags::RemoveDir),
            _ => unlinkat(dir, name, UnlinkatFlags::NoRemoveDir),
        };
        match removed {
            Ok(()) => {}
            // EISDIR where the file system does not tell the type in the listing.
            Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::EISDIR) => return Ok(Some(name.into())),
            Err(errno) => return Err(errno),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_namespaces::Root;

    #[test]
    fn a_tree_deeper_than_the_limit_of_descriptors_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let mut here = root
            .open_at("/", nix::fcntl::OFlag::O_DIRECTORY, nix::sys::stat::Mode::empty())
            .unwrap();
        for _ in 0..1500 {
            nix::sys::stat::mkdirat(&here, "d", nix::sys::stat::Mode::S_IRWXU).unwrap();
            nix::unistd::symlinkat("/etc", &here, "link").unwrap();
            here = node::open_dir(here.as_fd(), OsStr::new("d")).unwrap();
        }
        remove_tree(root.as_fd(), OsStr::new("d")).unwrap();
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "only the first link is left: {left:?}");
    }
}
