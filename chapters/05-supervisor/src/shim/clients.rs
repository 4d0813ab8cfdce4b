//! Those who are connected to the control socket: who may, what they ask, what they are told.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, getsockopt, socket,
    sockopt,
};

use super::Shim;
use super::source::Source;
use crate::error::{Context, Error, Result};
use crate::packet;
use crate::poller::Registered;
use crate::protocol::{
    self, Answer, Code, Envelope, Event, Failure, Message, Operation, Outcome, Request,
};
use crate::record::Phase;

/// A connection.
#[derive(Debug)]
pub(super) struct Client {
    socket: Registered<OwnedFd>,
    /// Whether it is told what happens.
    events: bool,
}

/// A request that is answered later.
#[derive(Debug)]
pub(super) struct Waiter {
    client: u32,
    id: u64,
    pub(super) wanted: Wanted,
}

/// What it is answered at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The container's end for good.
    End,
    /// Its next end.
    Next,
    /// The end of an exec.
    Exec(u32),
}

/// The most clients at one time: each costs a descriptor.
const MOST_CLIENTS: usize = 256;

/// The most requests of one client that wait for an answer at one time.
const MOST_WAITERS: usize = 64;

// ANCHOR: listen
/// The control socket, in a directory that only its owner can enter. It has a path and no abstract
/// name: such a name is in reach of every container with the host's network (CVE-2020-15257).
pub(super) fn listen(directory: &Path) -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let listener =
        socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).during("make a socket")?;
    // A path may be longer than an address, the way by a descriptor never is.
    let opened =
        std::fs::File::open(directory).map_err(|error| Error::path("open", directory, error))?;
    let path = directory.join(protocol::SOCKET);
    let short = format!("/proc/self/fd/{}/{}", opened.as_raw_fd(), protocol::SOCKET);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::path("remove", &path, error));
        }
        _ => {}
    }
    let on_path = |errno: Errno| Error::path("listen on", &path, errno.into());
    let address = UnixAddr::new(short.as_str()).map_err(on_path)?;
    bind(listener.as_raw_fd(), &address).map_err(on_path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
        .map_err(|error| Error::path("chmod", &path, error))?;
    let backlog = Backlog::new(64).map_err(on_path)?;
    nix::sys::socket::listen(&listener, backlog).map_err(on_path)?;
    Ok(listener)
}
// ANCHOR_END: listen

impl Shim {
    // ANCHOR: accept
    /// Lets the next client in, if it is root or the shim's own user.
    pub(super) fn accept_next(&mut self) {
        let Some(listener) = &self.listener else { return };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = match accept4(listener.fd.as_raw_fd(), flags) {
            // accept4(2) has made it for this call.
            Ok(number) => crate::sys::received(number),
            Err(Errno::EMFILE | Errno::ENFILE) => return self.refuse_next(),
            // Gone again.
            Err(_) => return,
        };
        let Ok(peer) = getsockopt(&socket, sockopt::PeerCredentials) else { return };
        let own = nix::unistd::geteuid().as_raw();
        if (peer.uid() != 0 && peer.uid() != own) || self.clients.len() >= MOST_CLIENTS {
            return;
        }
        // A client that cannot be waited for is none; the container must not suffer for it.
        let _ = self.accept(socket);
    }
    // ANCHOR_END: accept

    /// Takes the next client off the queue and sends it away, where there is no descriptor for it:
    /// while it stood there, the queue would wake us for ever. One descriptor is kept for this.
    fn refuse_next(&mut self) {
        self.spare = None;
        if let Some(listener) = &self.listener
            && let Ok(number) = accept4(listener.fd.as_raw_fd(), SockFlag::SOCK_CLOEXEC)
        {
            drop(crate::sys::received(number));
        }
        self.spare = super::stdio::null().ok();
    }

    pub(super) fn accept(&mut self, socket: OwnedFd) -> Result<()> {
        let number = self.next_client;
        self.next_client += 1;
        let source = Source::Client(number);
        let socket = Registered::new(&mut self.poller, socket, source, EpollFlags::EPOLLIN)?;
        self.clients.insert(number, Client { socket, events: false });
        Ok(())
    }

    /// A client has sent something, or is gone.
    pub(super) fn hear(&mut self, number: u32) {
        let Some(client) = self.clients.get(&number) else { return };
        let content = match packet::receive(client.socket.fd.as_fd()) {
            Ok(Some((content, _))) => content,
            Err(error) if error.errno() == Some(Errno::EAGAIN) => return,
            Ok(None) | Err(_) => {
                self.forget(number);
                return;
            }
        };
        match corten_runtime::json::parse::<Request>(&String::from_utf8_lossy(&content)) {
            Ok(request) => self.handle(number, request),
            Err(error) => {
                let envelope: std::result::Result<Envelope, _> = serde_json::from_slice(&content);
                let message = format!("no request of version {}: {error}", protocol::VERSION);
                // What is known is of this version and must be whole.
                let known = envelope.as_ref().is_ok_and(Envelope::is_known);
                let code = if known { Code::Invalid } else { Code::Unknown };
                let failure = Failure { code, message, status: None };
                let id = envelope.map_or(0, |envelope| envelope.id);
                self.send(number, &Message::Answer(failed(id, failure)), None);
            }
        }
    }

