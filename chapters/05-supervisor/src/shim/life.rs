//! The container's start, its end, and what comes after.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use corten_cgroups::delegation;
use corten_cgroups::oom::{OomEvent, OomEvents};
use corten_runtime::container::Container;
use corten_runtime::create::{self, Create};
use corten_runtime::{Bundle, cgroup};
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use super::clients::Wanted;
use super::source::{Source, Streams};
use super::stdio::{self, Ends, Stdio};
use super::{AFTERMATH, Shim};
use crate::error::{Context, Error, Result};
use crate::poller::Registered;
use crate::protocol::{Event, Outcome};
use crate::record::{Exit, Phase, Time, now};
use crate::restart::Run;
use crate::settings::Cgroups;
use crate::sys;

/// A container that runs.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) container: Container,
    pub(super) bundle: Bundle,
    pub(super) pid: i32,
    pidfd: OwnedFd,
    pub(super) started: Time,
    pub(super) since: Instant,
    oom: Option<Registered<OomEvents>>,
    oom_kills: u64,
}

/// Its first process has ended, but its output may not all have been read.
#[derive(Debug)]
pub(super) struct Ending {
    exit: Exit,
    lasted: Duration,
    pub(super) until: Instant,
}

impl Shim {
    // ANCHOR: start
    /// Creates the container and starts its program.
    ///
    /// # Errors
    /// What keeps it from running. Nothing of it is left then, and its end is written down.
    pub(super) fn start(&mut self) -> Result<i32> {
        match self.try_start() {
            Ok(life) => {
                let (pid, time) = (life.pid, life.started);
                self.life = Some(life);
                self.phase = Phase::Running;
                self.stopped = false;
                self.begin_health();
                self.tell(&Event::Started { pid, time });
                Ok(pid)
            }
            Err(error) => {
                let failure = error.failure();
                let exit = Exit {
                    status: failure.status.unwrap_or(125),
                    signal: None,
                    oom_killed: false,
                    error: Some(failure.message),
                    started: 0,
                    finished: now(),
                    restarts: self.history.count,
                    stopped: self.stopped,
                };
                let until = Instant::now();
                self.ending = Some(Ending { exit, lasted: Duration::ZERO, until });
                Err(error)
            }
        }
    }
    // ANCHOR_END: start

    fn try_start(&mut self) -> Result<Life> {
        self.reserve_end()?;
        self.mount_root()?;
        self.join_memory()?;
        let mut bundle = Bundle::open(&self.settings.bundle)?;
        // Held until the runtime has opened what they name.
        let _parts = self.open_subpaths(&mut bundle)?;
        let process = bundle.spec.process().as_ref();
        let terminal = process.and_then(|process| process.terminal()).unwrap_or(false);
        let mut options = create::Options {
            root: self.settings.runtime_root.clone(),
            init: self.settings.init,
            cgroup_manager: match self.settings.cgroups {
                Cgroups::Cgroupfs => cgroup::Manager::Cgroupfs,
                Cgroups::Systemd => cgroup::Manager::Systemd,
                Cgroups::Disabled => cgroup::Manager::Disabled,
            },
            ..create::Options::default()
        };
        let (console, ends) = self.prepare_streams(terminal, &mut options)?;
        let id = self.settings.id.parse()?;
        // Until there is a container, nobody undoes it.
        let given = self.settings.given_group.as_deref();
        let _settled =
            given.map(delegation::settle).transpose().map_err(corten_runtime::Error::from)?;
        let plan = Create::new(id, &bundle, options)?;
        let created = with_streams(&ends, &self.own, || Ok(plan.execute()?))?;
        drop(ends);
        let started = self.take_terminal(console).and_then(|()| Ok(created.start()?));
        let create::Created { container, pidfd, lock, .. } = created;
        if let Err(error) = started {
            let _ = corten_namespaces::sys::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
            let _ = corten_namespaces::sys::wait(pidfd.as_fd());
            let _ = corten_runtime::delete::remove(&container);
            return Err(error);
        }
        drop(lock);
        // Not whether it is alive: it may have ended already, and that is an end like any other.
        let pid = container.state.init.map_or(0, |init| init.pid);
        let oom = self.watch_memory(&container);
        let (started, since) = (now(), Instant::now());
        Ok(Life { container, bundle, pid, pidfd, started, since, oom, oom_kills: 0 })
    }

    /// Takes the room for the word of its end. A container that is started again is, also on a full
    /// disk.
    fn reserve_end(&self) -> Result<()> {
        if self.settings.auto_remove {
            return Ok(());
        }
        let reserved = Exit::reserve(&self.settings.record);
        if self.phase == Phase::Created { reserved } else { Ok(()) }
    }

    /// The kernel's word of processes that it kills for want of memory; without a control group there
    /// is none.
    fn watch_memory(&mut self, container: &Container) -> Option<Registered<OomEvents>> {
        let cgroup = container.cgroup().ok()??;
        let events = cgroup.inner().oom_events().ok()?;
        // The same numbers as poll's (epoll_ctl(2)).
        let interest = i32::from(events.interest().bits());
        let interest = EpollFlags::from_bits_truncate(interest);
        Registered::new(&mut self.poller, events, Source::Oom, interest).ok()
    }

