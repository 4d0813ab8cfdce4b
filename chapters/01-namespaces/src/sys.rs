//! The raw system calls: all `unsafe` of this crate.
//!
//! libc has no wrapper for most of what containers are made of (clone3, openat2, the mount API of
//! Linux 5.2, pidfds), so they go through syscall(2) here, once, and come out as owned descriptors
//! and typed errnos. Nothing in this module allocates, so everything may be called between clone
//! and exec.
#![allow(unsafe_code)]

use std::convert::Infallible;
use std::ffi::{CStr, c_char, c_int, c_long, c_uint, c_ulong};
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use nix::errno::Errno;

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
    // SAFETY: `args` and the `pidfd` that it points to live across the call, and the size is that
    // of the structure. Without CLONE_VM the child has memory of its own, and with no stack given
    // it goes on with a copy of this one. Of the caller's threads it has only this one, so a lock
    // that another held (the allocator's above all) stays locked for ever: `child` may call only
    // what is async-signal-safe. The one caller is `Plan::spawn`, whose child walks a plan that was
    // made before, without allocating (`execute.rs`), and its type says that it never returns.
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

/// unshare(2).
///
/// # Errors
/// As [`clone3`].
pub fn unshare(flags: c_int) -> nix::Result<()> {
    // SAFETY: takes an integer only; it changes the caller's namespaces, not its memory.
    check(unsafe { libc::unshare(flags) }.into()).map(drop)
}

/// setns(2): `fd` is a namespace file, or a pidfd with the namespaces in `flags`.
///
/// # Errors
/// `EINVAL` for the wrong kind, or several threads with a user or mount namespace; `EPERM` without
/// CAP_SYS_ADMIN in the namespace.
pub fn setns(fd: RawFd, flags: c_int) -> nix::Result<()> {
    // SAFETY: takes integers only; a descriptor that is not open is answered with EBADF.
    check(unsafe { libc::setns(fd, flags) }.into()).map(drop)
}

/// openat2(2), close-on-exec where the flags say so.
///
/// # Errors
/// `EXDEV` where the path would leave a RESOLVE_BENEATH root, `ELOOP` for a forbidden link,
/// `EAGAIN` where a race made the answer unsure.
pub fn openat2(
    dir: RawFd,
    path: &CStr,
    flags: u64,
    mode: u64,
    resolve: u64,
) -> nix::Result<OwnedFd> {
    // SAFETY: open_how is plain integers, for which all zeroes is a valid value.
    let mut how: libc::open_how = unsafe { MaybeUninit::zeroed().assume_init() };
    how.flags = flags;
    how.mode = mode;
    how.resolve = resolve;
    // SAFETY: `path` is NUL-terminated, `how` lives across the call and its size is passed.
    owned(unsafe {
        libc::syscall(
            libc::SYS_openat2,
            dir,
            path.as_ptr(),
            &raw const how,
            size_of::<libc::open_how>(),
        )
    })
}

/// The mount system calls of Linux 5.2, which work on descriptors and leave paths alone.
pub mod mount {
    use super::*;

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

    /// open_tree(2) with OPEN_TREE_CLONE: a detached copy of the mount at `path`, what a bind
    /// mount attaches. With `recursive` the mounts below it come along.
    ///
    /// # Errors
    /// `EINVAL` where mounts below it are locked by a user namespace and `recursive` is not set,
    /// `ENOENT`, `EPERM`.
    pub fn clone_tree(dir: RawFd, path: &CStr, recursive: bool) -> nix::Result<OwnedFd> {
        let recurse = if recursive { libc::AT_RECURSIVE as c_uint } else { 0 };
        let flags = libc::OPEN_TREE_CLONE
            | libc::OPEN_TREE_CLOEXEC
            | libc::AT_EMPTY_PATH as c_uint
            | recurse;
        // SAFETY: `path` is NUL-terminated, the rest are integers.
        owned(unsafe { libc::syscall(libc::SYS_open_tree, dir, path.as_ptr(), flags) })
    }

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
}

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

