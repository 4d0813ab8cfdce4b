//! Mounts: what chapter 1's wrappers of the mount calls leave out.

use std::ffi::{CStr, c_uint};
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use super::check;

// ANCHOR: idmap
/// Gives the detached mount `tree` the id map of the user namespace `namespace`: files appear as
/// owned by the mapped ids (mount_setattr(2), MOUNT_ATTR_IDMAP).
///
/// # Errors
/// `EINVAL` where the file system does not support it, `EPERM` without CAP_SYS_ADMIN over it.
pub fn map_ids(
    tree: BorrowedFd<'_>,
    recursive: bool,
    namespace: BorrowedFd<'_>,
) -> nix::Result<()> {
    // SAFETY: mount_attr is plain integers, for which all zeroes is a valid value.
    let mut attr: libc::mount_attr = unsafe { MaybeUninit::zeroed().assume_init() };
    attr.attr_set = libc::MOUNT_ATTR_IDMAP;
    // The number of an open descriptor is never negative.
    attr.userns_fd = namespace.as_raw_fd() as u64;
    let recurse = if recursive { libc::AT_RECURSIVE } else { 0 };
    let flags = (libc::AT_EMPTY_PATH | recurse) as c_uint;
    // SAFETY: the path is the empty C string, `attr` lives across the call and its size is passed.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    })
    .map(drop)
}
// ANCHOR_END: idmap

/// Moves the mount at the current directory over `/` (`--no-pivot`: where / is the initramfs,
/// pivot_root(2) cannot work).
///
/// # Errors
/// `EINVAL` where the current directory is no mount.
pub fn move_here_to_root() -> nix::Result<()> {
    let none = std::ptr::null();
    // SAFETY: both paths are C strings; MS_MOVE reads neither type nor data.
    check(
        unsafe { libc::mount(c".".as_ptr(), c"/".as_ptr(), none, libc::MS_MOVE, none.cast()) }
            .into(),
    )
    .map(drop)
}

/// Removes a name from the directory `dir`, and not what it leads to where it is a link
/// (unlinkat(2)).
///
/// # Errors
/// `ENOENT`, `EISDIR`.
pub fn unlink(dir: RawFd, name: &CStr) -> nix::Result<()> {
    // SAFETY: `name` is NUL-terminated.
    check(unsafe { libc::unlinkat(dir, name.as_ptr(), 0) }.into()).map(drop)
}

/// mount(2), the older call.
///
/// # Errors
/// As mount(2); `EINVAL` with a NUL byte.
pub fn mount_old(device: &CStr, target: &str, kind: &CStr, data: &str) -> nix::Result<()> {
    let c = |text: &str| std::ffi::CString::new(text).map_err(|_| nix::errno::Errno::EINVAL);
    let (target, data) = (c(target)?, c(data)?);
    // SAFETY: all are NUL-terminated strings that live across the call.
    check(
        unsafe {
            libc::mount(device.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, data.as_ptr().cast())
        }
        .into(),
    )
    .map(drop)
}
