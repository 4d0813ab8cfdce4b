//! Places in a container's tree: found or made, never outside of it.
//!
//! Chapter 1's `Root` lets the kernel walk a path. That cannot make what is missing behind a
//! symbolic link: an image's `/etc/resolv.conf -> ../run/resolv.conf` with an empty `/run`. Here a
//! path is walked one name at a time, by descriptor and without following: each link is read and
//! its target walked in the same way, `..` goes back to the directory that the walk came from, and
//! at the root it stays. No step can lead out, whatever is renamed or exchanged meanwhile
//! (CVE-2021-30465).

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use corten_namespaces::Root;
use corten_namespaces::sys;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag};

/// What a place shall be where it has to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
}

impl Kind {
    pub(super) fn of(fd: BorrowedFd<'_>) -> nix::Result<Kind> {
        let mode = nix::sys::stat::fstat(fd)?.st_mode;
        Ok(if is(mode, SFlag::S_IFDIR) { Kind::Directory } else { Kind::File })
    }
}

fn is(mode: libc::mode_t, kind: SFlag) -> bool {
    mode & SFlag::S_IFMT.bits() == kind.bits()
}

/// What to do with a symbolic link that is the last name of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LastLink {
    /// Walk on to where it leads.
    Follow,
    /// It is the place.
    Keep,
    /// It is an error.
    Refuse,
}

// ANCHOR: find
/// A handle on the place `path` below `root`; what is missing of it is made, the last name as
/// `kind`, all before as directories.
pub(super) fn find(root: &Root, path: &Path, kind: Kind, last: LastLink) -> nix::Result<OwnedFd> {
    const MOST_LINKS: usize = 255;
    let mut left: VecDeque<OsString> = names(path);
    let mut walked: Vec<OwnedFd> =
        vec![root.as_fd().try_clone_to_owned().map_err(|_| Errno::EMFILE)?];
    let mut links = 0;
    while let Some(name) = left.pop_front() {
        if name == ".." {
            if walked.len() > 1 {
                walked.pop();
            }
            continue;
        }
        let Some(here) = walked.last() else { return Err(Errno::EINVAL) };
        let is_last = left.is_empty();
        let there = open_or_make(here, &name, if is_last { kind } else { Kind::Directory })?;
        let mode = nix::sys::stat::fstat(&there)?.st_mode;
        if is(mode, SFlag::S_IFLNK) && !(is_last && last == LastLink::Keep) {
            links += 1;
            if links > MOST_LINKS || is_last && last == LastLink::Refuse {
                return Err(Errno::ELOOP);
            }
            let to = nix::fcntl::readlinkat(&there, "")?;
            if to.as_bytes().first() == Some(&b'/') {
                walked.truncate(1);
            }
            for name in names(Path::new(&to)).into_iter().rev() {
                left.push_front(name);
            }
            continue;
        }
        walked.push(there);
    }
    walked.pop().ok_or(Errno::EINVAL)
}
// ANCHOR_END: find

fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            _ => None,
        })
        .collect()
}

fn open_or_make(here: &OwnedFd, name: &OsStr, kind: Kind) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let open = || nix::fcntl::openat(here, name, flags, Mode::empty());
    match open() {
        Err(Errno::ENOENT) => {
            let made = match kind {
                Kind::Directory => {
                    nix::sys::stat::mkdirat(here, name, Mode::from_bits_truncate(0o755))
                }
                Kind::File => {
                    let c = std::ffi::CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL)?;
                    sys::mknodat(here.as_raw_fd(), &c, SFlag::S_IFREG.bits() | 0o644, 0)
                }
            };
            match made {
                // Made by somebody else meanwhile.
                Ok(()) | Err(Errno::EEXIST) => open(),
                Err(errno) => Err(errno),
            }
        }
        other => other,
    }
}

/// Whether `fd` is in a real procfs, which no image can forge.
pub(super) fn is_proc(fd: &OwnedFd) -> nix::Result<()> {
    let kind = nix::sys::statfs::fstatfs(fd)?.filesystem_type();
    if kind == nix::sys::statfs::PROC_SUPER_MAGIC { Ok(()) } else { Err(Errno::EXDEV) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn lab() -> (tempfile::TempDir, Root) {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir(base.path().join("root")).unwrap();
        let root = Root::open(base.path().join("root")).unwrap();
        (base, root)
    }

    #[test]
    fn what_is_missing_is_made_behind_links_too() {
        let (base, root) = lab();
        let inside = base.path().join("root");
        fs::create_dir(inside.join("etc")).unwrap();
        symlink("../run/deep/resolv.conf", inside.join("etc/resolv.conf")).unwrap();
        find(&root, Path::new("/etc/resolv.conf"), Kind::File, LastLink::Follow).unwrap();
        assert!(inside.join("run/deep/resolv.conf").is_file());
    }

    #[test]
    fn no_link_leads_out() {
        let (base, root) = lab();
        let inside = base.path().join("root");
        symlink(base.path(), inside.join("absolute")).unwrap();
        symlink("../../..", inside.join("up")).unwrap();
        find(&root, Path::new("/absolute/made"), Kind::File, LastLink::Follow).unwrap();
        find(&root, Path::new("/up/../made"), Kind::File, LastLink::Follow).unwrap();
        assert!(!base.path().join("made").exists());
        assert!(inside.join("made").is_file());
        assert!(inside.join(base.path().strip_prefix("/").unwrap()).join("made").is_file());
    }

    #[test]
    fn a_link_at_the_end_can_be_kept_or_refused() {
        let (base, root) = lab();
        symlink("nowhere", base.path().join("root/link")).unwrap();
        symlink("loop", base.path().join("root/loop")).unwrap();
        let open = |path, last| find(&root, Path::new(path), Kind::File, last);
        let kept = open("/link", LastLink::Keep).unwrap();
        assert!(is(nix::sys::stat::fstat(&kept).unwrap().st_mode, SFlag::S_IFLNK));
        assert_eq!(open("/link", LastLink::Refuse).unwrap_err(), Errno::ELOOP);
        assert_eq!(open("/loop", LastLink::Follow).unwrap_err(), Errno::ELOOP);
        assert!(!base.path().join("root/nowhere").exists());
    }
}
