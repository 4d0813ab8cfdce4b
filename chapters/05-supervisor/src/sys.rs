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

/// Starts a program with no signal blocked and each at its default action. The child is made by the
/// C library's fork(2), which a filter of system calls knows that knows no clone3(2).
///
/// # Errors
/// What fork or execve(2) answers.
pub(crate) fn spawn(command: &mut std::process::Command) -> std::io::Result<std::process::Child> {
    use std::os::unix::process::CommandExt;
    // SAFETY: the closure runs in the child between fork and execve, where only async-signal-safe
    // calls are allowed: it makes two system calls and allocates nothing.
    unsafe {
        command.pre_exec(|| {
            corten_namespaces::sys::reset_signals();
            Ok(())
        })
    };
    command.spawn()
}
