//! A program's standard streams, the clients that are attached to them, and the log.
//!
//! ```text
//!            ┌── pipe or terminal ──▶ log
//! program ───┤                  ├───▶ client 1   its socket's buffer is the bound
//!            └◀── pipe ◀── input ◀──── client 2
//! ```
//!
//! Nothing here waits. Output is read once, written to the log, and offered to each client: what a
//! client's socket does not take at once is either too much, and the client is dropped, or, where
//! the client asked for it, reason to read no more until the client has caught up.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag};
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, sendmsg, setsockopt, socketpair, sockopt,
};

use super::poller::{Channel, Poller, Registered, Source, Streams};
use crate::detach::{Scanned, Scanner};
use crate::error::{Context, Result};
use crate::protocol::Attach;

/// So much is read at once: what a pipe holds.
pub(super) const CHUNK: usize = 64 << 10;

/// So much a client may be behind: kernel memory, given out as it is needed.
const BEHIND: usize = 16 << 20;

/// So much input is read at once.
const INPUT: usize = 4 << 10;

/// The streams of one program.
#[derive(Debug)]
pub(super) struct Stdio {
    whose: Streams,
    output: BTreeMap<Channel, Registered<OwnedFd>>,
    /// Where input goes; of a terminal, a second descriptor of its master.
    input: Option<Registered<OwnedFd>>,
    /// Input that the program has not taken yet.
    pending: Vec<u8>,
    terminal: bool,
    /// Whether input ends with the first client that ends it.
    input_once: bool,
    /// Whether a client has ended it.
    input_ended: bool,
    clients: BTreeMap<u32, Client>,
    next: u32,
}

/// One attached client.
#[derive(Debug)]
struct Client {
    socket: Registered<OwnedFd>,
    attach: Attach,
    keys: Scanner,
    /// What it has not taken yet; only where it is waited for.
    behind: Vec<u8>,
    /// Whether it may still write.
    writes: bool,
}

/// The program's ends of its streams.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

impl Stdio {
    /// Pipes, and the program's ends of them. Without `stdin` its input is empty.
    pub(super) fn pipes(whose: Streams, stdin: bool, poller: &mut Poller) -> Result<(Stdio, Ends)> {
        let pipe = || nix::unistd::pipe2(OFlag::O_CLOEXEC).during("make a pipe");
        let ((out, stdout), (err, stderr)) = (pipe()?, pipe()?);
        let mut stdio = Stdio::new(whose, false);
        stdio.watch(Channel::Stdout, out, poller)?;
        stdio.watch(Channel::Stderr, err, poller)?;
        let stdin = if stdin {
            let (stdin, write) = pipe()?;
            stdio.accept_input(write, poller)?;
            stdin
        } else {
            null()?
        };
        Ok((stdio, Ends { stdin, stdout, stderr }))
    }

    /// A terminal, by its master.
    pub(super) fn terminal(
        whose: Streams,
        master: OwnedFd,
        stdin: bool,
        poller: &mut Poller,
    ) -> Result<Stdio> {
        let mut stdio = Stdio::new(whose, true);
        // Also without clients that write: it gives the size.
        let second = master.try_clone().during("copy a descriptor")?;
        if stdin {
            stdio.accept_input(second, poller)?;
        }
        stdio.watch(Channel::Stdout, master, poller)?;
        Ok(stdio)
    }

    /// No streams at all: the program has ended, or has not begun.
    pub(super) fn closed(whose: Streams) -> Stdio {
        Stdio::new(whose, false)
    }

    fn new(whose: Streams, terminal: bool) -> Stdio {
        Stdio {
            whose,
            output: BTreeMap::new(),
            input: None,
            pending: Vec::new(),
            terminal,
            input_once: false,
            input_ended: false,
            clients: BTreeMap::new(),
            next: 0,
        }
    }

    fn watch(&mut self, channel: Channel, fd: OwnedFd, poller: &mut Poller) -> Result<()> {
        non_blocking(&fd)?;
        let source = Source::Output(self.whose, channel);
        let registered = Registered::new(poller, fd, source, EpollFlags::EPOLLIN)?;
        self.output.insert(channel, registered);
        Ok(())
    }

    fn accept_input(&mut self, fd: OwnedFd, poller: &mut Poller) -> Result<()> {
        non_blocking(&fd)?;
        let source = Source::Input(self.whose);
        self.input = Some(Registered::new(poller, fd, source, EpollFlags::EPOLLONESHOT)?);
        Ok(())
    }

    /// Input ends with the first client that ends it (Docker's StdinOnce).
    pub(super) fn end_input_once(&mut self) {
        self.input_once = true;
    }

    /// Takes over the clients of the program before this one.
    pub(super) fn inherit(&mut self, before: Stdio, poller: &mut Poller) {
        self.clients = before.clients;
        self.next = before.next;
        for output in before.output.into_values() {
            output.end(poller);
        }
        if let Some(input) = before.input {
            input.end(poller);
        }
    }