/// Reads the current directory's path into `buffer` by the bare system call, which, other than the
/// C library's getcwd, says `(unreachable)` when it lies outside the root.
///
/// # Errors
/// `ENOENT` where the directory was removed, `ERANGE` where the buffer is too small.
pub fn getcwd(buffer: &mut [u8]) -> nix::Result<&[u8]> {
    // SAFETY: the kernel writes at most `len` bytes, all within `buffer`.
    let length =
        check(unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) })?;
    // The kernel counts the terminating NUL.
    Ok(&buffer[..(length as usize).saturating_sub(1)])
}

/// execve(2); returns only on failure. `argv` and `envp` must end with a null pointer.
pub fn execve(path: &CStr, argv: &CStrings, envp: &CStrings) -> Errno {
    // SAFETY: CStrings keeps its pointers valid, NUL-terminated and followed by a null pointer.
    unsafe { libc::execve(path.as_ptr(), argv.pointers.as_ptr(), envp.pointers.as_ptr()) };
    Errno::last()
}

/// A null-terminated array of C strings, made before clone3 because it allocates.
pub struct CStrings {
    /// Keeps the memory that `pointers` point into.
    strings: Vec<std::ffi::CString>,
    pointers: Vec<*const c_char>,
}

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

/// Closes every descriptor from `first` on, in a process that will never use one again.
pub(crate) fn close_from(first: c_uint) {
    // SAFETY: the only caller is pid 1 of a container, a copy of the process that never returns to
    // the code that owns the descriptors, so no owner uses or closes one afterwards.
    unsafe { libc::syscall(libc::SYS_close_range, first, c_uint::MAX, 0 as c_uint) };
}

/// Puts `fd` in the place of the descriptor `number` (0, 1 or 2), which survives execve.
///
/// # Errors
/// `EBADF`.
pub(crate) fn replace_stdio(fd: BorrowedFd<'_>, number: RawFd) -> nix::Result<()> {
    // SAFETY: takes integers only. The caller is a child of `clone3`: no other code of this process
    // holds 0, 1 or 2 as its own.
    check(unsafe { libc::dup2(fd.as_raw_fd(), number) }.into()).map(drop)
}

/// Sends `fd` over the socket `channel` (unix(7), SCM_RIGHTS) with one byte, without allocating.
///
/// # Errors
/// `EPIPE` where the other end is gone.
pub(crate) fn send_fd(channel: RawFd, byte: u8, fd: BorrowedFd<'_>) -> nix::Result<()> {
    /// Room for one control message with one descriptor, aligned as cmsghdr must be.
    #[repr(C)]
    struct Control {
        header: libc::cmsghdr,
        fd: RawFd,
        padding: RawFd,
    }
    let mut control = Control {
        header: libc::cmsghdr {
            cmsg_len: size_of::<libc::cmsghdr>() + size_of::<RawFd>(),
            cmsg_level: libc::SOL_SOCKET,
            cmsg_type: libc::SCM_RIGHTS,
        },
        fd: fd.as_raw_fd(),
        padding: 0,
    };
    let mut payload = [byte];
    let mut vector = libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: payload.len() };
    // SAFETY: msghdr is integers and pointers, for which all zeroes is a valid value.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<Control>();
    // SAFETY: all that `message` points to lives across the call and has the lengths it says.
    check(unsafe { libc::sendmsg(channel, &raw const message, libc::MSG_NOSIGNAL) } as c_long)
        .map(drop)
}

