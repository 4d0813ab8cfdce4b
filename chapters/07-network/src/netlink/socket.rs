//! A netlink socket: several requests in one packet, answers matched by number.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto,
    setsockopt, socket, sockopt,
};

use super::message::{Message, Received, attribute, messages, string, word};
use super::module::once_loaded;
use crate::error::{Context, Error, KernelError, Result};
use crate::sys;

/// linux/netlink.h.
pub(crate) const REQUEST: u16 = 1;
pub(crate) const ACK: u16 = 4;
pub(crate) const EXCLUSIVE: u16 = 0x200;
pub(crate) const CREATE: u16 = 0x400;
pub(crate) const APPEND: u16 = 0x800;
pub(crate) const DUMP: u16 = 0x300;
const DUMP_INTERRUPTED: u16 = 0x10;
const ACK_CAPPED: u16 = 0x100;
const ACK_WORDS: u16 = 0x200;
const KIND_ERROR: u16 = 2;
const KIND_DONE: u16 = 3;
const CAP_ACK: i32 = 10;
const EXT_ACK: i32 = 11;
const STRICT_CHECK: i32 = 12;

/// As large as a packet of the kernel's gets (NLMSG_GOODSIZE is at most 32 KiB for dumps).
const PACKET: usize = 1 << 16;

/// A message, and in words what it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub message: Message,
    pub operation: String,
    pub object: String,
    /// An errno that is as good as success: what should be gone is gone.
    pub fine: Option<Errno>,
}

impl Request {
    pub fn new(message: Message, operation: impl Into<String>, object: &str) -> Request {
        Request { message, operation: operation.into(), object: object.to_owned(), fine: None }
    }

    /// That fails with `errno` where there is nothing to do.
    pub fn unless(mut self, errno: Errno) -> Request {
        self.fine = Some(errno);
        self
    }

    fn failed(&self, errno: Errno, said: Option<String>) -> Error {
        KernelError { said, ..KernelError::new(&*self.operation, &*self.object, errno) }.into()
    }
}

/// What a list is made of: kinds of messages and their bodies.
pub(crate) type Listed = Vec<(u16, Vec<u8>)>;

