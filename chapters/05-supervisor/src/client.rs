//! The other end of a supervisor's control socket, for engines and command lines: plain calls that
//! wait for their answers.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

use crate::error::{Context, Error, Result};
use crate::packet;
use crate::protocol::{
    Answer, Attach, Event, Exec, Message, Operation, Outcome, Request, SOCKET, VERSION,
};
use crate::record::{Exit, Status};

/// A connection to one supervisor.
#[derive(Debug)]
pub struct Client {
    socket: OwnedFd,
    id: String,
    /// Where a supervisor that we have started says what it can tell nobody.
    errors: Option<PathBuf>,
    next: u64,
    events: VecDeque<Event>,
    /// Requests that are not answered yet, or whose answer nobody has taken.
    asked: BTreeMap<u64, Option<(Answer, Option<OwnedFd>)>>,
}

/// A request that is on its way.
#[derive(Debug)]
pub struct Asked(u64);

impl Client {
    /// Connects to the supervisor in `directory`, of the container `id`.
    ///
    /// # Errors
    /// [`Error::NoSupervisor`] where there is none, or it has died.
    pub fn connect(directory: &Path, id: &str) -> Result<Client> {
        let none = || Error::NoSupervisor { id: id.to_owned() };
        let opened = match std::fs::File::open(directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(none()),
            other => other.map_err(|error| Error::path("open", directory, error))?,
        };
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)
            .during("make a socket")?;
        let short = format!("/proc/self/fd/{}/{SOCKET}", opened.as_raw_fd());
        let path = directory.join(SOCKET);
        let address = UnixAddr::new(short.as_str())
            .map_err(|e| Error::path("connect to", &path, e.into()))?;
        match connect(socket.as_raw_fd(), &address) {
            Ok(()) => Ok(Client::over(socket, id)),
            Err(Errno::ENOENT | Errno::ECONNREFUSED) => Err(none()),
            Err(errno) => Err(Error::path("connect to", &path, errno.into())),
        }
    }

    /// Talks over a socket that is connected already.
    pub fn over(socket: OwnedFd, id: &str) -> Client {
        Client {
            socket,
            id: id.to_owned(),
            errors: None,
            next: 1,
            events: VecDeque::new(),
            asked: BTreeMap::new(),
        }
    }

    /// Where the supervisor writes what it can tell nobody: in the error, where it goes away.
    #[must_use]
    pub fn with_errors(mut self, errors: PathBuf) -> Client {
        self.errors = Some(errors);
        self
    }

    /// The container's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    // ANCHOR: call
    /// Asks, and waits for the answer. Events that come before it are kept.
    ///
    /// # Errors
    /// [`Error::Refused`]; [`Error::Gone`] where the supervisor ends meanwhile.
    pub fn call(&mut self, operation: Operation) -> Result<(Outcome, Option<OwnedFd>)> {
        let asked = self.ask(operation)?;
        self.answer(asked)
    }

    /// Asks; the answer is for later.
    ///
    /// # Errors
    /// [`Error::Gone`].
    pub fn ask(&mut self, operation: Operation) -> Result<Asked> {
        let id = self.next;
        self.next += 1;
        self.send(id, operation)?;
        self.asked.insert(id, None);
        Ok(Asked(id))
    }

    /// Waits for an answer.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn answer(&mut self, asked: Asked) -> Result<(Outcome, Option<OwnedFd>)> {
        loop {
            if let Some(Some((answer, fd))) = self.asked.get_mut(&asked.0).map(Option::take) {
                self.asked.remove(&asked.0);
                return match (answer.ok, answer.error) {
                    (Some(outcome), _) => Ok((outcome, fd)),
                    (None, Some(failure)) => Err(Error::Refused(failure)),
                    (None, None) => Ok((Outcome::Done, fd)),
                };
            }
            self.take_next()?;
        }
    }

    /// Whether the answer is there: does not wait.
    ///
    /// # Errors
    /// A packet that cannot be understood.
    pub fn is_answered(&mut self, asked: &Asked) -> Result<bool> {
        loop {
            if self.asked.get(&asked.0).is_some_and(Option::is_some) {
                return Ok(true);
            }
            let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, PollTimeout::ZERO).during("look for an answer")? == 0 {
                return Ok(false);
            }
            match self.take_next() {
                Err(Error::Gone { .. }) => return Ok(false),
                other => other?,
            }
        }
    }

    /// Takes in one packet.
    fn take_next(&mut self) -> Result<()> {
        match self.receive()? {
            (Message::Event(event), _) => self.events.push_back(event),
            (Message::Answer(answer), fd) => {
                // One that nobody waits for any more is let go.
                if let Some(slot) = self.asked.get_mut(&answer.id) {
                    *slot = Some((answer, fd));
                }
            }
        }
        Ok(())
    }
    // ANCHOR_END: call

    fn send(&self, id: u64, operation: Operation) -> Result<()> {
        let request = Request { v: VERSION, id, operation };
        let content = serde_json::to_vec(&request).map_err(Error::Packet)?;
        match packet::send(self.socket.as_fd(), &content, None) {
            // It was let in and not heard any more.
            Err(error) if matches!(error.errno(), Some(Errno::EPIPE | Errno::ECONNRESET)) => {
                Err(self.gone())
            }
            other => other,
        }
    }

    fn receive(&self) -> Result<(Message, Option<OwnedFd>)> {
        let (content, fd) = packet::receive(self.socket.as_fd())?.ok_or_else(|| self.gone())?;
        let text = String::from_utf8_lossy(&content);
        Ok((corten_runtime::json::parse(&text).map_err(Error::Packet)?, fd))
    }

    fn gone(&self) -> Error {
        let said = self.errors.as_ref().and_then(|path| std::fs::read_to_string(path).ok());
        let last = said.as_deref().unwrap_or_default().trim_end().lines().last();
        let why = last.map(|line| format!(": {line}")).unwrap_or_default();
        Error::Gone { id: self.id.clone(), why }
    }

    /// The next event; `None` where there will be no more. Ask for [`Operation::Events`] first.
    ///
    /// # Errors
    /// A packet that cannot be understood.
    pub fn next_event(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            match self.take_next() {
                Err(Error::Gone { .. }) => return Ok(None),
                other => other?,
            }
        }
    }

    /// Starts the container's program; gives its number.
    ///
    /// # Errors
    /// What keeps it from running.
    pub fn start(&mut self) -> Result<i32> {
        match self.call(Operation::Start)? {
            (Outcome::Started(pid), _) => Ok(pid),
            other => Err(unexpected(&other.0)),
        }
    }

    /// What the container is doing.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn status(&mut self) -> Result<Status> {
        match self.call(Operation::Status)? {
            (Outcome::Status(status), _) => Ok(*status),
            other => Err(unexpected(&other.0)),
        }
    }

    /// Streams of the container: a stream socket. What is written to it is input, its direction
    /// closed is the input's end.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn attach(&mut self, attach: Attach) -> Result<OwnedFd> {
        match self.call(Operation::Attach(attach))? {
            (Outcome::Streams, Some(fd)) => Ok(fd),
            other => Err(unexpected(&other.0)),
        }
    }

    /// Waits for the container's end for good, or for its next end.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn wait(&mut self, next: bool) -> Result<Exit> {
        match self.call(Operation::Wait { next })? {
            (Outcome::Exit(exit), _) => Ok(*exit),
            other => Err(unexpected(&other.0)),
        }
    }

    /// Ends the container; see [`Operation::Stop`].
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn stop(&mut self, signal: Option<i32>, timeout: Option<i64>) -> Result<Exit> {
        match self.call(Operation::Stop { signal, timeout })? {
            (Outcome::Exit(exit), _) => Ok(*exit),
            other => Err(unexpected(&other.0)),
        }
    }

    /// Runs another program; gives its number among the execs, its process, and its streams.
    ///
    /// # Errors
    /// What keeps it from running.
    pub fn exec(&mut self, exec: Exec) -> Result<(u32, i32, Option<OwnedFd>)> {
        match self.call(Operation::Exec(Box::new(exec)))? {
            (Outcome::Exec { exec, pid }, fd) => Ok((exec, pid, fd)),
            other => Err(unexpected(&other.0)),
        }
    }

    /// How an exec ended, once it has.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn wait_exec(&mut self, exec: u32) -> Result<u8> {
        match self.call(Operation::WaitExec { exec })? {
            (Outcome::ExecStatus(status), _) => Ok(status),
            other => Err(unexpected(&other.0)),
        }
    }

    /// Does what brings nothing but success.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn perform(&mut self, operation: Operation) -> Result<()> {
        self.call(operation).map(drop)
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn unexpected(outcome: &Outcome) -> Error {
    Error::invalid("the supervisor's answer", format!("is none to this request: {outcome:?}"))
}
