//! The raw system calls: all `unsafe` of this crate.
//!
//! Most of what control groups need is open, read, write, mkdir and rmdir. What is left is bpf(2)
//! for v2's device programs and clone3(2) with CLONE_INTO_CGROUP.
#![allow(unsafe_code)]

use std::convert::Infallible;
use std::ffi::c_long;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

pub mod bpf;

fn check(result: c_long) -> nix::Result<c_long> {
    if result < 0 { Err(Errno::last()) } else { Ok(result) }
}

/// Takes ownership of the descriptor that a system call has just returned.
fn owned(result: c_long) -> nix::Result<OwnedFd> {
    let fd = check(result)? as RawFd;
    // SAFETY: the kernel returned `fd` from a call that creates a descriptor, so it is open and
    // nobody else has it: this OwnedFd is its only owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// linux/sched.h; libc's constant overflows its type.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

// ANCHOR: clone_into
/// Creates a process and runs `child` in it; with `group`, the process begins its life in that v2
/// group: there is no moment in which it runs, or has forked, outside of it (clone(2),
/// CLONE_INTO_CGROUP).
///
/// # Errors
/// `EAGAIN` where a pids limit is reached, `EBUSY` and `EOPNOTSUPP` where the group takes no
/// processes, `EACCES` where the caller may not move one there.
pub(crate) fn clone_into(
    group: Option<BorrowedFd<'_>>,
    child: impl FnOnce() -> Infallible,
) -> nix::Result<(OwnedFd, libc::pid_t)> {
    let mut pidfd: RawFd = -1;
    // SAFETY: clone_args is plain integers, for which all zeroes is a valid value and what clone(2)
    // asks of the fields that are not used.
    let mut args: libc::clone_args = unsafe { MaybeUninit::zeroed().assume_init() };
    args.flags = libc::CLONE_PIDFD as u64;
    args.pidfd = &raw mut pidfd as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(group) = group {
        args.flags |= CLONE_INTO_CGROUP;
        // The number of an open descriptor is never negative.
        args.cgroup = group.as_raw_fd() as u64;
    }
    // Without CLONE_VM the child has memory of its own. Of the caller's threads it has only this
    // one, so it may call only what is async-signal-safe: the one caller is `Launch::start`, whose
    // child writes, and executes, what was made before, without allocating, and its type says that
    // it never returns.
    // SAFETY: `args` and the `pidfd` that it points to live across the call, the size is that of
    // the structure, and the child keeps to what is said above.
    let pid = check(unsafe {
        libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>())
    })?;
    if pid == 0 {
        child();
    }
    // SAFETY: CLONE_PIDFD made the kernel store a descriptor that it opened for this call.
    Ok((unsafe { OwnedFd::from_raw_fd(pidfd) }, pid as libc::pid_t))
}
// ANCHOR_END: clone_into

/// write(2) by the bare system call, for the child of [`clone_into`].
///
/// # Errors
/// As write(2).
pub(crate) fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> nix::Result<()> {
    // SAFETY: the kernel reads `len` bytes, all within `bytes`.
    check(unsafe { libc::syscall(libc::SYS_write, fd.as_raw_fd(), bytes.as_ptr(), bytes.len()) })
        .map(drop)
}

/// How many ticks v1's `cpuacct.stat` counts in a second.
pub(crate) fn clock_ticks() -> u64 {
    // SAFETY: takes an integer only.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).ok().filter(|ticks| *ticks > 0).unwrap_or(100)
}

/// Waits until one of the processes behind `pidfds` has ended, at most `timeout`. Without any, it
/// gives others a moment: the last process is out of the group's list and not yet out of the group.
///
/// # Errors
/// As poll(2).
pub(crate) fn wait_for_any(pidfds: &[OwnedFd], timeout: std::time::Duration) -> nix::Result<()> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    let mut fds: Vec<PollFd<'_>> =
        pidfds.iter().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)).collect();
    let moment = std::time::Duration::from_millis(1);
    let timeout = if fds.is_empty() { timeout.min(moment) } else { timeout };
    let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
    match poll(&mut fds, timeout) {
        Err(Errno::EINTR) => Ok(()),
        other => other.map(drop),
    }
}
