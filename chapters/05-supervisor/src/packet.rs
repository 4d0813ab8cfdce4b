//! Packets with descriptors over a Unix socket that keeps their borders (`SOCK_SEQPACKET`, unix(7)).
//!
//! A packet cannot be longer than the socket's buffer, and an environment can: what is longer than
//! [`INLINE`] goes into a nameless file whose descriptor is the packet's first.

use std::io::{IoSlice, IoSliceMut, Read, Seek, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

use crate::error::{Context, Result};
use crate::sys;

/// Longer content goes into a file.
const INLINE: usize = 32 << 10;

/// The longest content, in a file or not, that is accepted.
const LONGEST: u64 = 16 << 20;

/// The first byte of a packet.
const IS_INLINE: u8 = b'J';
const IS_IN_FILE: u8 = b'F';

/// Sends one packet.
///
/// # Errors
/// `EPIPE` where the other end is closed; `EAGAIN` where it does not read and `flags` say not to
/// wait.
pub fn send(socket: BorrowedFd<'_>, content: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<()> {
    let mut numbers: Vec<RawFd> = fd.iter().map(AsRawFd::as_raw_fd).collect();
    let file = if content.len() > INLINE {
        let file = memfd_create(c"corten-packet", MFdFlags::MFD_CLOEXEC).during("make a packet")?;
        let mut file = std::fs::File::from(file);
        file.write_all(content).during("write a packet")?;
        numbers.insert(0, file.as_raw_fd());
        Some(file)
    } else {
        None
    };
    let (kind, content) = if file.is_some() { (IS_IN_FILE, &[][..]) } else { (IS_INLINE, content) };
    let kind = [kind];
    let vector = [IoSlice::new(&kind), IoSlice::new(content)];
    let rights = [ControlMessage::ScmRights(&numbers)];
    let control: &[ControlMessage<'_>] = if numbers.is_empty() { &[] } else { &rights };
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    sendmsg::<()>(socket.as_raw_fd(), &vector, control, flags, None).during("send a packet")?;
    Ok(())
}

/// Receives one packet; `None` where the other end is closed. Descriptors beyond the first two are
/// closed: no packet has more.
///
/// # Errors
/// `EAGAIN` where there is none and the socket does not wait; a packet that is none of ours.
pub fn receive(socket: BorrowedFd<'_>) -> Result<Option<(Vec<u8>, Option<OwnedFd>)>> {
    let mut buffer = vec![0; INLINE + 1];
    let mut control = nix::cmsg_space!([RawFd; 2]);
    let mut vector = [IoSliceMut::new(&mut buffer)];
    let (number, flags) = (socket.as_raw_fd(), MsgFlags::MSG_CMSG_CLOEXEC);
    let (length, mut fds) = loop {
        match recvmsg::<()>(number, &mut vector, Some(&mut control), flags) {
            Err(Errno::EINTR) => {}
            Err(Errno::ECONNRESET) => return Ok(None),
            Err(errno) => return Err(errno).during("receive a packet"),
            Ok(received) => {
                let mut fds = Vec::new();
                for message in received.cmsgs().during("receive a packet")? {
                    if let ControlMessageOwned::ScmRights(numbers) = message {
                        fds.extend(numbers.into_iter().map(sys::received));
                    }
                }
                break (received.bytes, fds.into_iter());
            }
        }
    };
    buffer.truncate(length);
    match buffer.split_first() {
        None => Ok(None),
        Some((&IS_INLINE, _)) => {
            buffer.remove(0);
            Ok(Some((buffer, fds.next())))
        }
        Some((&IS_IN_FILE, _)) => {
            let Some(file) = fds.next() else {
                return Err(Errno::EBADMSG).during("receive a packet");
            };
            let mut file = std::fs::File::from(file);
            let mut content = Vec::new();
            // The sender has its offset at the end.
            file.rewind().during("read a packet")?;
            file.take(LONGEST).read_to_end(&mut content).during("read a packet")?;
            Ok(Some((content, fds.next())))
        }
        Some(_) => Err(Errno::EBADMSG).during("receive a packet"),
    }
}
