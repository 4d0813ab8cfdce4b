//! The system calls of this crate that no library makes safe: all `unsafe` of the crate.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, Pid};

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

// ANCHOR: fork
/// Makes a child that runs `body` and ends with what that gives. It dies with this process.
///
/// # Errors
/// `EAGAIN`, `ENOMEM`.
pub(crate) fn fork(body: impl FnOnce() -> u8) -> nix::Result<Pid> {
    let parent = nix::unistd::getpid();
    // SAFETY: the shim has one thread (`tests/supervision/shim/log.rs` looks), and so have its
    // children: no lock is held by anybody who is not there any more, so the child may do what its
    // parent might. It does not return from here, so that nothing is dropped or written twice.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let set = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
            // It may have died before.
            let status = match set {
                Ok(()) if nix::unistd::getppid() == parent => body(),
                _ => 1,
            };
            corten_namespaces::sys::exit_now(status.into())
        }
    }
}
// ANCHOR_END: fork

/// Closes all descriptors from `first` on. For children of [`fork`] only.
///
/// # Errors
/// `EINVAL`.
pub(crate) fn close_from(first: RawFd) -> nix::Result<()> {
    let first = libc::c_uint::try_from(first).map_err(|_| nix::errno::Errno::EINVAL)?;
    // SAFETY: takes integers. The values that own these descriptors are those of the parent: the
    // child uses none of them afterwards, and ends without dropping any.
    nix::errno::Errno::result(unsafe { libc::close_range(first, libc::c_uint::MAX, 0) }).map(drop)
}

/// Lets everybody else go first, where the processor is wanted.
pub(crate) fn be_nice() {
    // SAFETY: takes integers.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) };
}

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
