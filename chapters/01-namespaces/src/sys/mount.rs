//! The mount system calls of Linux 5.2, which work on descriptors and leave paths alone.

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulong};
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;

use super::{check, owned};

/// fsopen(2): a context in which a new file system is configured.
///
/// # Errors
/// `ENODEV` where the kernel lacks the file system, `EPERM` without CAP_SYS_ADMIN.
pub fn fsopen(kind: &CStr) -> nix::Result<OwnedFd> {
    // SAFETY: `kind` is NUL-terminated; FSOPEN_CLOEXEC is 1.
    owned(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), 1 as c_uint) })
}

const FSCONFIG_SET_FLAG: c_uint = 0;
const FSCONFIG_SET_STRING: c_uint = 1;
const FSCONFIG_CMD_CREATE: c_uint = 6;

// ANCHOR: fsconfig
fn fsconfig(
    fd: RawFd,
    command: c_uint,
    key: *const c_char,
    value: *const c_char,
) -> nix::Result<()> {
    // SAFETY: every caller below passes NUL-terminated strings or null, as the command asks.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, fd, command, key, value, 0 as c_int) })
        .map(drop)
}
// ANCHOR_END: fsconfig

/// `key=value` for the file system that is configured.
///
/// # Errors
/// `EINVAL` for an option that it does not know; the kernel's reason can be read from `fd`.
pub fn set_string(fd: BorrowedFd<'_>, key: &CStr, value: &CStr) -> nix::Result<()> {
    fsconfig(fd.as_raw_fd(), FSCONFIG_SET_STRING, key.as_ptr(), value.as_ptr())
}

/// An option without a value.
///
/// # Errors
/// As [`set_string`].
pub fn set_flag(fd: BorrowedFd<'_>, key: &CStr) -> nix::Result<()> {
    fsconfig(fd.as_raw_fd(), FSCONFIG_SET_FLAG, key.as_ptr(), ptr::null())
}

/// Makes the superblock.
///
/// # Errors
/// Whatever mount(2) would answer for that file system.
pub fn create(fd: BorrowedFd<'_>) -> nix::Result<()> {
    fsconfig(fd.as_raw_fd(), FSCONFIG_CMD_CREATE, ptr::null(), ptr::null())
}

/// fsmount(2): a detached mount of the configured file system, with `attributes`
/// (`MOUNT_ATTR_*`). It goes away with its descriptor unless [`move_mount`] attaches it.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN, or where a mount of that kind may only be as visible as the
/// one that is there (proc and sysfs in a user namespace).
pub fn fsmount(fd: BorrowedFd<'_>, attributes: u64) -> nix::Result<OwnedFd> {
    // SAFETY: takes integers only; FSMOUNT_CLOEXEC is 1.
    owned(unsafe {
        libc::syscall(libc::SYS_fsmount, fd.as_raw_fd(), 1 as c_uint, attributes as c_uint)
    })
}

// ANCHOR: clone_tree
/// open_tree(2) with OPEN_TREE_CLONE: a detached copy of the mount at `path`, what a bind
/// mount attaches. With `recursive` the mounts below it come along.
///
/// # Errors
/// `EINVAL` where mounts below it are locked by a user namespace and `recursive` is not set,
/// `ENOENT`, `EPERM`.
pub fn clone_tree(dir: RawFd, path: &CStr, recursive: bool) -> nix::Result<OwnedFd> {
    let recurse = if recursive { libc::AT_RECURSIVE as c_uint } else { 0 };
    let flags =
        libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_EMPTY_PATH as c_uint | recurse;
    // SAFETY: `path` is NUL-terminated, the rest are integers.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, dir, path.as_ptr(), flags) })
}
// ANCHOR_END: clone_tree

// ANCHOR: move_mount
/// move_mount(2): attaches the detached mount `from` on what `target` refers to.
///
/// # Errors
/// `EINVAL` where `target` is in another mount namespace, `ENOTDIR` where one is a directory
/// and the other is not.
pub fn move_mount(from: BorrowedFd<'_>, target: RawFd) -> nix::Result<()> {
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
    let empty = c"".as_ptr();
    // SAFETY: both paths are the empty C string, the rest are integers.
    check(unsafe {
        libc::syscall(libc::SYS_move_mount, from.as_raw_fd(), empty, target, empty, flags)
    })
    .map(drop)
}
// ANCHOR_END: move_mount

/// mount_setattr(2): sets and clears `MOUNT_ATTR_*` and, where not 0, the propagation
/// (`MS_PRIVATE`, `MS_SLAVE` …) of the mount that `dir` and `path` name.
///
/// # Errors
/// `EINVAL` where `dir` is no mount's root, `EPERM` where the mount's flags are locked.
pub fn setattr(
    dir: RawFd,
    path: &CStr,
    recursive: bool,
    set: u64,
    clear: u64,
    propagation: c_ulong,
) -> nix::Result<()> {
    // SAFETY: mount_attr is plain integers, for which all zeroes is a valid value.
    let mut attr: libc::mount_attr = unsafe { MaybeUninit::zeroed().assume_init() };
    attr.attr_set = set;
    attr.attr_clr = clear;
    attr.propagation = propagation;
    let recurse = if recursive { libc::AT_RECURSIVE } else { 0 };
    let flags = (libc::AT_EMPTY_PATH | recurse) as c_uint;
    // SAFETY: `path` is NUL-terminated, `attr` lives across the call and its size is passed.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dir,
            path.as_ptr(),
            flags,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    })
    .map(drop)
}

// ANCHOR: pivot_root
/// pivot_root(2) on the current directory twice: the new root is mounted where the process
/// stands, and the old one comes to lie on top of it, from where umount2(2) detaches it. So no
/// directory for the old root is needed.
///
/// # Errors
/// `EINVAL` where the current directory is no mount point, or the root is the initramfs, or a
/// mount involved is shared; `EBUSY` where it is the root already.
pub fn pivot_root_here() -> nix::Result<()> {
    let dot = c".".as_ptr();
    // SAFETY: both arguments are the C string ".".
    check(unsafe { libc::syscall(libc::SYS_pivot_root, dot, dot) }).map(drop)
}
// ANCHOR_END: pivot_root

/// umount2(2) with MNT_DETACH: out of sight at once, gone when the last user is.
///
/// # Errors
/// `EINVAL` where `path` is no mount point, `EPERM`.
pub fn umount_detach(path: &CStr) -> nix::Result<()> {
    // SAFETY: `path` is NUL-terminated.
    check(unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW) }.into())
        .map(drop)
}
