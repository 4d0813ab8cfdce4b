//! ioctls of namespace files (ioctl_ns(2)).

use std::ffi::{c_int, c_ulong};
use std::os::fd::{OwnedFd, RawFd};

use super::{check, owned};

// linux/nsfs.h: _IO(0xb7, n). libc does not have them.
const NS_GET_USERNS: c_ulong = 0xb701;
const NS_GET_NSTYPE: c_ulong = 0xb703;

/// The CLONE_NEW* flag of the namespace that `fd` refers to.
///
/// # Errors
/// `ENOTTY` where `fd` is no namespace file.
pub fn kind(fd: RawFd) -> nix::Result<c_int> {
    // SAFETY: takes no argument.
    check(unsafe { libc::ioctl(fd, NS_GET_NSTYPE) }.into()).map(|kind| kind as c_int)
}

/// The user namespace that owns the namespace `fd`.
///
/// # Errors
/// `EPERM` where it lies above the caller's own.
pub fn owner(fd: RawFd) -> nix::Result<OwnedFd> {
    // SAFETY: takes no argument and returns a new descriptor.
    owned(unsafe { libc::ioctl(fd, NS_GET_USERNS) }.into())
}
