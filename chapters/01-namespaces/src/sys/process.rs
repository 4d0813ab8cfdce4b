//! Processes: making one, turning it into a program, signalling and collecting it.

use std::convert::Infallible;
use std::ffi::{CStr, c_char, c_int, c_uint};
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use nix::errno::Errno;

use super::{check, owned};

// ANCHOR: clone3
/// Creates a process in the new namespaces that `flags` name and runs `child` in it, as fork(2)
/// does otherwise: the child has a copy of the memory (clone(2)). Returns a descriptor that refers
/// to this very process, whatever happens to its number (pidfd_open(2)), and the number.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN or where user namespaces are forbidden, `ENOSPC` where a limit of
/// /proc/sys/user is reached, `EINVAL` for flags that exclude each other.
pub(crate) fn clone3(
    flags: u64,
    child: impl FnOnce() -> Infallible,
) -> nix::Result<(OwnedFd, libc::pid_t)> {
    let mut pidfd: RawFd = -1;
    // SAFETY: clone_args is plain integers, for which all zeroes is a valid value and what clone(2)
    // asks of the fields that are not used.
    let mut args: libc::clone_args = unsafe { MaybeUninit::zeroed().assume_init() };
    args.flags = flags | libc::CLONE_PIDFD as u64;
    args.pidfd = &raw mut pidfd as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    // Without CLONE_VM the child has memory of its own, and with no stack given it goes on with a
    // copy of this one. Of the caller's threads it has only this one, so a lock that another held
    // (the allocator's above all) stays locked for ever: `child` may call only what is
    // async-signal-safe. The callers are `Plan::spawn`, whose child walks a plan that was made
    // before, without allocating (`execute.rs`), and `rootless::lack`, whose child makes two system
    // calls and writes an errno; the type says that neither returns.
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
// ANCHOR_END: clone3

/// pidfd_open(2).
///
/// # Errors
/// `ESRCH` where there is no such process.
pub fn pidfd_open(pid: libc::pid_t) -> nix::Result<OwnedFd> {
    // SAFETY: takes integers only.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0 as c_uint) })
}

/// pidfd_send_signal(2): unlike kill(2) it can never hit another process with a recycled number.
///
/// # Errors
/// `ESRCH` where the process is gone, `EPERM`.
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: c_int) -> nix::Result<()> {
    let no_info = ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo is what the call documents for "as kill(2) does it".
    check(unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, no_info, 0 as c_uint)
    })
    .map(drop)
}

// ANCHOR: cloexec
/// close_range(2) with CLOSE_RANGE_CLOEXEC: every descriptor from `first` on will not survive
/// execve, whoever opened it (CVE-2024-21626 was one that did).
///
/// # Errors
/// None in practice: `EINVAL` for flags the kernel does not know.
pub fn cloexec_from(first: c_uint) -> nix::Result<()> {
    // SAFETY: takes integers only; it closes nothing now, so no owner loses its descriptor.
    check(unsafe {
        libc::syscall(libc::SYS_close_range, first, c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC)
    })
    .map(drop)
}
// ANCHOR_END: cloexec

// ANCHOR: execve
/// execve(2); returns only on failure. `argv` and `envp` must end with a null pointer.
pub fn execve(path: &CStr, argv: &CStrings, envp: &CStrings) -> Errno {
    // SAFETY: CStrings keeps its pointers valid, NUL-terminated and followed by a null pointer.
    unsafe { libc::execve(path.as_ptr(), argv.pointers.as_ptr(), envp.pointers.as_ptr()) };
    Errno::last()
}
// ANCHOR_END: execve

// ANCHOR: cstrings
/// A null-terminated array of C strings, made before clone3 because it allocates.
pub struct CStrings {
    /// Keeps the memory that `pointers` point into.
    strings: Vec<std::ffi::CString>,
    pointers: Vec<*const c_char>,
}
// ANCHOR_END: cstrings

impl CStrings {
    /// The strings in the form that execve(2) takes.
    pub fn new(strings: Vec<std::ffi::CString>) -> CStrings {
        let pointers =
            strings.iter().map(|s| s.as_ptr()).chain(std::iter::once(ptr::null())).collect();
        CStrings { strings, pointers }
    }

    /// The strings themselves.
    pub fn strings(&self) -> &[std::ffi::CString] {
        &self.strings
    }
}

/// Ends the process at once, without exit handlers or flushing: the only sound end of a child that
/// shares its parent's stdio buffers.
pub fn exit_now(status: c_int) -> ! {
    // SAFETY: _exit is async-signal-safe and does not return.
    unsafe { libc::_exit(status) }
}

// ANCHOR: fork_again
/// fork(2) in a child of [`clone3`]: `None` in the new process, its number in the old one.
///
/// # Errors
/// `EAGAIN` where the pids limit is reached.
pub(crate) fn fork_again() -> nix::Result<Option<libc::pid_t>> {
    // SAFETY: the only caller is a child of `clone3`, which has one thread and keeps to what is
    // async-signal-safe; both sides go on under the same rule until execve or _exit.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) })?;
    Ok((pid != 0).then_some(pid as libc::pid_t))
}
// ANCHOR_END: fork_again

