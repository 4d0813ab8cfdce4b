//! The system calls of this crate that no library makes safe: all `unsafe` of the crate.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::mem::MaybeUninit;
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

// ANCHOR: settle
/// Asks whether a link has a carrier (ethtool's GLINK), by any socket of its network namespace. The
/// answer is of no interest; before it answers, the kernel does at once what it would do a few
/// milliseconds later (`linkwatch_sync_dev` in its net/core/link_watch.c): the link lets packets pass.
///
/// # Errors
/// `ENODEV`.
pub(crate) fn settle(socket: BorrowedFd<'_>, link: &str) -> nix::Result<()> {
    const GET_LINK: u32 = 10;
    // struct ethtool_value: the command, and the answer.
    let mut value = [GET_LINK, 0];
    // SAFETY: ifreq is plain data, for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { MaybeUninit::zeroed().assume_init() };
    // The last byte stays zero: a name has at most 15.
    for (to, from) in request.ifr_name.iter_mut().zip(link.bytes().take(15)) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
    // SAFETY: the kernel reads `request`, whose name ends with a NUL, and reads and writes the two
    // numbers behind its pointer; both live across the call.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    Errno::result(answer).map(drop)
}
// ANCHOR_END: settle

/// Owns a descriptor that recvmsg(2) has just delivered.
pub(crate) fn received(fd: std::os::fd::RawFd) -> OwnedFd {
    // SAFETY: the only caller passes the number out of a control message that it has just received: the
    // kernel opened it for this process, and nothing else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
