//! A connection to a daemon: always one descriptor that is read and written, whatever lies behind it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, Shutdown, recv, shutdown};

use super::place::{Place, Ssh};
use super::tls;

/// How long a machine may take to answer at all.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a connection has ended, where whoever carries it knows.
pub(super) type Fate = Arc<Mutex<Option<String>>>;

/// A connection.
#[derive(Debug)]
pub(super) struct Wire {
    socket: File,
    fate: Fate,
}

impl Wire {
    fn of(socket: impl Into<OwnedFd>) -> Wire {
        Wire { socket: File::from(socket.into()), fate: Fate::default() }
    }

    // ANCHOR: dial
    /// Connects. TLS is spoken by a thread, ssh by a process; the connection is the other end of their
    /// socket. So it can be split, watched and handed on like any other.
    pub(super) fn dial(place: &Place, tls: Option<&tls::Client>) -> io::Result<Wire> {
        match place {
            Place::Unix(path) => UnixStream::connect(path).map(Wire::of),
            Place::Ssh(ssh) => by_ssh(ssh).map(Wire::of),
            Place::Tcp(..) => {
                let (host, port) = place.address(tls.is_some()).unwrap_or_default();
                let stream = by_tcp(host, port)?;
                let Some(tls) = tls else { return Ok(Wire::of(stream)) };
                let fate = Fate::default();
                let socket = tls.wrap(stream, host, Arc::clone(&fate))?;
                Ok(Wire { socket: File::from(OwnedFd::from(socket)), fate })
            }
        }
    }
    // ANCHOR_END: dial

    /// Another handle of the same connection.
    pub(super) fn try_clone(&self) -> io::Result<Wire> {
        Ok(Wire { socket: self.socket.try_clone()?, fate: Arc::clone(&self.fate) })
    }

    /// Ends it in one direction, or both.
    pub(super) fn shutdown(&self, how: Shutdown) {
        // What is not connected any more has ended already.
        let _ = shutdown(self.socket.as_raw_fd(), how);
    }

    /// Whether the daemon has neither said anything more nor left.
    pub(super) fn is_quiet(&self) -> bool {
        let mut fds = [PollFd::new(std::os::fd::AsFd::as_fd(&self.socket), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO) == Ok(0)
    }

    // ANCHOR: head
    /// What comes up to an empty line, and nothing beyond: what follows the head of an answer may be for
    /// somebody else, who is given the descriptor.
    pub(super) fn read_head(&mut self, limit: usize) -> io::Result<Vec<u8>> {
        const END: &[u8] = b"\r\n\r\n";
        let mut head: Vec<u8> = Vec::new();
        let mut piece = [0; 4096];
        loop {
            let seen = self.peek(&mut piece)?;
            if seen == 0 {
                return Err(self.ended());
            }
            let before = head.len();
            head.extend_from_slice(piece.get(..seen).unwrap_or_default());
            let from = before.saturating_sub(END.len() - 1);
            let found = head.get(from..).and_then(|part| part.windows(4).position(|w| w == END));
            if let Some(at) = found {
                head.truncate(from + at + END.len());
            }
            // What was only looked at is taken now, as far as it belongs to the head.
            let taken = head.len() - before;
            self.socket.read_exact(piece.get_mut(..taken).unwrap_or_default())?;
            if found.is_some() {
                return Ok(head);
            }
            if head.len() > limit {
                return Err(io::Error::other("the head of the answer is too long"));
            }
        }
    }
    // ANCHOR_END: head

    fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match recv(self.socket.as_raw_fd(), buffer, MsgFlags::MSG_PEEK) {
                Err(Errno::EINTR) => {}
                // It was closed with something of ours in it that nobody had read.
                Err(Errno::ECONNRESET) => return Err(self.ended()),
                other => return Ok(other?),
            }
        }
    }

    /// That the connection has ended, and why.
    fn ended(&self) -> io::Error {
        let fate = self.fate.lock().unwrap_or_else(PoisonError::into_inner);
        match &*fate {
            Some(why) => io::Error::other(why.clone()),
            None => io::Error::other("the connection was closed before there was an answer"),
        }
    }

    /// The descriptor.
    pub(super) fn into_fd(self) -> OwnedFd {
        self.socket.into()
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.socket.read(buffer)? {
            0 if !buffer.is_empty() => {
                let failed = self.fate.lock().is_ok_and(|fate| fate.is_some());
                if failed { Err(self.ended()) } else { Ok(0) }
            }
            length => Ok(length),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.socket.write(bytes) {
            Err(why) if why.kind() == io::ErrorKind::BrokenPipe => Err(self.ended()),
            other => other,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One address of the machine that answers.
fn by_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::other("the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                // Keys that are typed go one by one.
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

// ANCHOR: ssh
/// A process of ssh(1) whose input and output are a socket. Over there a command connects its own to the
/// daemon: Corten's where Corten is installed, docker's otherwise.
fn by_ssh(ssh: &Ssh) -> io::Result<UnixStream> {
    let (own, theirs) = UnixStream::pair()?;
    let at = ssh.path.as_ref().map_or_else(String::new, |path| format!("-H unix://{path} "));
    let dial = format!("{at}system dial-stdio");
    let over_there = format!(
        "if command -v corten >/dev/null 2>&1; then exec corten {dial}; else exec docker {dial}; fi"
    );
    let mut command = Command::new("ssh");
    // Nobody can be asked: ssh is in a group of its own, so that Ctrl-C is for the container.
    command.args(["-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=30"]).process_group(0);
    if let Some(user) = &ssh.user {
        command.args(["-l", user]);
    }
    if let Some(port) = ssh.port {
        command.args(["-p", &port.to_string()]);
    }
    command.args(["--", &ssh.host, &format!("sh -c '{over_there}'")]);
    let (input, output) = (OwnedFd::from(theirs.try_clone()?), OwnedFd::from(theirs));
    command.stdin(Stdio::from(input)).stdout(Stdio::from(output));
    // It ends when the connection does; whoever started us reaps it.
    command.spawn().map_err(|why| io::Error::new(why.kind(), format!("start ssh: {why}")))?;
    Ok(own)
}
// ANCHOR_END: ssh
