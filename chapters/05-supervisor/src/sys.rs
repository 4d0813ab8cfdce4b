//! The system calls of this crate that no library makes safe: all `unsafe` of the crate.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

// ANCHOR: received
/// Takes a descriptor out of a control message that recvmsg(2) has just delivered.
pub(crate) fn received(fd: RawFd) -> OwnedFd {
    // SAFETY: the caller passes the number out of a control message that it has just received: the
    // kernel opened it for this process, and nothing else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
// ANCHOR_END: received

// ANCHOR: replace
/// Puts a copy of `fd` under `number`, as dup2(2) does; what was there is closed. The copy survives
/// execve(2).
///
/// # Errors
/// `EBUSY`, `EINTR`.
pub(crate) fn replace(fd: BorrowedFd<'_>, number: RawFd) -> nix::Result<()> {
    // SAFETY: takes integers. The numbers are 0, 1 and 2, which no owner in this process holds: the
    // shim has given up its own streams, and only these calls change what is there.
    nix::errno::Errno::result(unsafe { libc::dup2(fd.as_raw_fd(), number) }).map(drop)
}
// ANCHOR_END: replace
