//! Making one node of a tree: only by a name in an open directory, never by a path, and never
//! following a link at that name.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use corten_namespaces::Context;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{self, FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid};

use crate::archive::{Device, Entry, Kind, Time};
use crate::error::Result;
use crate::walk::Found;
use crate::whiteout;

/// The xattr that new entries of a directory inherit.
pub(crate) const DEFAULT_ACL: &str = "system.posix_acl_default";

/// Owner, mode, times and xattrs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
    pub(crate) mtime: Time,
    pub(crate) xattrs: Vec<(OsString, Vec<u8>)>,
}

/// Attributes to be set, wherever they are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dress<'a> {
    uid: u32,
    gid: u32,
    mode: u32,
    mtime: Time,
    pub(crate) xattrs: &'a [(OsString, Vec<u8>)],
}

impl<'a> From<&'a Entry> for Dress<'a> {
    fn from(entry: &'a Entry) -> Self {
        let &Entry { uid, gid, mode, mtime, .. } = entry;
        Dress { uid, gid, mode, mtime, xattrs: &entry.xattrs }
    }
}

impl<'a> From<&'a Attributes> for Dress<'a> {
    fn from(attributes: &'a Attributes) -> Self {
        let &Attributes { uid, gid, mode, mtime, .. } = attributes;
        Dress { uid, gid, mode, mtime, xattrs: &attributes.xattrs }
    }
}

/// The owner and the group of new files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner {
    uid: u32,
    gid: u32,
}

/// Whose a new file is; where its directory gave it the group, nobody knows without asking.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Made(Option<Owner>);

impl Owner {
    pub(crate) fn of_this_thread() -> Owner {
        Owner { uid: nix::unistd::geteuid().as_raw(), gid: nix::unistd::getegid().as_raw() }
    }

    /// What is made in a directory that gives its group to what is made in it, or does not.
    pub(crate) fn made(self, gives_group: bool) -> Made {
        Made((!gives_group).then_some(self))
    }
}

impl Made {
    /// Whether it has to be given to its owner.
    fn is_others(self, to: Dress<'_>) -> bool {
        self.0.is_none_or(|own| own.uid != to.uid || own.gid != to.gid)
    }
}

/// Bits that open(2) may not get: the file is not complete, and chown(2) would clear them.
const SET_ID: u32 = 0o6000;

impl Attributes {
    /// Those of an open directory, without what belongs to the file system that stacks layers.
    pub(crate) fn of_directory(dir: BorrowedFd<'_>) -> nix::Result<Attributes> {
        let stat = stat::fstat(dir)?;
        let mut xattrs = Vec::new();
        for name in list_xattrs(dir)? {
            if !is_own(&name)
                && let Some(value) = xattr::get_deref(proc_path(dir), &name).map_err(errno)?
            {
                xattrs.push((name, value));
            }
        }
        xattrs.sort_unstable();
        Ok(Attributes::new(&stat, xattrs))
    }

    /// Those of any node, without what belongs to the file system that stacks layers. Xattrs are in the order of their
    /// names.
    pub(crate) fn of(found: &Found) -> Result<Attributes> {
        let path = found.proc_path();
        let mut xattrs = Vec::new();
        for name in listed(xattr::list(&path)).on("list xattrs of", &found.path)? {
            if !is_own(&name)
                && let Some(value) =
                    xattr::get(&path, &name).map_err(errno).on("read xattrs of", &found.path)?
            {
                xattrs.push((name, value));
            }
        }
        xattrs.sort_unstable();
        Ok(Attributes::new(&found.stat, xattrs))
    }

    fn new(stat: &FileStat, xattrs: Vec<(OsString, Vec<u8>)>) -> Attributes {
        Attributes {
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: stat.st_mode & 0o7777,
            mtime: Time { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec as u32 },
            xattrs,
        }
    }
}

/// What a node on disk is, in the words of a layer; never a hard link, which the caller tells.
pub(crate) fn kind(found: &Found) -> Result<Kind> {
    let device = || Device {
        major: stat::major(found.stat.st_rdev) as u32,
        minor: stat::minor(found.stat.st_rdev) as u32,
    };
    Ok(match SFlag::from_bits_truncate(found.stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFDIR => Kind::Directory,
        SFlag::S_IFREG => Kind::File { size: found.stat.st_size.unsigned_abs() },
        SFlag::S_IFLNK => Kind::Symlink(
            nix::fcntl::readlinkat(found.dir.as_fd(), found.name())
                .on("read the link", &found.path)?,
        ),
        SFlag::S_IFCHR => Kind::Char(device()),
        SFlag::S_IFBLK => Kind::Block(device()),
        SFlag::S_IFIFO => Kind::Fifo,
        // A socket is of the process that made it; layers have no entry for one.
        _ => Kind::Socket,
    })
}

