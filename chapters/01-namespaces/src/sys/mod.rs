//! The raw system calls: all `unsafe` of this crate.
//!
//! libc has no wrapper for most of what containers are made of (clone3, openat2, the mount API of
//! Linux 5.2, pidfds), so they go through syscall(2) here, once, and come out as owned descriptors
//! and typed errnos. Nothing in this module allocates, so everything may be called between clone
//! and exec.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_long};
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

pub mod identity;
pub mod mount;
pub mod ns;
mod process;
pub mod tty;

pub use process::*;

fn check(result: c_long) -> nix::Result<c_long> {
    if result < 0 { Err(Errno::last()) } else { Ok(result) }
}

// ANCHOR: owned
/// Takes ownership of the descriptor that a system call has just returned.
fn owned(result: c_long) -> nix::Result<OwnedFd> {
    let fd = check(result)? as RawFd;
    // SAFETY: the kernel returned `fd` from a call that creates a descriptor, so it is open and
    // nobody else has it: this OwnedFd is its only owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
// ANCHOR_END: owned

/// unshare(2).
///
/// # Errors
/// As clone3(2).
pub fn unshare(flags: c_int) -> nix::Result<()> {
    // SAFETY: takes an integer only; it changes the caller's namespaces, not its memory.
    check(unsafe { libc::unshare(flags) }.into()).map(drop)
}

// ANCHOR: setns
/// setns(2): `fd` is a namespace file, or a pidfd with the namespaces in `flags`.
///
/// # Errors
/// `EINVAL` for the wrong kind, or several threads with a user or mount namespace; `EPERM` without
/// CAP_SYS_ADMIN in the namespace.
pub fn setns(fd: RawFd, flags: c_int) -> nix::Result<()> {
    // SAFETY: takes integers only; a descriptor that is not open is answered with EBADF.
    check(unsafe { libc::setns(fd, flags) }.into()).map(drop)
}
// ANCHOR_END: setns

// ANCHOR: openat2
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
// ANCHOR_END: openat2

// ANCHOR: getcwd
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
// ANCHOR_END: getcwd

// ANCHOR: send_fd
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
// ANCHOR_END: send_fd

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
