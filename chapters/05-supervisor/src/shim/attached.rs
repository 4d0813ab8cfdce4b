//! A client that is attached to a program's streams: what is sent to it, and how far it is behind.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, sendmsg, setsockopt, socketpair, sockopt,
};

use super::source::{Channel, Poller, Source};
use super::stdio::non_blocking;
use crate::detach::Scanner;
use crate::error::{Context, Result};
use crate::poller::Registered;
use crate::protocol::Attach;

/// So much a client may be behind: kernel memory, given out as it is needed.
const BEHIND: usize = 16 << 20;

/// One attached client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) socket: Registered<OwnedFd>,
    pub(super) attach: Attach,
    pub(super) keys: Scanner,
    /// What it has not taken yet; only where it is waited for.
    pub(super) behind: Vec<u8>,
    /// Whether it may still write.
    pub(super) writes: bool,
}

impl Client {
    /// A new client, and its end of the streams.
    pub(super) fn new(
        attach: Attach,
        source: Source,
        poller: &mut Poller,
    ) -> Result<(Client, OwnedFd)> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::Stream, None, flags)
            .during("make a socket pair")?;
        non_blocking(&ours)?;
        hold(&ours, BEHIND);
        let socket = Registered::new(poller, ours, source, EpollFlags::EPOLLIN)?;
        let keys = Scanner::new(attach.detach_keys.clone());
        let client = Client { socket, attach, keys, behind: Vec::new(), writes: true };
        Ok((client, theirs))
    }

    /// Waits for what is wanted of it: input, where there is `room` for it, and that it takes what
    /// it is behind with.
    pub(super) fn arm(&self, room: bool, poller: &Poller) {
        let mut interest = EpollFlags::empty();
        interest.set(EpollFlags::EPOLLIN, self.writes && room);
        interest.set(EpollFlags::EPOLLOUT, !self.behind.is_empty());
        let _ = self.socket.interest(poller, interest);
    }

    /// Gives it what it is behind with; tells whether it stays.
    pub(super) fn catch_up(&mut self) -> bool {
        let Some(sent) = send(self.socket.fd.as_fd(), &[], &self.behind) else { return false };
        self.behind.drain(..sent);
        if self.behind.is_empty() {
            self.behind = Vec::new();
        }
        true
    }

    /// Lets it be further behind than while the program ran: there is not much more to come.
    pub(super) fn make_room(&mut self) -> bool {
        hold(&self.socket.fd, 2 * BEHIND);
        self.catch_up()
    }

    // ANCHOR: take
    /// Offers output; tells whether the client stays.
    pub(super) fn take(&mut self, header: &[u8], bytes: &[u8]) -> bool {
        let Some(sent) = send(self.socket.fd.as_fd(), header, bytes) else { return false };
        if sent == header.len() + bytes.len() {
            return true;
        }
        if !self.attach.wait {
            return false;
        }
        let rest = [header, bytes].concat();
        self.behind.extend(rest.get(sent..).unwrap_or_default());
        true
    }
    // ANCHOR_END: take
}

/// Lets the kernel hold so much for the other end; without the right to exceed the limit, as much as
/// that allows.
fn hold(socket: &OwnedFd, bytes: usize) {
    if setsockopt(socket, sockopt::SndBufForce, &bytes).is_err() {
        let _ = setsockopt(socket, sockopt::SndBuf, &bytes);
    }
}

/// Docker's frame around a piece of output (Engine API, ContainerAttach): the stream, three zeroes,
/// the length.
pub(super) fn header(channel: Channel, length: usize) -> [u8; 8] {
    let stream = match channel {
        Channel::Stdout => 1,
        Channel::Stderr => 2,
    };
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [stream, 0, 0, 0, a, b, c, d]
}

/// Sends as much as the socket takes; `None` where the other end is closed.
fn send(socket: BorrowedFd<'_>, header: &[u8], bytes: &[u8]) -> Option<usize> {
    let vector = [IoSlice::new(header), IoSlice::new(bytes)];
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    loop {
        match sendmsg::<()>(socket.as_raw_fd(), &vector, &[], flags, None) {
            Ok(sent) => return Some(sent),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN | Errno::ENOBUFS) => return Some(0),
            Err(_) => return None,
        }
    }
}
