//! What engines say to a name server: packets of JSON over a Unix socket that keeps their borders.
//!
//! The socket is in a directory that only root may enter, and the server looks at who connects
//! (unix(7), `SO_PEERCRED`). A client that does not read its answer loses it.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use corten_supervisor::poller::Registered;
use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, getsockopt, listen, socket, sockopt,
};
use serde::{Deserialize, Serialize};

use super::source::{Poller, Source};
use crate::error::{Context, Error, Result};

/// The longest packet of either side.
const LONGEST: usize = 192 << 10;

/// How many engines may be connected.
const MOST: usize = 32;

/// What an engine asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Endpoints have changed: answer when everybody who is attached is served.
    Changed,
    /// Say how things are.
    Status,
}

/// What is answered to either.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Report {
    /// The server's process.
    pub pid: i32,
    /// The containers that are served: the UDP and the TCP port on 127.0.0.11 in their namespaces.
    /// Only in the answer to [`Request::Status`].
    pub served: BTreeMap<String, (u16, u16)>,
    /// Those that cannot be, and why.
    pub failed: BTreeMap<String, String>,
    /// Networks whose servers have to serve containers of this one, which are in both.
    pub elsewhere: Vec<String>,
    /// Questions that were answered, and those that were sent to a resolver.
    pub answered: u64,
    /// Questions that were sent to a resolver.
    pub forwarded: u64,
    /// What waits for a resolver now.
    pub waiting: usize,
    /// Open TCP connections.
    pub streams: usize,
}

/// The listening socket, and the engines that are connected.
#[derive(Debug)]
pub(super) struct Control {
    listener: Registered<UnixListener>,
    engines: BTreeMap<u32, Registered<UnixStream>>,
    next: u32,
}

impl Control {
    /// Listens at `path`. What is there of a server that was killed is replaced.
    pub(super) fn listen(poller: &mut Poller, path: &Path) -> Result<Control> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let made = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)
            .during("make a control socket")?;
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::path("remove", path, error));
            }
            _ => {}
        }
        let address = UnixAddr::new(path).map_err(|e| Error::path("name", path, e.into()))?;
        bind(made.as_raw_fd(), &address).map_err(|e| Error::path("bind", path, e.into()))?;
        listen(&made, Backlog::new(16).during("listen")?).during("listen")?;
        let listener = Registered::new(
            poller,
            UnixListener::from(made),
            Source::Control,
            EpollFlags::EPOLLIN,
        )?;
        Ok(Control { listener, engines: BTreeMap::new(), next: 0 })
    }

    /// Takes in an engine that is connected already.
    pub(super) fn add(&mut self, poller: &mut Poller, engine: UnixStream) -> Result<()> {
        engine.set_nonblocking(true).during("take a connection")?;
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        let engine = Registered::new(poller, engine, Source::Engine(number), EpollFlags::EPOLLIN)?;
        self.engines.insert(number, engine);
        Ok(())
    }

    /// Somebody wants to come in.
    pub(super) fn accept(&mut self, poller: &mut Poller) -> Result<()> {
        // The kind of the sockets is no concern of accept4(2), which is all that is used of
        // the library's type.
        let Ok((engine, _)) = self.listener.fd.accept() else { return Ok(()) };
        let peer = getsockopt(&engine, sockopt::PeerCredentials);
        let own = nix::unistd::geteuid().as_raw();
        if peer.is_ok_and(|peer| peer.uid() == own || peer.uid() == 0) && self.engines.len() < MOST
        {
            self.add(poller, engine)?;
        }
        Ok(())
    }

    /// The next request of an engine; `None` where there is none now. One that has gone, or speaks
    /// nonsense, is let go.
    pub(super) fn request(&mut self, poller: &mut Poller, number: u32) -> Option<Request> {
        let engine = self.engines.get_mut(&number)?;
        let mut buffer = vec![0; LONGEST];
        match engine.fd.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Ok(length) if length > 0 => {
                if let Ok(request) = serde_json::from_slice(&buffer[..length]) {
                    return Some(request);
                }
            }
            _ => {}
        }
        self.end(poller, number);
        None
    }

    /// Answers an engine.
    pub(super) fn answer(&mut self, poller: &mut Poller, number: u32, report: &Report) {
        let Some(engine) = self.engines.get_mut(&number) else { return };
        let packet = serde_json::to_vec(report).unwrap_or_default();
        if engine.fd.write(&packet).is_err() {
            self.end(poller, number);
        }
    }

    fn end(&mut self, poller: &mut Poller, number: u32) {
        if let Some(engine) = self.engines.remove(&number) {
            engine.end(poller);
        }
    }
}

/// Asks over a connection, as an engine; `None` where the server has gone.
pub(super) fn ask(mut connection: &UnixStream, request: Request) -> io::Result<Option<Report>> {
    let packet = serde_json::to_vec(&request)?;
    let mut buffer = vec![0; LONGEST];
    let answer = connection.write(&packet).and_then(|_| connection.read(&mut buffer));
    match answer {
        Ok(0) => Ok(None),
        Ok(length) => Ok(serde_json::from_slice(&buffer[..length]).map(Some)?),
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Ok(None),
            _ => Err(error),
        },
    }
}

/// Connects to the server whose socket is at `path`; `None` where none listens.
pub(super) fn connect(path: &Path) -> Result<Option<UnixStream>> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let made = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)
        .during("make a control socket")?;
    let address = UnixAddr::new(path).map_err(|e| Error::path("name", path, e.into()))?;
    match nix::sys::socket::connect(made.as_raw_fd(), &address) {
        Ok(()) => Ok(Some(made.into())),
        Err(Errno::ENOENT | Errno::ECONNREFUSED) => Ok(None),
        Err(errno) => Err(Error::path("connect to", path, errno.into())),
    }
}
