//! The system calls of this crate that no library makes safe: all `unsafe` of the crate.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

/// Sets an option of a netlink socket that is an `int` to 1 (netlink(7)).
///
/// # Errors
/// `ENOPROTOOPT` where the kernel does not have it.
pub(crate) fn netlink_option(socket: BorrowedFd<'_>, option: c_int) -> nix::Result<()> {
    let one: c_int = 1;
    let size = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: the kernel reads an `int`, which lives across the call and has the size that is given.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            (&raw const one).cast(),
            size,
        )
    };
    Errno::result(answer).map(drop)
}

/// A socket of any family, kind and protocol: nix has no name for SCTP.
///
/// # Errors
/// `EPROTONOSUPPORT`, `ESOCKTNOSUPPORT` or `EAFNOSUPPORT` where the kernel lacks it.
pub(crate) fn socket(family: c_int, kind: c_int, protocol: c_int) -> nix::Result<OwnedFd> {
    // SAFETY: takes integers only.
    let fd = Errno::result(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) })?;
    // SAFETY: the kernel has just opened `fd` for this call, and nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