// ANCHOR: close_from
/// Closes every descriptor from `first` on, in a process that will never use one again.
pub(crate) fn close_from(first: c_uint) {
    // SAFETY: the only caller is pid 1 of a container, a copy of the process that never returns to
    // the code that owns the descriptors, so no owner uses or closes one afterwards.
    unsafe { libc::syscall(libc::SYS_close_range, first, c_uint::MAX, 0 as c_uint) };
}
// ANCHOR_END: close_from

// ANCHOR: replace_stdio
/// Puts `fd` in the place of the descriptor `number` (0, 1 or 2), which survives execve.
///
/// # Errors
/// `EBADF`.
pub(crate) fn replace_stdio(fd: BorrowedFd<'_>, number: RawFd) -> nix::Result<()> {
    // SAFETY: takes integers only. The caller is a child of `clone3`: no other code of this process
    // holds 0, 1 or 2 as its own.
    check(unsafe { libc::dup2(fd.as_raw_fd(), number) }.into()).map(drop)
}
// ANCHOR_END: replace_stdio

/// Sets a resource limit of the calling process (setrlimit(2)).
///
/// # Errors
/// `EPERM` where the hard limit would grow without CAP_SYS_RESOURCE, `EINVAL` where soft > hard.
pub fn set_rlimit(resource: c_int, soft: u64, hard: u64) -> nix::Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    let no_old = ptr::null_mut::<libc::rlimit64>();
    // SAFETY: `limit` lives across the call; no old value is asked for.
    check(unsafe {
        libc::syscall(libc::SYS_prlimit64, 0 as c_int, resource, &raw const limit, no_old)
    })
    .map(drop)
}

// ANCHOR: reset_signals
/// Gives every signal its default action again and unblocks all: what a new program expects,
/// whatever the caller had blocked or ignored (Rust's runtime ignores SIGPIPE).
pub fn reset_signals() {
    (1..=libc::SIGRTMAX()).for_each(reset_signal);
    let mut none = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set before sigprocmask reads it; no old set is asked for.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
    }
}
// ANCHOR_END: reset_signals

/// Gives one signal its default action again. By the bare system call, because the C library
/// refuses signals 32 and 33, which it uses itself and a caller may still have ignored.
pub fn reset_signal(signal: c_int) {
    // The kernel's sigaction is a handler, flags, on some machines a restorer, and a mask of 64
    // bits: at most 32 bytes, all zeroes for SIG_DFL.
    const DEFAULT: [u64; 4] = [0; 4];
    let no_old = ptr::null_mut::<u64>();
    // SAFETY: the kernel reads at most `DEFAULT`, whose zeroes install no code; no old action is
    // asked for. SIGKILL and SIGSTOP answer EINVAL, which is right to pass over.
    unsafe {
        libc::syscall(libc::SYS_rt_sigaction, signal, DEFAULT.as_ptr(), no_old, size_of::<u64>())
    };
}

/// Waits for the end of the process behind `pidfd` and collects it: `si_code` (`CLD_EXITED`, or
/// `CLD_KILLED` and `CLD_DUMPED`) and `si_status` of waitid(2). nix's own waitid fails on real-time
/// signals, when the process has been collected already.
///
/// # Errors
/// `EINTR`; `ECHILD` where something else collected it.
pub fn wait(pidfd: BorrowedFd<'_>) -> nix::Result<(c_int, c_int)> {
    // SAFETY: siginfo_t is plain data, for which all zeroes is a valid value.
    let mut info: libc::siginfo_t = unsafe { MaybeUninit::zeroed().assume_init() };
    // The number of an open descriptor is never negative.
    let id = pidfd.as_raw_fd() as libc::id_t;
    // SAFETY: `info` lives across the call, which fills it.
    check(unsafe { libc::waitid(libc::P_PIDFD, id, &raw mut info, libc::WEXITED) }.into())?;
    // SAFETY: waitid returned a child's end, for which si_status is the member that is set.
    Ok((info.si_code, unsafe { info.si_status() }))
}

/// Blocks all signals of the calling thread, so that they wait for [`next_signal`].
pub fn block_signals() {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset initialises the set before sigprocmask reads it; no old set is asked for.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, all.as_ptr(), ptr::null_mut());
    }
}

/// Waits for one of the blocked signals (sigwaitinfo(2)) and gives its number.
///
/// # Errors
/// `EINTR` after a stop and continue.
pub fn next_signal() -> nix::Result<c_int> {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset initialises the set before sigwaitinfo reads it; no siginfo is asked for.
    let signal = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::sigwaitinfo(all.as_ptr(), ptr::null_mut())
    };
    check(signal.into()).map(|signal| signal as c_int)
}

/// Collects one ended child without waiting: its pid and raw wait status, or `None` where no child
/// has ended. `ECHILD` where there is no child left.
///
/// # Errors
/// `ECHILD`.
pub fn reap() -> nix::Result<Option<(libc::pid_t, c_int)>> {
    let mut status: c_int = 0;
    // SAFETY: `status` lives across the call.
    let pid = check(unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) }.into())?;
    Ok((pid > 0).then_some((pid as libc::pid_t, status)))
}

/// kill(2), for pid 1 of a container, which must reach its children by number.
///
/// # Errors
/// `ESRCH`.
pub fn kill(pid: libc::pid_t, signal: c_int) -> nix::Result<()> {
    // SAFETY: takes integers only.
    check(unsafe { libc::kill(pid, signal) }.into()).map(drop)
}