    /// A new client; gives its end of the streams.
    pub(super) fn attach(&mut self, attach: Attach, poller: &mut Poller) -> Result<OwnedFd> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::Stream, None, flags)
            .during("make a socket pair")?;
        non_blocking(&ours)?;
        // Without the right to exceed the limit: as much as it allows.
        if setsockopt(&ours, sockopt::SndBufForce, &BEHIND).is_err() {
            let _ = setsockopt(&ours, sockopt::SndBuf, &BEHIND);
        }
        let number = self.next;
        self.next += 1;
        let source = Source::Attached(self.whose, number);
        let socket = Registered::new(poller, ours, source, EpollFlags::EPOLLIN)?;
        let keys = Scanner::new(attach.detach_keys.clone());
        let client = Client { socket, attach, keys, behind: Vec::new(), writes: true };
        self.clients.insert(number, client);
        Ok(theirs)
    }

    // ANCHOR: output
    /// Reads what the program has written into `buffer`, once, and offers it to all clients. Gives
    /// how much it was; `None` where the stream is at its end or there is nothing to read.
    pub(super) fn read(
        &mut self,
        channel: Channel,
        buffer: &mut [u8],
        poller: &mut Poller,
    ) -> Option<usize> {
        if self.is_held() {
            return None;
        }
        let output = self.output.get(&channel)?;
        match nix::unistd::read(&output.fd, buffer) {
            Ok(length) if length > 0 => {
                let bytes = buffer.get(..length)?;
                self.offer(channel, bytes, poller);
                Some(length)
            }
            Err(Errno::EAGAIN | Errno::EINTR) => None,
            // A terminal says EIO when nobody has its other end open any more.
            Ok(_) | Err(_) => {
                if let Some(output) = self.output.remove(&channel) {
                    output.end(poller);
                }
                None
            }
        }
    }
    // ANCHOR_END: output

    fn offer(&mut self, channel: Channel, bytes: &[u8], poller: &mut Poller) {
        let header = header(channel, bytes.len());
        let header = if self.terminal { &[][..] } else { &header };
        let mut leaving = Vec::new();
        for (number, client) in &mut self.clients {
            let wanted = match channel {
                Channel::Stdout => client.attach.stdout,
                Channel::Stderr => client.attach.stderr,
            };
            if wanted && !client.take(header, bytes, poller) {
                leaving.push(*number);
            }
        }
        if self.is_held() {
            self.listen(false, poller);
        }
        leaving.into_iter().for_each(|number| self.drop_client(number, poller));
    }

    /// Whether output is waited for.
    fn listen(&self, on: bool, poller: &Poller) {
        let interest = if on { EpollFlags::EPOLLIN } else { EpollFlags::empty() };
        for output in self.output.values() {
            let _ = output.interest(poller, interest);
        }
    }

    /// A client's socket is ready.
    pub(super) fn serve(&mut self, number: u32, ready: EpollFlags, poller: &mut Poller) {
        if ready.contains(EpollFlags::EPOLLOUT) {
            self.catch_up(number, poller);
        }
        if ready.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) {
            self.read_input(number, ready, poller);
        }
    }

    fn catch_up(&mut self, number: u32, poller: &mut Poller) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        let sent = send(client.socket.fd.as_fd(), &[], &client.behind);
        match sent {
            Some(sent) => drop(client.behind.drain(..sent)),
            None => return self.drop_client(number, poller),
        }
        if client.behind.is_empty() {
            client.behind = Vec::new();
            let interest = if client.writes { EpollFlags::EPOLLIN } else { EpollFlags::empty() };
            let _ = client.socket.interest(poller, interest);
            if !self.is_held() {
                self.listen(true, poller);
            }
        }
    }

    fn read_input(&mut self, number: u32, ready: EpollFlags, poller: &mut Poller) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        let mut buffer = [0; INPUT];
        // Full: the client waits, and so does its socket.
        if !self.pending.is_empty() && !ready.intersects(EpollFlags::EPOLLHUP) {
            return;
        }
        match nix::unistd::read(&client.socket.fd, &mut buffer) {
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Ok(length) if length > 0 => {
                let typed = buffer.get(..length).unwrap_or_default();
                let wants = client.attach.stdin;
                match client.keys.scan(typed) {
                    Scanned::Input(input) if wants => self.feed(&input, poller),
                    Scanned::Input(_) => {}
                    Scanned::Detach(input) => {
                        if wants {
                            self.feed(&input, poller);
                        }
                        self.drop_client(number, poller);
                    }
                }
            }
            Ok(_) => self.end_of_input(number, ready, poller),
            Err(_) => self.drop_client(number, poller),
        }
    }

    /// A client has closed its direction, or all.
    fn end_of_input(&mut self, number: u32, ready: EpollFlags, poller: &mut Poller) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        if ready.contains(EpollFlags::EPOLLHUP) {
            return self.drop_client(number, poller);
        }
        self.input_ended |= client.attach.stdin && client.writes;
        client.writes = false;
        let mut interest = EpollFlags::empty();
        interest.set(EpollFlags::EPOLLOUT, !client.behind.is_empty());
        let _ = client.socket.interest(poller, interest);
        self.close_ended_input(poller);
    }

    /// Closes the input that a client has ended, when all of it is taken. A terminal has a key for
    /// that.
    fn close_ended_input(&mut self, poller: &mut Poller) {
        if self.input_ended && self.input_once && !self.terminal && self.pending.is_empty() {
            self.close_input(poller);
        }
    }

    fn close_input(&mut self, poller: &mut Poller) {
        if let Some(input) = self.input.take() {
            input.end(poller);
        }
    }

    /// Gives input to the program; what it does not take waits.
    fn feed(&mut self, bytes: &[u8], poller: &mut Poller) {
        if self.input.is_none() {
            return;
        }
        self.pending.extend_from_slice(bytes);
        self.feed_pending(poller);
    }

    /// The program takes input again, or will take none any more.
    pub(super) fn input_ready(&mut self, ready: EpollFlags, poller: &mut Poller) {
        if ready.contains(EpollFlags::EPOLLOUT) {
            self.feed_pending(poller);
        } else {
            self.pending.clear();
            self.close_input(poller);
        }
    }

    fn feed_pending(&mut self, poller: &mut Poller) {
        let Some(input) = &self.input else { return };
        while !self.pending.is_empty() {
            match nix::unistd::write(&input.fd, &self.pending) {
                Ok(written) => drop(self.pending.drain(..written)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                // Nobody reads it any more.
                Err(_) => {
                    self.pending.clear();
                    return self.close_input(poller);
                }
            }
        }
        let full = !self.pending.is_empty();
        let _ =
            input.interest(poller, if full { EpollFlags::EPOLLOUT } else { EpollFlags::empty() });
        self.listen_to_clients(!full, poller);
        self.close_ended_input(poller);
    }

    /// Whether input of clients is waited for.
    fn listen_to_clients(&self, on: bool, poller: &Poller) {
        for client in self.clients.values().filter(|client| client.writes) {
            let mut interest = EpollFlags::empty();
            interest.set(EpollFlags::EPOLLIN, on);
            interest.set(EpollFlags::EPOLLOUT, !client.behind.is_empty());
            let _ = client.socket.interest(poller, interest);
        }
    }

    fn drop_client(&mut self, number: u32, poller: &mut Poller) {
        let Some(client) = self.clients.remove(&number) else { return };
        let held = !client.behind.is_empty();
        client.socket.end(poller);
        if held && !self.is_held() {
            self.listen(true, poller);
        }
        self.input_ended |= client.attach.stdin && client.writes;
        self.close_ended_input(poller);
    }

    /// Sets the terminal's size.
    pub(super) fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        let master = self.output.get(&Channel::Stdout).filter(|_| self.terminal);
        let Some(master) = master else {
            let (operation, state) = ("resize", "has no terminal");
            return Err(crate::error::Error::State { operation, state });
        };
        let set = corten_namespaces::sys::tty::set_size(master.fd.as_raw_fd(), rows, columns);
        set.during("set the size of the terminal")
    }

    /// Whether the program has a terminal.
    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether any output can still come.
    pub(super) fn is_open(&self) -> bool {
        !self.output.is_empty()
    }

    /// The channels that are open.
    pub(super) fn channels(&self) -> Vec<Channel> {
        self.output.keys().copied().collect()
    }

    /// Whether a client is behind for whom the program waits.
    pub(super) fn is_held(&self) -> bool {
        self.clients.values().any(|client| !client.behind.is_empty())
    }

    /// Closes everything.
    pub(super) fn end(self, poller: &mut Poller) {
        for output in self.output.into_values() {
            output.end(poller);
        }
        if let Some(input) = self.input {
            input.end(poller);
        }
        for client in self.clients.into_values() {
            client.socket.end(poller);
        }
    }
}

