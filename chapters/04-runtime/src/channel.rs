//! What parent and child of a container tell each other: short messages over a socket pair, or over
//! the socket on which a created container waits.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use corten_namespaces::error::Context;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
};

use crate::error::Result;
use crate::sys;

// ANCHOR: message
/// One message.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    /// Parent: your id maps are written.
    Mapped,
    /// Parent: my part is done, and the control groups are there.
    Joined,
    /// Child: run the hooks that belong between the mounts and pivot_root. Parent: they have run.
    Hooks,
    /// Child: all is ready but the program.
    Ready,
    /// Start.
    Start,
    /// Child: only the filter and execve are left. An end without this is no success.
    Going,
    /// Child: a sentence, and the exit status that it stands for.
    Failed(u8, String),
    /// Child of a child: the real child's number.
    Pid(i32),
    /// Child: the number that the descriptor of the filter's listener will have.
    Listener(i32),
}
// ANCHOR_END: message

impl Message {
    fn to_bytes(&self) -> Vec<u8> {
        match self {
            Message::Mapped => vec![b'm'],
            Message::Joined => vec![b'j'],
            Message::Hooks => vec![b'h'],
            Message::Ready => vec![b'r'],
            Message::Start => vec![b's'],
            Message::Going => vec![b'g'],
            Message::Failed(code, text) => [&[b'f', *code], text.as_bytes()].concat(),
            Message::Pid(pid) => [&b"p"[..], &pid.to_ne_bytes()].concat(),
            Message::Listener(fd) => [&b"l"[..], &fd.to_ne_bytes()].concat(),
        }
    }

    fn from_bytes(bytes: &[u8]) -> Option<Message> {
        Some(match bytes {
            [b'm'] => Message::Mapped,
            [b'j'] => Message::Joined,
            [b'h'] => Message::Hooks,
            [b'r'] => Message::Ready,
            [b's'] => Message::Start,
            [b'g'] => Message::Going,
            [b'f', code, text @ ..] => {
                Message::Failed(*code, String::from_utf8_lossy(text).into_owned())
            }
            [b'p', pid @ ..] => Message::Pid(i32::from_ne_bytes(pid.try_into().ok()?)),
            [b'l', fd @ ..] => Message::Listener(i32::from_ne_bytes(fd.try_into().ok()?)),
            _ => return None,
        })
    }
}