/// Opens the directory `name` in `parent` itself, not what a link of that name points to.
pub(crate) fn open_dir(parent: BorrowedFd<'_>, name: &OsStr) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    nix::fcntl::openat(parent, name, flags, Mode::empty())
}

/// Opens what the handle `fd` (`O_PATH`) holds, whatever its name is by now.
pub(crate) fn reopen(fd: BorrowedFd<'_>, flags: OFlag) -> nix::Result<OwnedFd> {
    nix::fcntl::open(&thread_path(fd), flags | OFlag::O_CLOEXEC, Mode::empty())
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

/// What overlay's mark would be in the place of the node.
pub(crate) fn whiteout(mut stat: FileStat) -> FileStat {
    (stat.st_mode, stat.st_rdev) = (libc::S_IFCHR, 0);
    stat
}

/// Makes overlay's mark for a deleted name.
pub(crate) fn make_whiteout(parent: BorrowedFd<'_>, name: &OsStr) -> nix::Result<()> {
    stat::mknodat(parent, name, SFlag::S_IFCHR, Mode::empty(), 0)
}

/// Makes an empty file whose name is a mark; it may be there.
pub(crate) fn make_mark(parent: BorrowedFd<'_>, name: &OsStr) -> nix::Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    nix::fcntl::openat(parent, name, flags, Mode::empty()).map(drop)
}

/// Lets an open directory have the times that it had, after something was made in it.
pub(crate) fn keeping_times(
    dir: BorrowedFd<'_>,
    make: impl FnOnce() -> nix::Result<()>,
) -> nix::Result<()> {
    let stat = stat::fstat(dir)?;
    make()?;
    let accessed = TimeSpec::new(stat.st_atime, stat.st_atime_nsec);
    stat::futimens(dir, &accessed, &TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec))
}

/// Makes an empty file for writing that only its owner can open until it is complete.
pub(crate) fn make_file(parent: BorrowedFd<'_>, name: &OsStr) -> nix::Result<OwnedFd> {
    let flags =
        OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    nix::fcntl::openat(parent, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)
}

/// Makes an empty file for writing that has its mode at once, under an umask of 0, but for the bits
/// that give rights.
pub(crate) fn make_file_with(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    mode: u32,
) -> nix::Result<OwnedFd> {
    let flags =
        OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    nix::fcntl::openat(parent, name, flags, Mode::from_bits_truncate(mode & !SET_ID))
}

/// Makes a node without content: a symbolic link, a device or a fifo.
pub(crate) fn make_node(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    kind: &Kind,
    mode: u32,
) -> nix::Result<()> {
    let node = |kind, device: Option<&Device>| {
        let number = device.map_or(0, |d| stat::makedev(d.major.into(), d.minor.into()));
        stat::mknodat(parent, name, kind, Mode::from_bits_truncate(mode & !SET_ID), number)
    };
    match kind {
        Kind::Symlink(target) => nix::unistd::symlinkat(target.as_os_str(), parent, name),
        Kind::Char(device) => node(SFlag::S_IFCHR, Some(device)),
        Kind::Block(device) => node(SFlag::S_IFBLK, Some(device)),
        Kind::Fifo => node(SFlag::S_IFIFO, None),
        Kind::Socket => node(SFlag::S_IFSOCK, None),
        // These have calls of their own.
        Kind::Directory | Kind::File { .. } | Kind::HardLink(_) => Err(Errno::EINVAL),
    }
}

// ANCHOR: dress_open
/// Sets the attributes of an open file or directory. The order matters: chown(2) clears the
/// set-user-id bits and capabilities, chmod(2) changes the mask of an ACL, and all but utimensat(2)
/// may change times.
pub(crate) fn dress_open<'a>(fd: BorrowedFd<'_>, to: impl Into<Dress<'a>>) -> nix::Result<()> {
    let to = to.into();
    nix::unistd::fchown(fd, Some(to.uid.into()), Some(to.gid.into()))?;
    stat::fchmod(fd, mode(to))?;
    set_xattrs(fd, to.xattrs)?;
    let time = time_spec(to.mtime);
    stat::futimens(fd, &time, &time)
}
// ANCHOR_END: dress_open

/// As [`dress_open`], for a file that [`make_file_with`] has just made: only what is not right yet.
pub(crate) fn dress_new(fd: BorrowedFd<'_>, to: Dress<'_>, made: Made) -> nix::Result<()> {
    dress_new_directory(fd, to, made)?;
    let time = time_spec(to.mtime);
    stat::futimens(fd, &time, &time)
}

/// As [`dress_new`], without the times, which making entries in it would change.
pub(crate) fn dress_new_directory(
    fd: BorrowedFd<'_>,
    to: Dress<'_>,
    made: Made,
) -> nix::Result<()> {
    if made.is_others(to) {
        nix::unistd::fchown(fd, Some(to.uid.into()), Some(to.gid.into()))?;
    }
    // A directory may have got the bit from the one above.
    if to.mode & SET_ID != 0 || made.0.is_none() {
        stat::fchmod(fd, mode(to))?;
    }
    set_xattrs(fd, to.xattrs)
}

