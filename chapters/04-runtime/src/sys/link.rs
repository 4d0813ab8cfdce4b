//! Moving network devices into another network namespace, by rtnetlink(7).

use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use super::{check, owned};

/// The index of the device `name` in the network namespace of `socket`, or an error.
///
/// # Errors
/// `ENODEV` where there is no such device.
pub fn index(socket: BorrowedFd<'_>, name: &str) -> nix::Result<i32> {
    // SAFETY: ifreq is plain data, for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.len() >= request.ifr_name.len() {
        return Err(Errno::EINVAL);
    }
    for (to, from) in request.ifr_name.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    // SAFETY: SIOCGIFINDEX reads the name, which is NUL-terminated, and writes the index.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFINDEX, &raw mut request) }.into())?;
    // SAFETY: the call above has set this member of the union.
    Ok(unsafe { request.ifr_ifru.ifru_ifindex })
}

/// An rtnetlink socket of the current network namespace.
///
/// # Errors
/// `EAFNOSUPPORT` without networking.
pub fn socket() -> nix::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: takes integers only.
    owned(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) }.into())
}

/// A datagram socket, for ioctls on devices.
///
/// # Errors
/// `EAFNOSUPPORT` without networking.
pub fn control() -> nix::Result<OwnedFd> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
    // SAFETY: takes integers only.
    owned(unsafe { libc::socket(libc::AF_INET, kind, 0) }.into())
}

/// Sends one rtnetlink message, of which `body` comes after the header, and waits for its
/// acknowledgement.
///
/// # Errors
/// What the kernel answers.
pub fn request(socket: BorrowedFd<'_>, kind: u16, body: &[u8]) -> nix::Result<()> {
    const HEADER: usize = size_of::<libc::nlmsghdr>();
    let length = (HEADER + body.len()) as u32;
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    nix::unistd::write(socket, &message)?;
    let mut answer = [0; 4096];
    let length = nix::unistd::read(socket, &mut answer)?;
    // An nlmsghdr, then the negative errno of nlmsgerr.
    let errno = answer
        .get(HEADER..HEADER + 4)
        .filter(|_| length >= HEADER + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(-libc::EIO, i32::from_ne_bytes);
    if errno == 0 { Ok(()) } else { Err(Errno::from_raw(-errno)) }
}
