//! The shim: the process that stands beside a container from its start to its end.
//!
//! It is the parent of the container and of everything that is run in it, so it alone learns how
//! they end. It has one thread and waits in one place, for whatever comes next: a program's output,
//! a client's request, a child's end, or the time for something. It starts nobody but the
//! container's programs, opens nothing of the container's, and believes nothing that comes out of
//! it.
//!
//! | file | what it does |
//! |---|---|
//! | `source.rs` | what is waited for, in the one place for that ([`crate::poller`]) |
//! | `stdio.rs`, `attached.rs` | output to the log and to clients, input from them |
//! | `life.rs` | start, end, restart |
//! | `orders.rs` | stop, signal, pause, resume, update |
//! | `notes.rs` | what is written into the journal |
//! | `clients.rs` | connections, requests, answers |
//! | `session.rs` | exec, and health probes |

mod attached;
mod clients;
mod life;
mod mounts;
mod notes;
mod orders;
mod session;
mod source;
mod stdio;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio as Standard};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sched::{CloneFlags, setns};
use nix::sys::epoll::EpollFlags;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::error::{Context, Error, Result};
use crate::health;
use crate::log::Output;
use crate::poller::{Key, Registered};
use crate::protocol::Event;
use crate::record::{Exit, Phase, Status};
use crate::restart::History;
use crate::settings::Settings;
use clients::{Client, Waiter};
use life::{Ending, Life};
use session::Session;
use source::{Channel, Poller, Source, Streams};
use stdio::{Ends, Stdio};

/// The file that is locked for as long as a shim lives; its number is in it.
pub const LOCK: &str = "lock";

/// A shim at work.
#[derive(Debug)]
struct Shim {
    directory: PathBuf,
    settings: Settings,
    poller: Poller,
    listener: Option<Registered<OwnedFd>>,
    signals: Registered<SignalFd>,
    clients: BTreeMap<u32, Client>,
    waiters: Vec<Waiter>,
    next_client: u32,
    phase: Phase,
    life: Option<Life>,
    ending: Option<Ending>,
    exit: Option<Exit>,
    stdio: Stdio,
    log: Output,
    /// Which descriptor of the log's is waited for.
    log_key: Option<(u64, Key)>,
    sessions: BTreeMap<u32, Session>,
    next_session: u32,
    health: Option<health::Report>,
    history: History,
    /// Whether somebody has asked for the container's end.
    stopped: bool,
    timers: Timers,
    buffer: Vec<u8>,
    /// What the root is mounted on, once it is.
    mounted: bool,
    done: bool,
    /// A descriptor that can be given up.
    spare: Option<OwnedFd>,
    /// Its own standard streams, which are a program's while that is being made. What it can tell
    /// nobody it writes to standard error.
    own: Ends,
    /// Held for as long as there may be a container.
    lock: Option<Flock<std::fs::File>>,
    /// The mount namespace that it came from, where something is to be run there at the end.
    home: Option<OwnedFd>,
    /// Whether its container has disappeared, and what is left of it has to be removed.
    buried: bool,
}

/// What is to be done, and when.
#[derive(Debug, Default)]
struct Timers {
    /// Start the container again.
    restart: Option<Instant>,
    /// Kill it.
    kill: Option<Instant>,
    /// Begin a health probe.
    probe: Option<Instant>,
}