/// One end.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    /// Both ends.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn pair() -> Result<(Channel, Channel)> {
        let kind = SockType::SeqPacket;
        let (one, other) =
            nix::sys::socket::socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC)
                .during("make a socket pair")?;
        Ok((Channel(one), Channel(other)))
    }

    /// Tells the other end.
    ///
    /// # Errors
    /// `EPIPE` where it is gone.
    pub fn send(&self, message: &Message) -> Result<()> {
        let bytes = message.to_bytes();
        // A sentence beyond a packet's size is cut, not lost.
        let bytes = bytes.get(..4096).unwrap_or(&bytes);
        nix::sys::socket::send(self.0.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL)
            .during("tell the other side")?;
        Ok(())
    }

    /// Tells the other end, with descriptors.
    ///
    /// # Errors
    /// `EPIPE` where it is gone.
    pub fn send_with(&self, message: &Message, fds: &[OwnedFd]) -> Result<()> {
        if fds.is_empty() {
            return self.send(message);
        }
        let bytes = message.to_bytes();
        let numbers: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let (vector, control) = ([IoSlice::new(&bytes)], [ControlMessage::ScmRights(&numbers)]);
        let flags = MsgFlags::MSG_NOSIGNAL;
        nix::sys::socket::sendmsg::<()>(self.0.as_raw_fd(), &vector, &control, flags, None)
            .during("pass descriptors to the other side")?;
        Ok(())
    }

    /// Hears the other end, with descriptors.
    ///
    /// # Errors
    /// None in practice.
    pub fn receive_with(&self) -> Result<(Option<Message>, Vec<OwnedFd>)> {
        let mut bytes = [0; 4096];
        let mut control = nix::cmsg_space!([RawFd; 32]);
        let mut vector = [IoSliceMut::new(&mut bytes)];
        let (number, flags) = (self.0.as_raw_fd(), MsgFlags::MSG_CMSG_CLOEXEC);
        let received = loop {
            let control = Some(&mut control[..]);
            match nix::sys::socket::recvmsg::<()>(number, &mut vector, control, flags) {
                Err(Errno::EINTR | Errno::ECONNRESET) => {}
                other => break other.during("hear from the other side")?,
            }
        };
        let mut fds = Vec::new();
        for message in received.cmsgs().during("hear from the other side")? {
            if let ControlMessageOwned::ScmRights(numbers) = message {
                fds.extend(numbers.into_iter().map(sys::process::received));
            }
        }
        let length = received.bytes;
        Ok((bytes.get(..length).and_then(Message::from_bytes), fds))
    }

    /// Hears the other end: `None` where it is closed.
    ///
    /// # Errors
    /// None in practice.
    pub fn receive(&self) -> Result<Option<Message>> {
        let mut bytes = [0; 4096];
        loop {
            match nix::sys::socket::recv(self.0.as_raw_fd(), &mut bytes, MsgFlags::empty()) {
                // ECONNRESET: the other end has closed with something of ours unread; it is told
                // once, before what the other end has sent.
                Err(Errno::EINTR | Errno::ECONNRESET) => {}
                Ok(0) => return Ok(None),
                Ok(length) => {
                    return Ok(bytes.get(..length).and_then(Message::from_bytes));
                }
                Err(errno) => Err(errno).during("hear from the other side")?,
            }
        }
    }

    /// What the other end has said by now, without waiting for more.
    pub fn heard(&self) -> Option<Message> {
        let mut bytes = [0; 4096];
        let flags = MsgFlags::MSG_DONTWAIT;
        let mut hear = || nix::sys::socket::recv(self.0.as_raw_fd(), &mut bytes, flags);
        let length = match hear() {
            Err(Errno::ECONNRESET) => hear().ok()?,
            other => other.ok()?,
        };
        bytes.get(..length).and_then(Message::from_bytes)
    }

    /// The number of its descriptor.
    pub fn number(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A path of any length as the address of a socket: `sun_path` has room for 108 bytes, and state
/// directories may be deeper. `directory` is an open descriptor of the directory.
fn address(directory: BorrowedFd<'_>, name: &str) -> nix::Result<UnixAddr> {
    UnixAddr::new(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()).as_str())
}

fn socket() -> nix::Result<OwnedFd> {
    let (kind, flags) = (SockType::SeqPacket, SockFlag::SOCK_CLOEXEC);
    nix::sys::socket::socket(AddressFamily::Unix, kind, flags, None)
}

/// The socket on which a created container waits for `start`.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl Listener {
    /// Makes the socket `name` in `directory`.
    ///
    /// # Errors
    /// `EADDRINUSE`.
    pub fn bind(directory: BorrowedFd<'_>, name: &str) -> Result<Listener> {
        let bound = || {
            let socket = socket()?;
            nix::sys::socket::bind(socket.as_raw_fd(), &address(directory, name)?)?;
            nix::sys::socket::listen(&socket, nix::sys::socket::Backlog::new(1)?)?;
            Ok::<_, Errno>(socket)
        };
        Ok(Listener(bound().on("make the socket", name)?))
    }

    /// Waits for one caller.
    ///
    /// # Errors
    /// None in practice.
    pub fn accept(&self) -> Result<Channel> {
        loop {
            match nix::sys::socket::accept4(self.0.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
                Err(Errno::EINTR | Errno::ECONNABORTED) => {}
                other => {
                    let number = other.during("wait for start")?;
                    return Ok(Channel(sys::process::received(number)));
                }
            }
        }
    }
}

/// Calls the container that waits on the socket `name` in `directory`.
///
/// # Errors
/// `ENOENT` where it has been started, `ECONNREFUSED` where it is gone.
pub fn connect(directory: BorrowedFd<'_>, name: &str) -> Result<Channel> {
    let connected = || {
        let socket = socket()?;
        nix::sys::socket::connect(socket.as_raw_fd(), &address(directory, name)?)?;
        Ok::<_, Errno>(socket)
    };
    Ok(Channel(connected().on("connect to the container's", name)?))
}