    /// The container's streams: pipes, or a socket over which its terminal comes.
    fn prepare_streams(
        &mut self,
        terminal: bool,
        options: &mut create::Options,
    ) -> Result<(Option<OwnedFd>, Ends)> {
        if terminal {
            let (kind, flags) = (SockType::Stream, SockFlag::SOCK_CLOEXEC);
            let (ours, theirs) =
                socketpair(AddressFamily::Unix, kind, None, flags).during("make a socket pair")?;
            options.console = Some(theirs);
            let null = || stdio::null();
            return Ok((Some(ours), Ends { stdin: null()?, stdout: null()?, stderr: null()? }));
        }
        let stdin = self.settings.stdin;
        let (stdio, ends) = Stdio::pipes(Streams::Container, stdin, &mut self.poller)?;
        self.replace_stdio(stdio);
        Ok((None, ends))
    }

    fn take_terminal(&mut self, console: Option<OwnedFd>) -> Result<()> {
        let Some(console) = console else { return Ok(()) };
        let Some(master) = corten_runtime::channel::receive_fd(console.as_fd())? else {
            return Err(Error::State { operation: "start", state: "has sent no terminal" });
        };
        let stdin = self.settings.stdin;
        let stdio = Stdio::terminal(Streams::Container, master, stdin, &mut self.poller)?;
        self.replace_stdio(stdio);
        Ok(())
    }

    /// The clients stay attached over a restart.
    fn replace_stdio(&mut self, mut stdio: Stdio) {
        if self.settings.stdin_once {
            stdio.end_input_once();
        }
        let before = std::mem::replace(&mut self.stdio, Stdio::closed(Streams::Container));
        stdio.inherit(before, &mut self.poller);
        self.stdio = stdio;
    }

    // ANCHOR: collect
    /// Collects children that have ended: the container, execs, and whatever their orphans were.
    pub(super) fn collect(&mut self) {
        while let Ok(Some(_)) = self.signals.fd.read_signal() {}
        while let Ok(Some((pid, status))) = corten_namespaces::sys::reap() {
            if self.life.as_ref().is_some_and(|life| life.pid == pid) {
                self.container_ended(status);
            } else if self.log.child_ended(pid, status) {
                self.tell_of_log(None);
            } else {
                self.session_ended(pid, status);
            }
        }
    }
    // ANCHOR_END: collect