/// Owns a descriptor that recvmsg(2) has just delivered.
pub(crate) fn received(fd: RawFd) -> OwnedFd {
    // SAFETY: the only caller passes the number out of a control message it has just received: the
    // kernel opened it for this process, and nothing else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// setdomainname(2).
///
/// # Errors
/// `EINVAL` beyond 64 bytes, `EPERM`.
pub fn setdomainname(name: &CStr) -> nix::Result<()> {
    // SAFETY: pointer and length describe the string.
    check(unsafe { libc::setdomainname(name.as_ptr(), name.count_bytes()) }.into()).map(drop)
}

/// mknodat(2), relative to a directory.
///
/// # Errors
/// `EPERM` without CAP_MKNOD or in a user namespace.
pub fn mknodat(
    dir: RawFd,
    name: &CStr,
    mode: libc::mode_t,
    device: libc::dev_t,
) -> nix::Result<()> {
    // SAFETY: `name` is NUL-terminated, the rest are integers.
    check(unsafe { libc::mknodat(dir, name.as_ptr(), mode, device) }.into()).map(drop)
}

/// A prctl(2) that takes integers only.
///
/// # Errors
/// As the option documents.
pub fn prctl(option: c_int, a: c_ulong, b: c_ulong) -> nix::Result<()> {
    const NONE: c_ulong = 0;
    // SAFETY: the options used in this crate (PDEATHSIG, NO_NEW_PRIVS, CAPBSET_DROP, CAP_AMBIENT,
    // SECUREBITS, CHILD_SUBREAPER) take integers, no pointers.
    check(unsafe { libc::prctl(option, a, b, NONE, NONE) }.into()).map(drop)
}

/// capset(2): the effective, permitted and inheritable sets as bit masks.
///
/// # Errors
/// `EPERM` where a capability would be added that the thread does not have.
pub fn capset(effective: u64, permitted: u64, inheritable: u64) -> nix::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: c_int,
    }
    #[repr(C)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    // _LINUX_CAPABILITY_VERSION_3 of linux/capability.h: two halves of 32 bits each.
    let header = Header { version: 0x2008_0522, pid: 0 };
    let half = |shift: u32| Data {
        effective: (effective >> shift) as u32,
        permitted: (permitted >> shift) as u32,
        inheritable: (inheritable >> shift) as u32,
    };
    let data = [half(0), half(32)];
    // SAFETY: version 3 reads one header and two data structures, laid out as the kernel's.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) }).map(drop)
}

/// The calling thread's effective capabilities, as a bit mask.
///
/// # Errors
/// None in practice.
pub fn capget_effective() -> nix::Result<u64> {
    let header: [u32; 2] = [0x2008_0522, 0];
    let mut data = [[0u32; 3]; 2];
    // SAFETY: version 3 reads the header (two words) and writes two structures of three words.
    check(unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), data.as_mut_ptr()) })?;
    Ok(u64::from(data[0][0]) | u64::from(data[1][0]) << 32)
}

/// setgroups(2), setresgid(2) and setresuid(2) of the calling thread alone. The C library's own
/// functions would signal all threads, which a child of clone3 does not have.
pub mod identity {
    use super::*;

    /// Replaces the supplementary groups.
    ///
    /// # Errors
    /// `EPERM` without CAP_SETGID, or where setgroups is denied in a user namespace.
    pub fn setgroups(groups: &[libc::gid_t]) -> nix::Result<()> {
        // SAFETY: the pointer and the length describe the slice.
        check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })
            .map(drop)
    }

    /// Sets all three group ids.
    ///
    /// # Errors
    /// `EINVAL` where the id is not mapped, `EPERM` without CAP_SETGID.
    pub fn setgid(gid: libc::gid_t) -> nix::Result<()> {
        // SAFETY: takes integers only.
        check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) }).map(drop)
    }

    /// Sets all three user ids.
    ///
    /// # Errors
    /// `EINVAL` where the id is not mapped, `EPERM` without CAP_SETUID.
    pub fn setuid(uid: libc::uid_t) -> nix::Result<()> {
        // SAFETY: takes integers only.
        check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
    }
}

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