/// A socket. It speaks to the network namespace in which it was opened, whoever uses it.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// For links, addresses and routes (rtnetlink(7)).
    pub fn route() -> Result<Socket> {
        Socket::open(SockProtocol::NetlinkRoute)
    }

    /// For nf_tables.
    pub fn netfilter() -> Result<Socket> {
        let opened = Socket::open(SockProtocol::NetlinkNetFilter)?;
        // Batches are sent in one packet. Without the right to, the usual limit must do.
        let _ = setsockopt(&opened.fd, sockopt::SndBufForce, &(8 << 20));
        let _ = setsockopt(&opened.fd, sockopt::RcvBufForce, &(1 << 20));
        Ok(opened)
    }

    fn open(protocol: SockProtocol) -> Result<Socket> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)
            .during("open a netlink socket")?;
        // Answers without a copy of the request, and with words.
        for option in [CAP_ACK, EXT_ACK, STRICT_CHECK] {
            let _ = sys::netlink_option(fd.as_fd(), option);
        }
        Ok(Socket { fd, sequence: 0 })
    }

    // ANCHOR: burst
    /// Sends all requests in one packet and waits until each is answered. The kernel carries them out
    /// in order, and goes on after one that fails; the first failure is given.
    ///
    /// # Errors
    /// What was asked for, and what the kernel said.
    pub fn burst(&mut self, requests: &[Request]) -> Result<()> {
        if requests.is_empty() {
            return Ok(());
        }
        let first = self.sequence + 1;
        let mut packet = Vec::with_capacity(requests.iter().map(|r| r.message.len()).sum());
        for request in requests {
            self.sequence += 1;
            let mut message = request.message.clone();
            message.add_flags(REQUEST | ACK);
            message.numbered(self.sequence, &mut packet);
        }
        self.send(&packet)?;
        let mut answers: Vec<Option<Result<()>>> = requests.iter().map(|_| None).collect();
        let mut buffer = vec![0; PACKET];
        while answers.iter().any(Option::is_none) {
            for message in messages(self.receive(&mut buffer)?) {
                let index = message.sequence.wrapping_sub(first) as usize;
                let Some(request) = requests.get(index) else { continue };
                if message.kind == KIND_ERROR {
                    answers[index] = Some(verdict(request, &message));
                }
            }
        }
        answers.into_iter().flatten().collect()
    }
    // ANCHOR_END: burst

    /// The same for requests of which the first makes a link.
    ///
    /// # Errors
    /// As [`Socket::burst`].
    pub fn make(&mut self, requests: &[Request]) -> Result<()> {
        let operation = requests.first().map(|request| request.operation.as_str());
        let has_no_kind = |error: &Error| {
            matches!(error, Error::Kernel(said)
                if said.errno == Errno::EOPNOTSUPP && Some(said.operation.as_str()) == operation)
        };
        once_loaded(has_no_kind, || self.burst(requests))
    }

    /// Asks for a list, and gives the kinds and bodies of what comes.
    ///
    /// # Errors
    /// As [`Socket::burst`].
    pub fn dump(&mut self, request: &Request) -> Result<Listed> {
        loop {
            let (found, whole) = self.list(request)?;
            // The list changed while it was told.
            if whole {
                return Ok(found);
            }
        }
    }

    fn list(&mut self, request: &Request) -> Result<(Listed, bool)> {
        self.sequence += 1;
        let mut message = request.message.clone();
        message.add_flags(REQUEST | DUMP);
        let mut packet = Vec::new();
        message.numbered(self.sequence, &mut packet);
        self.send(&packet)?;
        let (mut found, mut whole) = (Vec::new(), true);
        let mut buffer = vec![0; PACKET];
        loop {
            for message in messages(self.receive(&mut buffer)?) {
                if message.sequence != self.sequence {
                    continue;
                }
                whole &= message.flags & DUMP_INTERRUPTED == 0;
                match message.kind {
                    KIND_DONE => return Ok((found, whole)),
                    KIND_ERROR => {
                        verdict(request, &message)?;
                        return Ok((found, whole));
                    }
                    kind => found.push((kind, message.body.to_vec())),
                }
            }
        }
    }

    /// Asks for one thing; `None` where the kernel answers with the errno that is fine.
    ///
    /// # Errors
    /// As [`Socket::burst`].
    pub fn ask(&mut self, request: &Request) -> Result<Option<Vec<u8>>> {
        self.sequence += 1;
        let mut message = request.message.clone();
        message.add_flags(REQUEST);
        let mut packet = Vec::new();
        message.numbered(self.sequence, &mut packet);
        self.send(&packet)?;
        let mut buffer = vec![0; PACKET];
        loop {
            for message in messages(self.receive(&mut buffer)?) {
                if message.sequence != self.sequence {
                    continue;
                }
                if message.kind == KIND_ERROR {
                    return verdict(request, &message).map(|()| None);
                }
                return Ok(Some(message.body.to_vec()));
            }
        }
    }

    /// Sends a batch: all of it is carried out, or nothing. The kernel has answered when the call
    /// returns, so nothing is waited for. `requests` are those between the first and the last message.
    ///
    /// # Errors
    /// The first that failed.
    pub fn batch(&mut self, begin: &Message, requests: &[Request], end: &Message) -> Result<()> {
        let mut packet = Vec::new();
        self.sequence += 1;
        begin.numbered(self.sequence, &mut packet);
        let first = self.sequence + 1;
        for request in requests {
            self.sequence += 1;
            let mut message = request.message.clone();
            message.add_flags(REQUEST | ACK);
            message.numbered(self.sequence, &mut packet);
        }
        self.sequence += 1;
        end.numbered(self.sequence, &mut packet);
        self.send(&packet)?;
        let mut buffer = vec![0; PACKET];
        let (mut failure, mut answered) = (None, false);
        while let Some(length) = self.receive_now(&mut buffer)? {
            for message in messages(&buffer[..length]) {
                let index = message.sequence.wrapping_sub(first) as usize;
                let of_end = index == requests.len();
                if message.kind != KIND_ERROR || index > requests.len() {
                    continue;
                }
                answered = true;
                let whole = Request::new(end.clone(), "commit the changes of", "nf_tables");
                let request = if of_end { &whole } else { &requests[index] };
                if let (Err(error), None) = (verdict(request, &message), &failure) {
                    failure = Some(error);
                }
            }
        }
        match failure {
            Some(error) => Err(error),
            None if answered || requests.is_empty() => Ok(()),
            None => Err(KernelError::new("change", "nf_tables", Errno::EIO).into()),
        }
    }

    /// Lets packets pass a link that has just come up; see [`sys::settle`].
    pub fn settle(&self, link: &str) {
        // Where that is not possible, the kernel does it a little later.
        let _ = sys::settle(self.fd.as_fd(), link);
    }

    fn send(&self, packet: &[u8]) -> Result<()> {
        let kernel = NetlinkAddr::new(0, 0);
        sendto(self.fd.as_raw_fd(), packet, &kernel, MsgFlags::empty())
            .during("send to the kernel")
            .map(drop)
    }

    fn receive<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8]> {
        loop {
            match recv(self.fd.as_raw_fd(), buffer, MsgFlags::empty()) {
                Ok(length) => return Ok(&buffer[..length]),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).during("receive from the kernel"),
            }
        }
    }

    fn receive_now(&self, buffer: &mut [u8]) -> Result<Option<usize>> {
        match recv(self.fd.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(length) => Ok(Some(length)),
            Err(Errno::EAGAIN) => Ok(None),
            Err(errno) => Err(errno).during("receive from the kernel"),
        }
    }
}

/// What an answer of kind NLMSG_ERROR says: a negative errno, or zero for success.
fn verdict(request: &Request, message: &Received<'_>) -> Result<()> {
    let code = word(message.body, 0).map_or(-libc::EIO, |code| code as i32);
    if code == 0 || request.fine.is_some_and(|fine| fine as i32 == -code) {
        return Ok(());
    }
    // After the code stands the header of the request, and the request itself unless it is capped.
    let asked = word(message.body, 4).unwrap_or(16) as usize;
    let skipped = if message.flags & ACK_CAPPED != 0 { 16 } else { asked.next_multiple_of(4) };
    let words = (message.flags & ACK_WORDS != 0).then(|| message.body.get(4 + skipped..)).flatten();
    let said = words.and_then(|words| attribute(words, 1)).map(string);
    Err(request.failed(Errno::from_raw(-code), said))
}