    fn container_ended(&mut self, status: i32) {
        // It may be the kernel's doing.
        self.out_of_memory();
        let Some(life) = &mut self.life else { return };
        let signal = libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status));
        let code = signal.map_or_else(|| libc::WEXITSTATUS(status), |signal| 128 + signal);
        let exit = Exit {
            status: u8::try_from(code).unwrap_or(u8::MAX),
            signal,
            oom_killed: life.oom_kills > 0,
            error: None,
            started: life.started,
            finished: now(),
            restarts: self.history.count,
            stopped: self.stopped,
        };
        let lasted = life.since.elapsed();
        let until = Instant::now() + AFTERMATH;
        self.ending = Some(Ending { exit, lasted, until });
        self.timers.kill = None;
        self.timers.probe = None;
        self.drain(Streams::Container);
    }

    /// There may be news of what the kernel has killed in the container.
    pub(super) fn out_of_memory(&mut self) {
        let Some(life) = &mut self.life else { return };
        let Some(oom) = &mut life.oom else { return };
        match oom.fd.take() {
            Ok(OomEvent::Killed(0)) => {}
            Ok(OomEvent::Killed(number)) => {
                life.oom_kills += number;
                self.tell(&Event::Oom);
            }
            // The group is gone, or nobody can say any more.
            Ok(OomEvent::Removed) | Err(_) => {
                if let Some(oom) = life.oom.take() {
                    oom.end(&mut self.poller);
                }
            }
        }
    }

    // ANCHOR: finish
    /// Ends an end, when all output is read: first to the disk, then to those who wait.
    pub(super) fn finish_ending(&mut self) {
        let over = |ending: &mut Ending| !self.stdio.is_open() || ending.until <= Instant::now();
        let Some(ending) = self.ending.take_if(over) else { return };
        let told = self.log.end();
        self.tell_of_log(told);
        let Ending { mut exit, lasted, .. } = ending;
        let status = exit.error.is_none().then_some(exit.status);
        let run = Run { lasted, status, stopped: self.stopped };
        let first = self.phase == Phase::Created;
        let again = match first {
            // Who starts a container wants to hear that it does not start.
            true => None,
            false => self.history.next(self.settings.restart, run),
        };
        exit.stopped = self.stopped;
        // The shim's own directory does not survive a reboot, and need not for a container that is
        // forgotten with its end; and on most machines it is not on the disk that is full.
        if self.settings.auto_remove {
            let _ = exit.write_volatile(&self.directory);
        } else if let Err(error) = exit.write(&self.settings.record) {
            // There is nobody but those who wait to tell it to.
            exit.error.get_or_insert_with(|| error.to_string());
            let _ = exit.write_volatile(&self.directory);
        }
        if again.is_none() {
            self.retire();
        }
        self.exit = Some(exit.clone());
        self.tell(&Event::Exit(Box::new(exit.clone())));
        self.answer_waiters(&Outcome::Exit(Box::new(exit)), |wanted| *wanted == Wanted::Next);
        match again {
            Some(wait) => self.wait_to_restart(wait),
            None => self.end_for_good(),
        }
    }
    // ANCHOR_END: finish

    fn wait_to_restart(&mut self, wait: Duration) {
        self.phase = Phase::Restarting;
        self.end_sessions();
        self.remove_container();
        self.timers.restart = Some(Instant::now() + wait);
        let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.tell(&Event::Restarting { wait });
    }

    pub(super) fn end_for_good(&mut self) {
        self.phase = Phase::Exited;
        let Some(exit) = self.exit.clone() else { return };
        let outcome = Outcome::Exit(Box::new(exit));
        self.end_sessions();
        self.answer_waiters(&outcome, |wanted| matches!(wanted, Wanted::End));
        let stdio = std::mem::replace(&mut self.stdio, Stdio::closed(Streams::Container));
        stdio.end(&mut self.poller);
        self.done = true;
    }

    /// The time has come to start it again.
    pub(super) fn start_again(&mut self) {
        // What fails is an end like any other, and has been taken in as one.
        let _ = self.start();
    }

    /// Takes away what the runtime keeps of a container that has ended.
    pub(super) fn remove_container(&mut self) {
        let Some(life) = self.life.take() else { return };
        if let Some(oom) = life.oom {
            oom.end(&mut self.poller);
        }
        let root = &self.settings.runtime_root;
        if let Ok(id) = self.settings.id.parse() {
            // Another who has its lock is removing it.
            let _ = corten_runtime::delete::delete(root, &id, true);
        }
    }

    // ANCHOR: retire
    /// Makes way for the next shim of this container, before anybody hears of the end and wants one:
    /// no socket, no lock, no container of the name. Removing what is left of it takes longer, and
    /// comes after the answers.
    pub(super) fn retire(&mut self) {
        // Once: from then on the name is another's.
        if self.lock.is_none() {
            return;
        }
        if let Some(listener) = self.listener.take() {
            let _ = std::fs::remove_file(self.directory.join(crate::protocol::SOCKET));
            listener.end(&mut self.poller);
        }
        if let Some(life) = &self.life {
            let hooks = life.bundle.spec.hooks().as_ref();
            // These are run by who removes it, and read its state.
            if hooks.is_none_or(|hooks| hooks.poststop().is_none()) {
                self.buried = life.container.directory.bury().is_ok();
            }
            if !self.buried {
                self.remove_container();
            }
        }
        self.lock = None;
    }
    // ANCHOR_END: retire

    /// Removes what is left of the container.
    pub(super) fn tear_down(&mut self) {
        if self.buried
            && let Ok(id) = self.settings.id.parse()
        {
            let _ = corten_runtime::delete::remove_buried(&self.settings.runtime_root, &id);
        }
        if let Some(given) = &self.settings.given_group {
            let _ = delegation::leave(given);
        }
    }

    /// The container, where it runs.
    pub(super) fn running(&self, operation: &'static str) -> Result<&Life> {
        let runs = self.ending.is_none() && matches!(self.phase, Phase::Running | Phase::Paused);
        self.life.as_ref().filter(|_| runs).ok_or({
            let state = match self.phase {
                Phase::Created => "is not started yet",
                Phase::Restarting => "is waiting for its restart",
                _ => "is not running",
            };
            Error::State { operation, state }
        })
    }
}

impl Life {
    /// Signals its first process: by the descriptor that came with it, so that it needs none now.
    pub(super) fn kill(&self, number: i32) -> Result<()> {
        corten_namespaces::sys::pidfd_send_signal(self.pidfd.as_fd(), number)
            .during("send a signal")
    }
}

// ANCHOR: with_streams
/// Calls `body` with a program's ends of its streams as standard input, output and error, which
/// the runtime hands on to the program.
/// Afterwards they are `own` again, for which no descriptor is needed that there might not be.
pub(super) fn with_streams<T>(
    ends: &Ends,
    own: &Ends,
    body: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let put = |ends: &Ends| {
        sys::replace(ends.stdin.as_fd(), 0)
            .and_then(|()| sys::replace(ends.stdout.as_fd(), 1))
            .and_then(|()| sys::replace(ends.stderr.as_fd(), 2))
            .during("put the streams in their place")
    };
    let result = put(ends).and_then(|()| body());
    put(own)?;
    result
}
// ANCHOR_END: with_streams
