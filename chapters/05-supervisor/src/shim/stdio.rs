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
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag};
use nix::sys::epoll::EpollFlags;

use super::attached::{Client, header};
use super::source::{Channel, Poller, Source, Streams};
use crate::detach::Scanned;
use crate::error::{Context, Result};
use crate::poller::Registered;
use crate::protocol::Attach;

/// So much is read at once: what a pipe holds.
pub(super) const CHUNK: usize = 64 << 10;

/// The most clients at one time: each costs a descriptor.
const MOST_CLIENTS: usize = 128;

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
    /// Whether there will be a program that takes input, and is none yet.
    early: bool,
    terminal: bool,
    /// Whether input ends with the first client that ends it.
    input_once: bool,
    /// Whether a client has ended it.
    input_ended: bool,
    clients: BTreeMap<u32, Client>,
    next: u32,
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
        if stdin {
            let second = master.try_clone().during("copy a descriptor")?;
            stdio.accept_input(second, poller)?;
        }
        stdio.watch(Channel::Stdout, master, poller)?;
        Ok(stdio)
    }

    /// No streams yet. Clients that come before the program wait for it, as what they write does.
    pub(super) fn before(whose: Streams, stdin: bool) -> Stdio {
        Stdio { early: stdin, ..Stdio::new(whose, false) }
    }

    /// No streams at all: the program has ended, or has none.
    pub(super) fn closed(whose: Streams) -> Stdio {
        Stdio::new(whose, false)
    }

    fn new(whose: Streams, terminal: bool) -> Stdio {
        Stdio {
            whose,
            output: BTreeMap::new(),
            input: None,
            pending: Vec::new(),
            early: false,
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

    /// Takes over the clients of the program before this one, and what they have written before
    /// there was one.
    pub(super) fn inherit(&mut self, before: Stdio, poller: &mut Poller) {
        self.clients = before.clients;
        self.next = before.next;
        if before.early {
            self.pending = before.pending;
            self.input_ended = before.input_ended;
        }
        for output in before.output.into_values() {
            output.end(poller);
        }
        if let Some(input) = before.input {
            input.end(poller);
        }
        if self.input.is_none() {
            self.pending.clear();
        }
        self.feed_pending(poller);
        self.arm_clients(poller);
        self.arm_output(poller);
    }

    /// A new client; gives its end of the streams.
    pub(super) fn attach(&mut self, attach: Attach, poller: &mut Poller) -> Result<OwnedFd> {
        if self.clients.len() >= MOST_CLIENTS {
            return Err(crate::Error::invalid("attach", "has too many clients at one time"));
        }
        let number = self.next;
        let source = Source::Attached(self.whose, number);
        let (client, theirs) = Client::new(attach, source, poller)?;
        self.next += 1;
        client.arm(self.has_room(), poller);
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
        let room = self.has_room();
        let mut leaving = Vec::new();
        for (number, client) in &mut self.clients {
            let wanted = match channel {
                Channel::Stdout => client.attach.stdout,
                Channel::Stderr => client.attach.stderr,
            };
            if wanted && !client.take(header, bytes) {
                leaving.push(*number);
            }
            if !client.behind.is_empty() {
                client.arm(room, poller);
            }
        }
        if self.is_held() {
            self.arm_output(poller);
        }
        leaving.into_iter().for_each(|number| self.drop_client(number, poller));
    }

    /// Output is waited for unless a client is behind.
    fn arm_output(&self, poller: &Poller) {
        let held = self.is_held();
        let interest = if held { EpollFlags::empty() } else { EpollFlags::EPOLLIN };
        for output in self.output.values() {
            let _ = output.interest(poller, interest);
        }
    }

    /// Whether more input can be taken in.
    fn has_room(&self) -> bool {
        self.pending.is_empty()
    }

    fn arm_clients(&self, poller: &Poller) {
        self.clients.values().for_each(|client| client.arm(self.has_room(), poller));
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
        if !client.catch_up() {
            return self.drop_client(number, poller);
        }
        let room = self.pending.is_empty();
        client.arm(room, poller);
        self.arm_output(poller);
    }

    /// The program has ended: clients that are waited for get room for the rest of its output.
    pub(super) fn make_room(&mut self, poller: &mut Poller) {
        let waited: Vec<u32> =
            self.clients.iter().filter(|(_, c)| c.attach.wait).map(|(n, _)| *n).collect();
        for number in waited {
            if let Some(client) = self.clients.get_mut(&number)
                && !client.make_room()
            {
                self.drop_client(number, poller);
            }
        }
        self.arm_clients(poller);
        self.arm_output(poller);
    }

    fn read_input(&mut self, number: u32, ready: EpollFlags, poller: &mut Poller) {
        let hung_up = ready.contains(EpollFlags::EPOLLHUP);
        loop {
            // Full: the client waits, but for one that is gone, of whom no more will come.
            if !self.has_room() && !hung_up {
                return;
            }
            let Some(client) = self.clients.get_mut(&number) else { return };
            let mut buffer = [0; INPUT];
            match nix::unistd::read(&client.socket.fd, &mut buffer) {
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => {}
                Ok(0) => self.end_of_input(number, ready, poller),
                Ok(length) => {
                    let wants = client.attach.stdin;
                    let typed = client.keys.scan(buffer.get(..length).unwrap_or_default());
                    let (Scanned::Input(input) | Scanned::Detach(input)) = &typed;
                    if wants {
                        self.feed(input, poller);
                    }
                    if matches!(typed, Scanned::Detach(_)) {
                        self.drop_client(number, poller);
                    }
                    if hung_up {
                        continue;
                    }
                }
                Err(_) => self.drop_client(number, poller),
            }
            return;
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
        client.arm(false, poller);
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
        if self.input.is_none() && !self.early {
            return;
        }
        self.pending.extend_from_slice(bytes);
        self.feed_pending(poller);
        if !self.has_room() {
            self.arm_clients(poller);
        }
    }

    /// The program takes input again, or will take none any more.
    pub(super) fn input_ready(&mut self, ready: EpollFlags, poller: &mut Poller) {
        if ready.contains(EpollFlags::EPOLLOUT) {
            self.feed_pending(poller);
        } else {
            self.pending.clear();
            self.close_input(poller);
        }
        self.arm_clients(poller);
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
        let interest = if full { EpollFlags::EPOLLOUT } else { EpollFlags::empty() };
        let _ = input.interest(poller, interest);
        self.close_ended_input(poller);
    }

    fn drop_client(&mut self, number: u32, poller: &mut Poller) {
        let Some(client) = self.clients.remove(&number) else { return };
        client.socket.end(poller);
        self.arm_output(poller);
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

    /// Whose streams they are.
    pub(super) fn whose(&self) -> Streams {
        self.whose
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

pub(super) fn null() -> Result<OwnedFd> {
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
    let mode = nix::sys::stat::Mode::empty();
    nix::fcntl::open("/dev/null", flags, mode).during("open /dev/null")
}

pub(super) fn non_blocking(fd: &OwnedFd) -> Result<()> {
    let flags = nix::fcntl::fcntl(fd, FcntlArg::F_GETFL).during("make a stream non-blocking")?;
    let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
    nix::fcntl::fcntl(fd, FcntlArg::F_SETFL(flags)).during("make a stream non-blocking").map(drop)
}
