//! Making a process, and what only the kernel can say of one.

use std::convert::Infallible;
use std::ffi::{CStr, c_int, c_uint, c_ulong};
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use super::{check, owned};

/// linux/sched.h; libc's own constant has too few bits.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// How [`clone`] makes a process.
#[derive(Debug, Clone, Copy, Default)]
pub struct CloneOptions<'a> {
    /// `CLONE_NEW*`, and `CLONE_PARENT` where the caller's parent shall be the parent.
    pub flags: u64,
    /// The control group (v2) in which the process begins.
    pub cgroup: Option<BorrowedFd<'a>>,
}

// ANCHOR: clone
/// Creates a process and runs `child` in it (clone3(2)). Returns a descriptor that refers to this
/// very process, and its number.
///
/// # Errors
/// As clone3(2): `EPERM`, `ENOSPC` where a limit of /proc/sys/user is reached, `EAGAIN` where the
/// control group's pids limit is.
pub fn clone(
    options: CloneOptions<'_>,
    child: impl FnOnce() -> Infallible,
) -> nix::Result<(OwnedFd, libc::pid_t)> {
    let mut pidfd: RawFd = -1;
    // SAFETY: clone_args is plain integers, for which all zeroes is a valid value and what clone(2)
    // asks of the fields that are not used.
    let mut args: libc::clone_args = unsafe { MaybeUninit::zeroed().assume_init() };
    args.flags = options.flags | libc::CLONE_PIDFD as u64;
    args.pidfd = &raw mut pidfd as u64;
    // With CLONE_PARENT the kernel wants none: the signal is that of the caller's own.
    let sibling = options.flags & libc::CLONE_PARENT as u64 != 0;
    args.exit_signal = if sibling { 0 } else { libc::SIGCHLD as u64 };
    if let Some(cgroup) = options.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        // The number of an open descriptor is never negative.
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // Without CLONE_VM the child has memory of its own, and with no stack given it goes on with a
    // copy of this one. What makes a fork without exec dangerous is other threads, whose locks
    // would stay locked in the child for ever. This program never starts a thread
    // (`tests/single_thread.rs` looks), so the child may allocate like its parent.
    // SAFETY: `args` and the `pidfd` that it points to live across the call, and the size is that
    // of the structure.
    let pid = check(unsafe {
        libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>())
    })?;
    if pid == 0 {
        child();
    }
    // SAFETY: CLONE_PIDFD made the kernel store a descriptor that it opened for this call.
    Ok((unsafe { OwnedFd::from_raw_fd(pidfd) }, pid as libc::pid_t))
}
// ANCHOR_END: clone

// ANCHOR: received
/// Takes a descriptor out of a control message that recvmsg(2) has just delivered.
pub(crate) fn received(fd: RawFd) -> OwnedFd {
    // SAFETY: the callers pass the number out of a control message they have just received: the
    // kernel opened it for this process, and nothing else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
// ANCHOR_END: received

/// A descriptor that the caller of this program has passed under a number (`--preserve-fds`,
/// standard input): duplicated, close-on-exec.
///
/// # Errors
/// `EBADF` where it is not open.
pub fn duplicate(number: RawFd) -> nix::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes an integer and returns a new descriptor.
    owned(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) }.into())
}

/// Whether a descriptor with this number is open.
pub fn is_open(number: RawFd) -> bool {
    // SAFETY: F_GETFD reads a flag.
    unsafe { libc::fcntl(number, libc::F_GETFD) >= 0 }
}

/// Lets the descriptor with this number survive execve(2).
///
/// # Errors
/// `EBADF`.
pub fn keep_over_exec(number: RawFd) -> nix::Result<()> {
    // SAFETY: F_SETFD takes an integer.
    check(unsafe { libc::fcntl(number, libc::F_SETFD, 0) }.into()).map(drop)
}

/// dup2(2) onto standard input, output or error of a process that is about to execute another.
///
/// # Errors
/// `EBADF`.
pub fn replace_stdio(fd: BorrowedFd<'_>, number: RawFd) -> nix::Result<()> {
    // SAFETY: takes integers only. The callers are children of `clone`: no other code of that
    // process holds 0, 1 or 2 as its own.
    check(unsafe { libc::dup2(fd.as_raw_fd(), number) }.into()).map(drop)
}