/// Connects to the socket at `path`, on which the caller waits for a descriptor.
///
/// # Errors
/// `ENOENT`, `ECONNREFUSED`.
pub fn connect_caller(path: &std::path::Path) -> Result<OwnedFd> {
    let connected = || {
        let (kind, flags) = (SockType::Stream, SockFlag::SOCK_CLOEXEC);
        let socket = nix::sys::socket::socket(AddressFamily::Unix, kind, flags, None)?;
        match UnixAddr::new(path) {
            Ok(address) => nix::sys::socket::connect(socket.as_raw_fd(), &address)?,
            // Too long for an address: by way of its directory.
            Err(_) => {
                use nix::fcntl::{OFlag, open};
                let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
                let parent = path.parent().ok_or(Errno::EINVAL)?;
                let directory = open(parent, flags, nix::sys::stat::Mode::empty())?;
                let name = path.file_name().ok_or(Errno::EINVAL)?.to_string_lossy();
                let address = address(directory.as_fd(), &name)?;
                nix::sys::socket::connect(socket.as_raw_fd(), &address)?;
            }
        }
        Ok::<_, Errno>(socket)
    };
    Ok(connected().on("connect to the socket", path)?)
}

/// Sends a descriptor, with a few bytes that go along (unix(7), SCM_RIGHTS).
///
/// # Errors
/// `EPIPE` where the other end is gone.
pub fn send_fd(socket: BorrowedFd<'_>, with: &[u8], fd: BorrowedFd<'_>) -> Result<()> {
    let (vector, fds) = ([IoSlice::new(with)], [fd.as_raw_fd()]);
    let control = [ControlMessage::ScmRights(&fds)];
    let flags = MsgFlags::MSG_NOSIGNAL;
    nix::sys::socket::sendmsg::<()>(socket.as_raw_fd(), &vector, &control, flags, None)
        .during("pass a descriptor")?;
    Ok(())
}

/// Receives a descriptor, or `None` where the other end closes without sending one.
///
/// # Errors
/// None in practice.
pub fn receive_fd(socket: BorrowedFd<'_>) -> Result<Option<OwnedFd>> {
    let mut bytes = [0; 4096];
    let mut control = nix::cmsg_space!(RawFd);
    let mut vector = [IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message =
        nix::sys::socket::recvmsg::<()>(socket.as_raw_fd(), &mut vector, Some(&mut control), flags)
            .during("receive a descriptor")?;
    let passed = message.cmsgs().during("receive a descriptor")?.find_map(|m| match m {
        ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
        _ => None,
    });
    Ok(passed.map(sys::process::received))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_way() {
        let (one, other) = Channel::pair().unwrap();
        for message in [
            Message::Mapped,
            Message::Joined,
            Message::Hooks,
            Message::Ready,
            Message::Start,
            Message::Failed(127, "no".into()),
            Message::Pid(4711),
            Message::Listener(9),
        ] {
            one.send(&message).unwrap();
            assert_eq!(other.receive().unwrap(), Some(message));
        }
        drop(one);
        assert_eq!(other.receive().unwrap(), None);
        assert!(other.send(&Message::Ready).is_err());
    }

    #[test]
    fn descriptors_come_along() {
        let (one, other) = Channel::pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        one.send_with(&Message::Joined, &[file.into()]).unwrap();
        let (message, fds) = other.receive_with().unwrap();
        assert_eq!((message, fds.len()), (Some(Message::Joined), 1));
        one.send_with(&Message::Joined, &[]).unwrap();
        assert_eq!(other.receive_with().unwrap().0, Some(Message::Joined));
    }

    #[test]
    fn a_socket_may_be_deeper_than_an_address_is_long() {
        let base = tempfile::tempdir().unwrap();
        let deep = base.path().join("d".repeat(100)).join("e".repeat(100));
        std::fs::create_dir_all(&deep).unwrap();
        let directory = std::fs::File::open(&deep).unwrap();
        let listener = Listener::bind(directory.as_fd(), "s").unwrap();
        let ours = connect(directory.as_fd(), "s").unwrap();
        let theirs = listener.accept().unwrap();
        ours.send(&Message::Start).unwrap();
        assert_eq!(theirs.receive().unwrap(), Some(Message::Start));
    }
}