// ANCHOR: run
/// Runs the shim of the container in `directory`; `control` is the connection of whoever has started
/// it. Returns when the container has ended for good, or with what keeps the shim from working at
/// all; a failure of the container is told over `control`.
pub fn run(directory: &Path, control: OwnedFd) -> ExitCode {
    let mut control = Some(control);
    match live(directory, &mut control) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // To its own file: there is nobody else who could hear it. Whoever waits for an answer
            // looks there when the connection ends, and `control` still holds it.
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn live(directory: &Path, control: &mut Option<OwnedFd>) -> Result<()> {
    // Whatever ends the session that we come from is not meant for us.
    let _ = nix::unistd::setsid();
    nix::sys::prctl::set_child_subreaper(true).during("become a subreaper")?;
    let mut shim = Shim::new(directory)?;
    control.take().map_or(Ok(()), |control| shim.accept(control))?;
    while !shim.done {
        shim.turn()?;
    }
    // Everything has been said by now, so it may take long; what a kill in between leaves is removed
    // by whoever finds it.
    shim.retire();
    shim.tear_down();
    shim.log.close();
    shim.run_after();
    Ok(())
}
// ANCHOR_END: run

impl Shim {
    fn new(directory: &Path) -> Result<Shim> {
        let settings = Settings::read(directory)?;
        let lock = lock(directory)?;
        Status::forget(directory)?;
        let mut poller = Poller::new()?;
        // All others may end this process only by force.
        let ours = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT];
        let mut mask: SigSet = ours.into_iter().collect();
        mask.add(Signal::SIGCHLD);
        // A file that may not become larger is an error of write(2), and the log's business.
        mask.add(Signal::SIGXFSZ);
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&mask), None).during("block signals")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&mask, flags).during("open a signalfd")?;
        let signals = Registered::new(&mut poller, signals, Source::Signals, EpollFlags::EPOLLIN)?;
        let listener = clients::listen(directory)?;
        let listener =
            Registered::new(&mut poller, listener, Source::Listener, EpollFlags::EPOLLIN)?;
        let log = Output::open(settings.log.as_ref())?;
        let history = History::new(settings.restarts);
        let errors = std::io::stderr().as_fd().try_clone_to_owned();
        let stderr = errors.during("keep standard error")?;
        let own = Ends { stdin: stdio::null()?, stdout: stdio::null()?, stderr };
        let waits_for_input = settings.stdin;
        Ok(Shim {
            directory: directory.to_path_buf(),
            health: settings.health.as_ref().map(|_| health::Report::default()),
            settings,
            poller,
            listener: Some(listener),
            signals,
            clients: BTreeMap::new(),
            waiters: Vec::new(),
            next_client: 0,
            phase: Phase::Created,
            life: None,
            ending: None,
            exit: None,
            stdio: Stdio::before(Streams::Container, waits_for_input),
            log,
            log_key: None,
            sessions: BTreeMap::new(),
            next_session: 0,
            history,
            stopped: false,
            timers: Timers::default(),
            buffer: vec![0; stdio::CHUNK],
            mounted: false,
            done: false,
            spare: stdio::null().ok(),
            own,
            lock: Some(lock),
            home: None,
            buried: false,
        })
    }

    // ANCHOR: turn
    /// Waits for what comes next, and does it.
    fn turn(&mut self) -> Result<()> {
        for (key, ready) in self.poller.wait(self.deadline())? {
            // What came before it in this round may have closed it.
            if let Some(source) = self.poller.source(key) {
                self.serve(source, ready);
            }
        }
        self.on_time();
        self.close_ended_sessions();
        self.finish_ending();
        Ok(())
    }
    // ANCHOR_END: turn

    fn serve(&mut self, source: Source, ready: EpollFlags) {
        match source {
            Source::Listener => self.accept_next(),
            Source::Signals => self.collect(),
            Source::Oom => self.out_of_memory(),
            Source::Log => {
                let told = self.log.ready();
                self.tell_of_log(told);
            }
            Source::Client(number) => self.hear(number),
            Source::Output(whose, channel) => drop(self.take_output(whose, channel)),
            Source::Input(whose) => {
                if let (Some(stdio), poller) = self.streams(whose) {
                    stdio.input_ready(ready, poller);
                }
            }
            Source::Attached(whose, number) => {
                if let (Some(stdio), poller) = self.streams(whose) {
                    stdio.serve(number, ready, poller);
                }
            }
        }
    }

    /// The streams of a program, and the poller that they are in.
    fn streams(&mut self, whose: Streams) -> (Option<&mut Stdio>, &mut Poller) {
        let stdio = match whose {
            Streams::Container => Some(&mut self.stdio),
            Streams::Exec(number) => self.sessions.get_mut(&number).map(|s| &mut s.stdio),
        };
        (stdio, &mut self.poller)
    }

    /// Takes in one piece of output; tells whether there was any.
    fn take_output(&mut self, whose: Streams, channel: Channel) -> bool {
        let mut buffer = std::mem::take(&mut self.buffer);
        let (stdio, poller) = self.streams(whose);
        let length = stdio.and_then(|stdio| stdio.read(channel, &mut buffer, poller));
        if let Some(bytes) = length.and_then(|length| buffer.get(..length)) {
            match whose {
                Streams::Container => {
                    let told = self.log.write(channel == Channel::Stderr, bytes);
                    self.tell_of_log(told);
                }
                Streams::Exec(number) => {
                    if let Some(session) = self.sessions.get_mut(&number) {
                        session.keep(bytes);
                    }
                }
            }
        }
        self.buffer = buffer;
        length.is_some()
    }

    // ANCHOR: drain
    /// Takes in what a program that has ended has left in its streams, also for clients that are
    /// waited for: the kernel holds it for them. Not for ever: another may still write.
    fn drain(&mut self, whose: Streams) {
        if let (Some(stdio), poller) = self.streams(whose) {
            stdio.make_room(poller);
        }
        for _ in 0..DRAINED {
            let channels = match self.streams(whose).0 {
                Some(stdio) if !stdio.is_held() => stdio.channels(),
                _ => return,
            };
            let mut any = false;
            for channel in channels {
                any |= self.take_output(whose, channel);
            }
            if !any {
                return;
            }
        }
    }
    // ANCHOR_END: drain

    /// Passes on what the log has to tell, and waits for what it waits for.
    fn tell_of_log(&mut self, told: Option<Event>) {
        if let Some(event) = told {
            self.tell(&event);
        }
        let Some((number, fd, more)) = self.log.waits() else {
            if let Some((_, key)) = self.log_key.take() {
                self.poller.forget(key);
            }
            return;
        };
        let interest = EpollFlags::EPOLLIN;
        let interest = if more { interest | EpollFlags::EPOLLOUT } else { interest };
        match self.log_key {
            Some((known, key)) if known == number => {
                let _ = self.poller.change(fd, key, interest);
            }
            other => {
                if let Some((_, key)) = other {
                    self.poller.forget(key);
                }
                let added = self.poller.add(fd, Source::Log, interest);
                self.log_key = added.ok().map(|key| (number, key));
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let ending = self.ending.as_ref().map(|ending| ending.until);
        let sessions = self.sessions.values().filter_map(Session::deadline).min();
        let timers = [self.timers.restart, self.timers.kill, self.timers.probe, ending, sessions];
        timers.into_iter().flatten().min()
    }

    /// Does what its time has come for.
    fn on_time(&mut self) {
        let now = Instant::now();
        let due = |timer: &mut Option<Instant>| timer.take_if(|at| *at <= now).is_some();
        if due(&mut self.timers.kill) {
            self.kill_all();
        }
        if due(&mut self.timers.restart) {
            self.start_again();
        }
        if due(&mut self.timers.probe) {
            self.probe();
        }
        self.end_late_probes(now);
    }

    /// What the container is doing.
    pub(super) fn status(&self) -> Status {
        Status {
            id: self.settings.id.clone(),
            phase: self.phase,
            pid: self.life.as_ref().map_or(0, |life| life.pid),
            supervisor: std::process::id().cast_signed(),
            terminal: self.stdio.is_terminal(),
            started: self.life.as_ref().map_or(0, |life| life.started),
            restarts: self.history.count,
            exit: self.exit.clone(),
            health: self.health.clone(),
            execs: self.sessions.keys().copied().collect(),
        }
    }
}

impl Shim {
    /// Runs what is to be run at the end. Nobody waits for it, and what it cannot do the next engine
    /// does.
    fn run_after(&self) {
        let Some((program, arguments)) = self.settings.after.split_first() else { return };
        if !self.directory.join(crate::settings::FILE).exists() {
            return;
        }
        // In this one the container's root is mounted, and nothing below it can be removed.
        let moved = self.home.as_ref().map(|home| setns(home, CloneFlags::CLONE_NEWNS));
        let mut command = std::process::Command::new(program);
        command.args(arguments).current_dir("/").stdin(Standard::null()).stdout(Standard::null());
        let done = match moved {
            Some(Err(errno)) => Err(errno.into()),
            _ => command.spawn().map(drop),
        };
        if let Err(error) = done {
            eprintln!("start {}: {error}", program.display());
        }
    }
}

// ANCHOR: lock
/// Locks the directory, and says whose it is.
fn lock(directory: &Path) -> Result<Flock<std::fs::File>> {
    use std::io::Write;
    let path = directory.join(LOCK);
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(|error| Error::path("open", &path, error))?;
    let mut lock = take(file).map_err(|errno| Error::path("lock", &path, errno.into()))?;
    lock.set_len(0)
        .and_then(|()| write!(lock, "{}", std::process::id()))
        .map_err(|error| Error::path("write", &path, error))?;
    Ok(lock)
}
// ANCHOR_END: lock

/// Whoever looks whether we live has the lock for a moment; another shim keeps it.
fn take(mut file: std::fs::File) -> nix::Result<Flock<std::fs::File>> {
    for _ in 0..50 {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((again, Errno::EWOULDBLOCK)) => file = again,
            Err((_, errno)) => return Err(errno),
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Err(Errno::EWOULDBLOCK)
}

/// So many pieces are read of a stream whose program has ended: the most that a pipe holds
/// (/proc/sys/fs/pipe-max-size), in the smallest pieces that it holds them in.
const DRAINED: usize = 256;

/// So long output may still come after the end of whoever wrote it: from processes of the host's
/// that have the stream open, or because a client holds it up.
const AFTERMATH: Duration = Duration::from_secs(5);