impl Client {
    /// Offers output; tells whether the client stays.
    fn take(&mut self, header: &[u8], bytes: &[u8], poller: &Poller) -> bool {
        let Some(sent) = send(self.socket.fd.as_fd(), header, bytes) else { return false };
        if sent == header.len() + bytes.len() {
            return true;
        }
        if !self.attach.wait {
            return false;
        }
        let rest = [header, bytes].concat();
        self.behind.extend(rest.get(sent..).unwrap_or_default());
        let mut interest = EpollFlags::EPOLLOUT;
        interest.set(EpollFlags::EPOLLIN, self.writes);
        self.socket.interest(poller, interest).is_ok()
    }
}

/// Docker's frame around a piece of output (Engine API, ContainerAttach): the stream, three zeroes,
/// the length.
fn header(channel: Channel, length: usize) -> [u8; 8] {
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

pub(super) fn null() -> Result<OwnedFd> {
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
    let mode = nix::sys::stat::Mode::empty();
    nix::fcntl::open("/dev/null", flags, mode).during("open /dev/null")
}

fn non_blocking(fd: &OwnedFd) -> Result<()> {
    let flags = nix::fcntl::fcntl(fd, FcntlArg::F_GETFL).during("make a stream non-blocking")?;
    let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
    nix::fcntl::fcntl(fd, FcntlArg::F_SETFL(flags)).during("make a stream non-blocking").map(drop)
}