// ANCHOR: execute_fd
/// execveat(2) of the file behind `fd` itself.
pub fn execute_fd(
    fd: BorrowedFd<'_>,
    argv: &corten_namespaces::sys::CStrings,
    envp: &corten_namespaces::sys::CStrings,
) -> nix::errno::Errno {
    let pointers = |strings: &corten_namespaces::sys::CStrings| -> Vec<*const libc::c_char> {
        strings.strings().iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(argv), pointers(envp));
    let empty = c"".as_ptr();
    // SAFETY: both arrays point to NUL-terminated strings that outlive the call, and end in null.
    unsafe {
        let flags = libc::AT_EMPTY_PATH;
        libc::syscall(
            libc::SYS_execveat,
            fd.as_raw_fd(),
            empty,
            argv.as_ptr(),
            envp.as_ptr(),
            flags,
        );
    }
    nix::errno::Errno::last()
}
// ANCHOR_END: execute_fd

/// Joins a new session keyring of this name (keyrings(7)), so that the caller's keys are out of
/// reach.
///
/// # Errors
/// `ENOSYS` where the kernel has no keys, `EDQUOT`.
pub fn join_session_keyring(name: &CStr) -> nix::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: c_int = 1;
    // SAFETY: `name` is NUL-terminated; the call copies it.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) })
        .map(drop)
}

/// personality(2).
///
/// # Errors
/// `EINVAL`.
pub fn personality(persona: c_ulong) -> nix::Result<()> {
    // SAFETY: takes an integer only.
    check(unsafe { libc::personality(persona) }.into()).map(drop)
}

/// The hard limit of a resource.
///
/// # Errors
/// `EINVAL` for a resource that the kernel does not know.
pub fn hard_limit(resource: c_int) -> nix::Result<u64> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    let none = ptr::null::<libc::rlimit64>();
    // SAFETY: no new limit is given, and `limit` lives across the call, which fills it.
    check(unsafe {
        libc::syscall(libc::SYS_prlimit64, 0 as c_int, resource, none, &raw mut limit)
    })?;
    Ok(limit.rlim_max)
}

/// The capabilities of the calling thread: effective, permitted, inheritable.
///
/// # Errors
/// None in practice.
pub fn capabilities() -> nix::Result<[u64; 3]> {
    let header: [u32; 2] = [0x2008_0522, 0];
    let mut data = [[0u32; 3]; 2];
    // SAFETY: version 3 reads the header (two words) and writes two structures of three words.
    check(unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), data.as_mut_ptr()) })?;
    let whole = |set: usize| u64::from(data[0][set]) | u64::from(data[1][set]) << 32;
    Ok([whole(0), whole(1), whole(2)])
}

/// Whether a capability is in the calling thread's bounding set; `None` where the kernel does not
/// know its number.
pub fn is_bounded(number: u32) -> Option<bool> {
    // SAFETY: PR_CAPBSET_READ takes an integer.
    let answer = unsafe { libc::prctl(libc::PR_CAPBSET_READ, c_ulong::from(number), 0, 0, 0) };
    (answer >= 0).then_some(answer == 1)
}

/// prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE).
///
/// # Errors
/// `EPERM` where it is not permitted and inheritable.
pub fn raise_ambient(number: u32) -> nix::Result<()> {
    let (raise, number) = (libc::PR_CAP_AMBIENT_RAISE as c_ulong, c_ulong::from(number));
    // SAFETY: takes integers only; the kernel wants the last two to be 0 as unsigned long.
    check(
        unsafe { libc::prctl(libc::PR_CAP_AMBIENT, raise, number, 0 as c_ulong, 0 as c_ulong) }
            .into(),
    )
    .map(drop)
}

/// Takes `fd` out of the process behind `pidfd` (pidfd_getfd(2)).
///
/// # Errors
/// `EBADF`, `EPERM`, `ESRCH`.
pub fn take_fd(pidfd: BorrowedFd<'_>, fd: RawFd) -> nix::Result<OwnedFd> {
    // SAFETY: takes integers only and returns a new descriptor.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0 as c_uint) })
}

/// setns(2) by a pidfd with several kinds of namespace at once.
///
/// # Errors
/// `EPERM`, `EINVAL`, `ESRCH`.
pub fn setns(fd: RawFd, flags: u64) -> nix::Result<()> {
    // All CLONE_NEW* flags fit.
    corten_namespaces::sys::setns(fd, flags as c_int)
}
