//! Making one node of a tree: only by a name in an open directory, never by a path, and never
//! following a link at that name.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{self, FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid};

use crate::archive::{Device, Entry, Kind, Time};

/// The xattr that new entries of a directory inherit.
pub(crate) const DEFAULT_ACL: &str = "system.posix_acl_default";

/// Owner, mode, times and xattrs.
#[derive(Debug, Clone)]
pub(crate) struct Attributes {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
    pub(crate) mtime: Time,
    pub(crate) xattrs: Vec<(OsString, Vec<u8>)>,
}

impl From<&Entry> for Attributes {
    fn from(entry: &Entry) -> Self {
        Attributes {
            uid: entry.uid,
            gid: entry.gid,
            mode: entry.mode,
            mtime: entry.mtime,
            xattrs: entry.xattrs.clone(),
        }
    }
}

impl Attributes {
    /// Those of an open directory, without what belongs to overlay itself.
    pub(crate) fn of_directory(dir: BorrowedFd<'_>) -> nix::Result<Attributes> {
        let stat = stat::fstat(dir)?;
        let mut xattrs = Vec::new();
        for name in list_xattrs(dir)? {
            if !is_overlays_own(&name)
                && let Some(value) = xattr::get_deref(proc_path(dir), &name).map_err(errno)?
            {
                xattrs.push((name, value));
            }
        }
        Ok(Attributes {
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: stat.st_mode & 0o7777,
            mtime: Time { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec as u32 },
            xattrs,
        })
    }
}

/// Opens the directory `name` in `parent` itself, not what a link of that name points to.
pub(crate) fn open_dir(parent: BorrowedFd<'_>, name: &OsStr) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    nix::fcntl::openat(parent, name, flags, Mode::empty())
}

/// What `name` in `parent` is; `None` where there is nothing.
pub(crate) fn look(parent: BorrowedFd<'_>, name: &OsStr) -> nix::Result<Option<FileStat>> {
    match stat::fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

pub(crate) fn is_directory(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR
}

/// Overlay's mark for a deleted name: a character device 0/0.
pub(crate) fn is_whiteout(stat: &FileStat) -> bool {
    let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
    kind == SFlag::S_IFCHR && stat.st_rdev == 0
}

/// Makes overlay's mark for a deleted name.
pub(crate) fn make_whiteout(parent: BorrowedFd<'_>, name: &OsStr) -> nix::Result<()> {
    stat::mknodat(parent, name, SFlag::S_IFCHR, Mode::empty(), 0)
}

/// Makes an empty file for writing that only its owner can open until it is complete.
pub(crate) fn make_file(parent: BorrowedFd<'_>, name: &OsStr) -> nix::Result<OwnedFd> {
    let flags =
        OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    nix::fcntl::openat(parent, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)
}

/// Makes a node without content: a symbolic link, a device or a fifo.
pub(crate) fn make_node(parent: BorrowedFd<'_>, name: &OsStr, kind: &Kind) -> nix::Result<()> {
    let node = |kind, device: Option<&Device>| {
        let number = device.map_or(0, |d| stat::makedev(d.major.into(), d.minor.into()));
        stat::mknodat(parent, name, kind, Mode::empty(), number)
    };
    match kind {
        Kind::Symlink(target) => nix::unistd::symlinkat(target.as_os_str(), parent, name),
        Kind::Char(device) => node(SFlag::S_IFCHR, Some(device)),
        Kind::Block(device) => node(SFlag::S_IFBLK, Some(device)),
        Kind::Fifo => node(SFlag::S_IFIFO, None),
        // These have calls of their own.
        Kind::Directory | Kind::File { .. } | Kind::HardLink(_) => Err(Errno::EINVAL),
    }
}

/// Sets the attributes of an open file or directory. The order matters: chown(2) clears the
/// set-user-id bits and capabilities, chmod(2) changes the mask of an ACL, and all but utimensat(2)
/// may change times.
pub(crate) fn dress_open(fd: BorrowedFd<'_>, attributes: &Attributes) -> nix::Result<()> {
    nix::unistd::fchown(fd, Some(attributes.uid.into()), Some(attributes.gid.into()))?;
    stat::fchmod(fd, mode(attributes))?;
    set_xattrs(fd, &attributes.xattrs)?;
    let time = time_spec(attributes.mtime);
    stat::futimens(fd, &time, &time)
}

/// Sets the attributes of a node that cannot be opened without waking a device or another reader.
pub(crate) fn dress_node(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    kind: &Kind,
    attributes: &Attributes,
) -> nix::Result<()> {
    let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
    nix::unistd::fchownat(parent, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    if !matches!(kind, Kind::Symlink(_)) {
        // fchmodat follows links, but this name has just been made and is none.
        stat::fchmodat(parent, name, mode(attributes), FchmodatFlags::FollowSymlink)?;
    }
    if !attributes.xattrs.is_empty() {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let handle = nix::fcntl::openat(parent, name, flags, Mode::empty())?;
        set_xattrs(handle.as_fd(), &attributes.xattrs)?;
    }
    let time = time_spec(attributes.mtime);
    stat::utimensat(parent, name, &time, &time, UtimensatFlags::NoFollowSymlink)
}

/// Takes all xattrs off a directory that an earlier entry of the same name had, except overlay's.
pub(crate) fn clear_xattrs(dir: BorrowedFd<'_>) -> nix::Result<()> {
    for name in list_xattrs(dir)?.into_iter().filter(|name| !is_overlays_own(name)) {
        xattr::remove_deref(proc_path(dir), &name).map_err(errno)?;
    }
    Ok(())
}

/// Sets one xattr.
pub(crate) fn set_xattr(fd: BorrowedFd<'_>, name: &OsStr, value: &[u8]) -> nix::Result<()> {
    // Through /proc because setxattr has no form for a descriptor opened with O_PATH, and that is
    // how links and devices are held. The magic link leads to the node itself, without following it.
    match xattr::set_deref(proc_path(fd), name, value).map_err(errno) {
        // A file system without user xattrs or ACLs (an old tmpfs) keeps the image running; one
        // that lost a capability would change what a program may do, so that is an error.
        Err(Errno::EOPNOTSUPP) if !name.as_encoded_bytes().starts_with(b"security.") => Ok(()),
        other => other,
    }
}

fn set_xattrs(fd: BorrowedFd<'_>, xattrs: &[(OsString, Vec<u8>)]) -> nix::Result<()> {
    // A default ACL would pass to everything that is made in the directory afterwards; the tree
    // sets it at its end.
    let now = xattrs.iter().filter(|(name, _)| name != DEFAULT_ACL);
    now.into_iter().try_for_each(|(name, value)| set_xattr(fd, name, value))
}

fn list_xattrs(fd: BorrowedFd<'_>) -> nix::Result<Vec<OsString>> {
    match xattr::list_deref(proc_path(fd)).map_err(errno) {
        Ok(names) => Ok(names.collect()),
        Err(Errno::EOPNOTSUPP) => Ok(Vec::new()),
        Err(errno) => Err(errno),
    }
}

fn is_overlays_own(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

fn proc_path(fd: BorrowedFd<'_>) -> PathBuf {
    format!("/proc/self/fd/{}", fd.as_raw_fd()).into()
}

pub(crate) fn errno(error: std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

fn mode(attributes: &Attributes) -> Mode {
    Mode::from_bits_truncate(attributes.mode)
}

pub(crate) fn time_spec(time: Time) -> TimeSpec {
    TimeSpec::new(time.seconds, time.nanoseconds.into())
}
