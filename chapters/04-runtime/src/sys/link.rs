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
    send(socket, kind, libc::NLM_F_ACK, body)?;
    let mut answer = [0; 4096];
    let length = nix::unistd::read(socket, &mut answer)?;
    match failure(answer.get(HEADER..length).unwrap_or_default()) {
        Errno::UnknownErrno => Ok(()),
        errno => Err(errno),
    }
}

/// Asks for all objects of a kind; gives what comes after the header of each answer.
///
/// # Errors
/// What the kernel answers; `EIO` where that cannot be understood.
pub fn dump(socket: BorrowedFd<'_>, kind: u16, body: &[u8]) -> nix::Result<Vec<Vec<u8>>> {
    send(socket, kind, libc::NLM_F_DUMP, body)?;
    let mut found = Vec::new();
    let mut answer = vec![0; 32 * 1024];
    loop {
        let length = nix::unistd::read(socket, &mut answer)?;
        let mut rest = answer.get(..length).unwrap_or_default();
        while !rest.is_empty() {
            let size = number(rest, 0)? as usize;
            let payload = rest.get(HEADER..size).ok_or(Errno::EIO)?;
            match i32::from(number(rest, 4)? as u16) {
                libc::NLMSG_DONE => return Ok(found),
                libc::NLMSG_ERROR => return Err(failure(payload)),
                _ => found.push(payload.to_vec()),
            }
            rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

/// The length of a netlink message's header.
const HEADER: usize = size_of::<libc::nlmsghdr>();

fn send(socket: BorrowedFd<'_>, kind: u16, flags: libc::c_int, body: &[u8]) -> nix::Result<()> {
    let length = (HEADER + body.len()) as u32;
    let flags = (libc::NLM_F_REQUEST | flags) as u16;
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    nix::unistd::write(socket, &message).map(drop)
}

/// The error of an nlmsgerr, which begins with the negative errno; `UnknownErrno`, which is 0, for
/// an acknowledgement.
fn failure(message: &[u8]) -> Errno {
    number(message, 0).map_or(Errno::EIO, |errno| Errno::from_raw(-errno.cast_signed()))
}

/// The number at `at`, in the machine's order of bytes.
fn number(bytes: &[u8], at: usize) -> nix::Result<u32> {
    let four = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    four.map(u32::from_ne_bytes).ok_or(Errno::EIO)
}