/// Gives every signal its default action again and unblocks all: what a new program expects,
/// whatever the caller had blocked or ignored (Rust's runtime ignores SIGPIPE).
pub fn reset_signals() {
    for signal in 1..libc::SIGRTMAX() {
        // SAFETY: SIG_DFL installs no code of ours. SIGKILL and SIGSTOP answer EINVAL, which is
        // right to pass over.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let mut none = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set before sigprocmask reads it; no old set is asked for.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
    }
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

/// Sets the interface `lo` of the current network namespace up.
///
/// # Errors
/// `EPERM` without CAP_NET_ADMIN in the namespace.
pub fn loopback_up() -> nix::Result<()> {
    // SAFETY: takes integers only.
    let socket = owned(
        unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) }.into(),
    )?;
    // SAFETY: ifreq is plain data, for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { MaybeUninit::zeroed().assume_init() };
    request.ifr_name[0] = b'l' as c_char;
    request.ifr_name[1] = b'o' as c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: SIOCSIFFLAGS reads an ifreq with a NUL-terminated name, which `request` is.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) }.into())
        .map(drop)
}

/// umount2(2) with MNT_DETACH: out of sight at once, gone when the last user is.
///
/// # Errors
/// `EINVAL` where `path` is no mount point, `EPERM`.
pub fn umount_detach(path: &CStr) -> nix::Result<()> {
    // SAFETY: `path` is NUL-terminated.
    check(unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW) }.into())
        .map(drop)
}

/// ioctls of terminals (ioctl_tty(2)).
pub mod tty {
    use super::*;

    /// Makes the terminal `fd` the controlling one of the caller's new session.
    ///
    /// # Errors
    /// `EPERM` where the caller leads no session or has a terminal.
    pub fn make_controlling(fd: RawFd) -> nix::Result<()> {
        // SAFETY: TIOCSCTTY takes an integer.
        check(unsafe { libc::ioctl(fd, libc::TIOCSCTTY, 0) }.into()).map(drop)
    }

    /// Opens the slave end of the pseudoterminal `master` without a path (TIOCGPTPEER), so that no
    /// /dev/pts of anybody is trusted.
    ///
    /// # Errors
    /// `EIO` where the slave is locked.
    pub fn open_peer(master: RawFd) -> nix::Result<OwnedFd> {
        let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
        // SAFETY: TIOCGPTPEER takes the open flags as an integer and returns a new descriptor.
        owned(unsafe { libc::ioctl(master, libc::TIOCGPTPEER, flags) }.into())
    }

    /// Unlocks the slave of `master` (what unlockpt(3) does).
    ///
    /// # Errors
    /// `ENOTTY` where it is no pseudoterminal.
    pub fn unlock(master: RawFd) -> nix::Result<()> {
        let off: c_int = 0;
        // SAFETY: TIOCSPTLCK reads one int.
        check(unsafe { libc::ioctl(master, libc::TIOCSPTLCK, &raw const off) }.into()).map(drop)
    }

    /// The window's size: rows, columns.
    ///
    /// # Errors
    /// `ENOTTY` where `fd` is no terminal.
    pub fn size(fd: RawFd) -> nix::Result<(u16, u16)> {
        let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: TIOCGWINSZ fills one winsize.
        check(unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, &raw mut size) }.into())?;
        Ok((size.ws_row, size.ws_col))
    }

    /// Sets the window's size; the kernel sends SIGWINCH to the foreground group.
    ///
    /// # Errors
    /// `ENOTTY` where `fd` is no terminal.
    pub fn set_size(fd: RawFd, rows: u16, columns: u16) -> nix::Result<()> {
        let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: TIOCSWINSZ reads one winsize.
        check(unsafe { libc::ioctl(fd, libc::TIOCSWINSZ, &raw const size) }.into()).map(drop)
    }
}

/// ioctls of namespace files (ioctl_ns(2)).
pub mod ns {
    use super::*;

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
}