/// Sets all attributes of an open file or directory, a default ACL among them: nothing more is made
/// in it.
pub(crate) fn dress_wholly(fd: BorrowedFd<'_>, attributes: &Attributes) -> nix::Result<()> {
    dress_open(fd, attributes)?;
    match attributes.xattrs.iter().find(|(name, _)| name == DEFAULT_ACL) {
        Some((name, value)) => set_xattr(fd, name, value),
        None => Ok(()),
    }
}

/// Sets the attributes of a node that cannot be opened without waking a device or another reader.
pub(crate) fn dress_node(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    kind: &Kind,
    attributes: &Attributes,
) -> nix::Result<()> {
    dress_new_node(parent, name, kind, attributes.into(), Made(None))
}

/// As [`dress_node`], for one that [`make_node`] has just made under an umask of 0.
pub(crate) fn dress_new_node(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    kind: &Kind,
    to: Dress<'_>,
    made: Made,
) -> nix::Result<()> {
    if made.is_others(to) {
        let (uid, gid) = (Uid::from_raw(to.uid), Gid::from_raw(to.gid));
        nix::unistd::fchownat(parent, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    }
    if !matches!(kind, Kind::Symlink(_)) && (to.mode & SET_ID != 0 || made.0.is_none()) {
        // fchmodat follows links, but this name has just been made and is none.
        stat::fchmodat(parent, name, mode(to), FchmodatFlags::FollowSymlink)?;
    }
    if !to.xattrs.is_empty() {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let handle = nix::fcntl::openat(parent, name, flags, Mode::empty())?;
        set_xattrs(handle.as_fd(), to.xattrs)?;
    }
    let time = time_spec(to.mtime);
    stat::utimensat(parent, name, &time, &time, UtimensatFlags::NoFollowSymlink)
}

/// Sets the attributes of whatever the handle `fd` (`O_PATH`) holds. Not by its name, which could
/// have become a link that leads out of the tree: chmod(2) would follow it.
pub(crate) fn dress_handle(fd: BorrowedFd<'_>, to: &Attributes) -> nix::Result<()> {
    let (uid, gid) = (Uid::from_raw(to.uid), Gid::from_raw(to.gid));
    let empty = AtFlags::AT_EMPTY_PATH | AtFlags::AT_SYMLINK_NOFOLLOW;
    nix::unistd::fchownat(fd, OsStr::new(""), Some(uid), Some(gid), empty)?;
    let (cwd, path) = (nix::fcntl::AT_FDCWD, thread_path(fd));
    let kind = SFlag::from_bits_truncate(stat::fstat(fd)?.st_mode) & SFlag::S_IFMT;
    if kind != SFlag::S_IFLNK {
        let mode = Mode::from_bits_truncate(to.mode);
        stat::fchmodat(cwd, &path, mode, FchmodatFlags::FollowSymlink)?;
    }
    set_xattrs(fd, &to.xattrs)?;
    let time = time_spec(to.mtime);
    stat::utimensat(cwd, &path, &time, &time, UtimensatFlags::FollowSymlink)
}

/// Takes all xattrs off a directory that an earlier entry of the same name had, except those that mark it.
pub(crate) fn clear_xattrs(dir: BorrowedFd<'_>) -> nix::Result<()> {
    for name in list_xattrs(dir)?.into_iter().filter(|name| !is_own(name)) {
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
    listed(xattr::list_deref(proc_path(fd)))
}

fn listed(names: std::io::Result<xattr::XAttrs>) -> nix::Result<Vec<OsString>> {
    match names.map_err(errno) {
        Ok(names) => Ok(names.collect()),
        Err(Errno::EOPNOTSUPP) => Ok(Vec::new()),
        Err(errno) => Err(errno),
    }
}

fn is_own(name: &OsStr) -> bool {
    whiteout::is_own_xattr(name.as_encoded_bytes())
}

/// A path of the host that leads to what `fd` holds, also where the thread shares no descriptors.
fn thread_path(fd: BorrowedFd<'_>) -> PathBuf {
    format!("/proc/thread-self/fd/{}", fd.as_raw_fd()).into()
}

fn proc_path(fd: BorrowedFd<'_>) -> PathBuf {
    format!("/proc/self/fd/{}", fd.as_raw_fd()).into()
}

pub(crate) fn errno(error: std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

fn mode(to: Dress<'_>) -> Mode {
    Mode::from_bits_truncate(to.mode)
}

pub(crate) fn time_spec(time: Time) -> TimeSpec {
    TimeSpec::new(time.seconds, time.nanoseconds.into())
}