    fn forget(&mut self, number: u32) {
        self.waiters.retain(|waiter| waiter.client != number);
        if let Some(client) = self.clients.remove(&number) {
            client.socket.end(&mut self.poller);
        }
        // Whoever wanted to start it has died.
        if self.phase == Phase::Created && self.clients.is_empty() && self.ending.is_none() {
            self.done = true;
        }
        if self.settings.leashed && self.clients.is_empty() {
            self.kill_all();
        }
    }

    fn handle(&mut self, number: u32, request: Request) {
        let id = request.id;
        let mut descriptor = None;
        let outcome = match self.perform(number, id, request.operation, &mut descriptor) {
            Ok(Some(outcome)) => Answer { id, ok: Some(outcome), error: None },
            // Later.
            Ok(None) => return,
            Err(error) => failed(id, error.failure()),
        };
        self.send(number, &Message::Answer(outcome), descriptor.as_ref());
    }

    // ANCHOR: perform
    /// Does what is asked; `None` where it is answered later.
    fn perform(
        &mut self,
        client: u32,
        id: u64,
        operation: Operation,
        descriptor: &mut Option<OwnedFd>,
    ) -> Result<Option<Outcome>> {
        let wait = |wanted| Waiter { client, id, wanted };
        if self.waiters.iter().filter(|waiter| waiter.client == client).count() >= MOST_WAITERS {
            return Err(Error::invalid("this client", "waits for too many answers at one time"));
        }
        match operation {
            Operation::Start if self.phase != Phase::Created => {
                return Err(Error::State { operation: "start", state: "was started already" });
            }
            Operation::Start => {
                let started = self.start();
                if started.is_err() {
                    // That is its end, and written before it is told.
                    self.finish_ending();
                }
                return started.map(|pid| Some(Outcome::Started(pid)));
            }
            Operation::Status => return Ok(Some(Outcome::Status(Box::new(self.status())))),
            Operation::Attach(attach) => {
                *descriptor = Some(self.stdio.attach(attach, &mut self.poller)?);
                return Ok(Some(Outcome::Streams));
            }
            Operation::Resize { rows, columns, exec } => self.resize(rows, columns, exec)?,
            Operation::Signal { number, all } => self.signal(number, all)?,
            Operation::Stop { signal, timeout } => {
                // Before: stopping may end it at once.
                self.waiters.push(wait(Wanted::End));
                if let Err(error) = self.stop(signal, timeout) {
                    self.waiters.retain(|waiter| (waiter.client, waiter.id) != (client, id));
                    return Err(error);
                }
                return Ok(None);
            }
            Operation::Wait { next } => {
                self.waiters.push(wait(if next { Wanted::Next } else { Wanted::End }));
                return Ok(None);
            }
            Operation::Pause => self.pause()?,
            Operation::Resume => self.resume()?,
            Operation::Update(resources) => self.update(&resources)?,
            Operation::Policy(policy) => self.set_policy(policy),
            Operation::Exec(exec) => return self.exec(*exec, descriptor).map(Some),
            Operation::WaitExec { exec } => match self.exec_status(exec)? {
                Some(status) => return Ok(Some(Outcome::ExecStatus(status))),
                None => {
                    self.waiters.push(wait(Wanted::Exec(exec)));
                    return Ok(None);
                }
            },
            Operation::Events => {
                if let Some(client) = self.clients.get_mut(&client) {
                    client.events = true;
                }
            }
        }
        Ok(Some(Outcome::Done))
    }
    // ANCHOR_END: perform

    fn resize(&mut self, rows: u16, columns: u16, exec: Option<u32>) -> Result<()> {
        match exec {
            None => self.stdio.resize(rows, columns),
            Some(number) => self.session(number)?.stdio.resize(rows, columns),
        }
    }

    /// Tells all who want to know.
    pub(super) fn tell(&mut self, event: &Event) {
        // Once the next shim may be there, the directory is its own.
        if self.lock.is_some() {
            // Without the file it is asked.
            let _ = self.status().write(&self.directory);
        }
        self.note(event);
        let listening: Vec<u32> =
            self.clients.iter().filter(|(_, client)| client.events).map(|(n, _)| *n).collect();
        for number in listening {
            self.send(number, &Message::Event(event.clone()), None);
        }
    }

    /// Answers those who wait for what has happened.
    pub(super) fn answer_waiters(&mut self, outcome: &Outcome, which: impl Fn(&Wanted) -> bool) {
        let waiters = std::mem::take(&mut self.waiters);
        let (answered, left) = waiters.into_iter().partition(|waiter| which(&waiter.wanted));
        self.waiters = left;
        for Waiter { client, id, .. } in answered {
            let answer = Answer { id, ok: Some(outcome.clone()), error: None };
            self.send(client, &Message::Answer(answer), None);
        }
    }

    /// Sends to one client. One that does not read what it has asked for is dropped, as is one that
    /// is gone.
    fn send(&mut self, number: u32, message: &Message, descriptor: Option<&OwnedFd>) {
        let Some(client) = self.clients.get(&number) else { return };
        let Ok(content) = serde_json::to_vec(message) else { return };
        let fd = descriptor.map(AsFd::as_fd);
        if packet::send(client.socket.fd.as_fd(), &content, fd).is_err() {
            self.forget(number);
        }
    }
}

fn failed(id: u64, failure: Failure) -> Answer {
    Answer { id, ok: None, error: Some(failure) }
}
