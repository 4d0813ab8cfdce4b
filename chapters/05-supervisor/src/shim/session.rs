//! Further programs in the container: execs of clients, and health probes.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use corten_runtime::exec;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use oci_spec::runtime as oci;

use super::clients::Wanted;
use super::life::with_streams;
use super::source::Streams;
use super::stdio::{self, Ends, Stdio};
use super::{AFTERMATH, Shim};
use crate::error::{Context, Error, Result};
use crate::health::{self, MAX_OUTPUT};
use crate::protocol::{Event, Exec, Outcome};
use crate::record::{Phase, Time, now};

/// The most programs at one time: each costs four descriptors.
const MOST: usize = 128;

/// So many that have ended are remembered until somebody asks.
const REMEMBERED: usize = 256;

/// A program that was started by `exec`.
#[derive(Debug)]
pub(super) struct Session {
    pid: i32,
    pub(super) stdio: Stdio,
    kind: Kind,
    /// How it ended, and until when its output is waited for.
    ended: Option<(u8, Instant)>,
    /// Whether its streams are closed and its end is told.
    told: bool,
}

#[derive(Debug)]
enum Kind {
    /// Somebody will ask how it ended.
    Awaited,
    /// Nobody will.
    Detached,
    /// A health probe.
    Probe { start: Time, limit: Instant, late: bool, output: Vec<u8> },
}

impl Session {
    /// Keeps the output of a probe.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        if let Kind::Probe { output, .. } = &mut self.kind {
            // One more than is told, to know that there was more.
            let room = (MAX_OUTPUT + 1).saturating_sub(output.len());
            output.extend(bytes.iter().take(room));
        }
    }

    /// When something about it is to be done.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match (&self.ended, &self.kind) {
            _ if self.told => None,
            (Some((_, until)), _) => Some(*until),
            (None, Kind::Probe { limit, late: false, .. }) => Some(*limit),
            _ => None,
        }
    }
}

impl Shim {
    // ANCHOR: exec
    /// Starts another program in the container.
    pub(super) fn exec(
        &mut self,
        request: Exec,
        descriptor: &mut Option<OwnedFd>,
    ) -> Result<Outcome> {
        let process: oci::Process =
            corten_runtime::json::convert(&request.process).map_err(Error::Packet)?;
        let stdin = request.attach.as_ref().is_some_and(|attach| attach.stdin);
        let kind = if request.detach { Kind::Detached } else { Kind::Awaited };
        let number = self.next_session;
        let attach = |shim: &mut Shim, stdio: &mut Stdio| {
            stdio.end_input_once();
            if let Some(attach) = request.attach {
                *descriptor = Some(stdio.attach(attach, &mut shim.poller)?);
            }
            Ok(())
        };
        let pid = self.spawn(&process, stdin, kind, attach)?;
        self.tell(&Event::ExecStarted { exec: number, pid });
        Ok(Outcome::Exec { exec: number, pid })
    }
    // ANCHOR_END: exec

    fn spawn(
        &mut self,
        process: &oci::Process,
        stdin: bool,
        kind: Kind,
        prepare: impl FnOnce(&mut Shim, &mut Stdio) -> Result<()>,
    ) -> Result<i32> {
        if self.phase == Phase::Paused {
            return Err(Error::State { operation: "exec", state: "is paused" });
        }
        self.running("exec")?;
        if self.sessions.values().filter(|session| session.ended.is_none()).count() >= MOST {
            return Err(Error::State { operation: "exec", state: "has too many of them" });
        }
        let number = self.next_session;
        let whose = Streams::Exec(number);
        let mut options =
            exec::Options { root: self.settings.runtime_root.clone(), ..Default::default() };
        let (console, mut stdio, ends) = if process.terminal().unwrap_or(false) {
            let (family, flags) = (AddressFamily::Unix, SockFlag::SOCK_CLOEXEC);
            let (ours, theirs) =
                socketpair(family, SockType::Stream, None, flags).during("make a socket pair")?;
            options.console = Some(theirs);
            let ends =
                Ends { stdin: stdio::null()?, stdout: stdio::null()?, stderr: stdio::null()? };
            (Some(ours), Stdio::closed(whose), ends)
        } else {
            let (stdio, ends) = Stdio::pipes(whose, stdin, &mut self.poller)?;
            (None, stdio, ends)
        };
        let made = (|| {
            let life = self.running("exec")?;
            let plan = exec::Exec::new(&life.container, &life.bundle, process, options)?;
            with_streams(&ends, &self.own, || Ok(plan.execute(&life.container)?))
        })();
        drop(ends);
        let made = made.and_then(|(_, pid)| {
            let ready = self
                .terminal_of(console, stdin, &mut stdio)
                .and_then(|()| prepare(self, &mut stdio));
            if ready.is_err() {
                // It runs already, and nobody would know.
                let _ = corten_namespaces::sys::kill(-pid, libc::SIGKILL);
            }
            ready.map(|()| pid)
        });
        let pid = match made {
            Ok(pid) => pid,
            Err(error) => {
                stdio.end(&mut self.poller);
                return Err(error);
            }
        };
        self.next_session += 1;
        let session = Session { pid, stdio, kind, ended: None, told: false };
        self.sessions.insert(number, session);
        Ok(pid)
    }

    /// Takes the terminal of a program that has been started with one.
    fn terminal_of(
        &mut self,
        console: Option<OwnedFd>,
        stdin: bool,
        stdio: &mut Stdio,
    ) -> Result<()> {
        let Some(console) = console else { return Ok(()) };
        let master = corten_runtime::channel::receive_fd(console.as_fd())?;
        let state = "has sent no terminal";
        let master = master.ok_or(Error::State { operation: "exec", state })?;
        *stdio = Stdio::terminal(stdio.whose(), master, stdin, &mut self.poller)?;
        Ok(())
    }

    /// The exec with this number.
    pub(super) fn session(&self, number: u32) -> Result<&Session> {
        self.sessions.get(&number).ok_or(Error::NoExec { number })
    }

    /// How an exec ended, once it has; it is forgotten then.
    pub(super) fn exec_status(&mut self, number: u32) -> Result<Option<u8>> {
        let session = self.session(number)?;
        let status = session.ended.filter(|_| session.told).map(|(status, _)| status);
        if status.is_some() {
            self.sessions.remove(&number);
        }
        Ok(status)
    }

    /// A child that is not the container has ended.
    pub(super) fn session_ended(&mut self, pid: i32, status: i32) {
        let found = self.sessions.iter_mut().find(|(_, s)| s.pid == pid && s.ended.is_none());
        let Some((number, session)) = found else { return };
        let number = *number;
        let code = if libc::WIFSIGNALED(status) {
            128 + libc::WTERMSIG(status)
        } else {
            libc::WEXITSTATUS(status)
        };
        let code = u8::try_from(code).unwrap_or(u8::MAX);
        session.ended = Some((code, Instant::now() + AFTERMATH));
        self.drain(Streams::Exec(number));
    }

    /// Tells the ends of those whose output is all read.
    pub(super) fn close_ended_sessions(&mut self) {
        let now = Instant::now();
        let over = |session: &Session| match session.ended {
            Some((status, until)) if !session.told => {
                (!session.stdio.is_open() || until <= now).then_some(status)
            }
            _ => None,
        };
        let ended: Vec<(u32, u8)> =
            self.sessions.iter().filter_map(|(n, s)| over(s).map(|status| (*n, status))).collect();
        for (number, status) in ended {
            self.close_session(number, status);
        }
    }

    fn close_session(&mut self, number: u32, status: u8) {
        let Some(session) = self.sessions.get_mut(&number) else { return };
        session.told = true;
        let closed = Stdio::closed(Streams::Exec(number));
        std::mem::replace(&mut session.stdio, closed).end(&mut self.poller);
        if let Kind::Probe { .. } = session.kind {
            if let Some(session) = self.sessions.remove(&number) {
                self.judge(session, i32::from(status));
            }
            return;
        }
        let detached = matches!(session.kind, Kind::Detached);
        let awaited = self.waiters.iter().any(|waiter| waiter.wanted == Wanted::Exec(number));
        if awaited || detached {
            self.sessions.remove(&number);
        }
        let ended: Vec<u32> =
            self.sessions.iter().filter(|(_, session)| session.told).map(|(n, _)| *n).collect();
        if let Some(oldest) = ended.first().filter(|_| ended.len() > REMEMBERED) {
            self.sessions.remove(oldest);
        }
        self.tell(&Event::ExecEnded { exec: number, status });
        let outcome = Outcome::ExecStatus(status);
        self.answer_waiters(&outcome, |wanted| *wanted == Wanted::Exec(number));
    }

    /// The container has ended, and all in it: those who wait for one of its programs hear it.
    pub(super) fn end_sessions(&mut self) {
        self.collect();
        let numbers: Vec<u32> = self.sessions.keys().copied().collect();
        for number in numbers {
            let told = self.sessions.get(&number).is_none_or(|session| session.told);
            let ended = self.sessions.get(&number).and_then(|session| session.ended);
            if !told {
                self.close_session(number, ended.map_or(137, |(status, _)| status));
            }
        }
    }

    /// Begins to look after the health of a container that has just started.
    pub(super) fn begin_health(&mut self) {
        if let Some(health) = &self.settings.health {
            let report = health::Report::default();
            self.timers.probe = Some(Instant::now() + report.pause(health, Duration::ZERO));
            self.health = Some(report);
        }
    }

    // ANCHOR: probe
    /// Runs the program that says whether the container is well.
    pub(super) fn probe(&mut self) {
        let Some(health) = self.settings.health.clone() else { return };
        if self.phase == Phase::Paused {
            // A frozen container cannot answer, which is no fault of its own.
            self.timers.probe = Some(Instant::now() + health.interval);
            return;
        }
        let Ok(life) = self.running("probe") else { return };
        let Some(mut process) = life.bundle.spec.process().clone() else { return };
        process.set_args(Some(health.command.clone())).set_terminal(Some(false));
        let (start, limit) = (now(), Instant::now() + health.timeout);
        let kind = Kind::Probe { start, limit, late: false, output: Vec::new() };
        if let Err(error) = self.spawn(&process, false, kind, |_, _| Ok(())) {
            self.take_probe(health::Probe {
                start,
                end: now(),
                status: -1,
                output: error.to_string(),
            });
        }
    }
    // ANCHOR_END: probe

    /// Kills probes that take too long.
    pub(super) fn end_late_probes(&mut self, now: Instant) {
        for session in self.sessions.values_mut() {
            if let Kind::Probe { limit, late, .. } = &mut session.kind
                && *limit <= now
                && !*late
                && session.ended.is_none()
            {
                *late = true;
                // With all that it has started: chapter 4 gives each program a session. Its number
                // is its own until it is collected, which only we do.
                let _ = corten_namespaces::sys::kill(-session.pid, libc::SIGKILL);
            }
        }
    }

    fn judge(&mut self, session: Session, status: i32) {
        // A probe that has ended with its container says nothing about it.
        if self.running("probe").is_err() {
            return;
        }
        let Kind::Probe { start, late, output, .. } = session.kind else { return };
        let Some(health) = &self.settings.health else { return };
        let (status, output) = if late {
            let limit = health.timeout.as_secs_f64();
            (-1, format!("Health check exceeded timeout ({limit}s)"))
        } else {
            (status, cut(&output))
        };
        self.take_probe(health::Probe { start, end: now(), status, output });
    }

    fn take_probe(&mut self, probe: health::Probe) {
        let since = self.life.as_ref().map_or(Duration::ZERO, |life| life.since.elapsed());
        let (Some(settings), Some(report)) = (&self.settings.health, &mut self.health) else {
            return;
        };
        let changed = report.take(settings, since, probe);
        let state = report.state;
        self.timers.probe = Some(Instant::now() + report.pause(settings, since));
        if changed {
            self.tell(&Event::Health(state));
        }
    }
}

/// What is told of a probe's output: its beginning, and a mark where there was more (moby,
/// health.go).
fn cut(output: &[u8]) -> String {
    match output.get(..MAX_OUTPUT) {
        Some(beginning) if output.len() > MAX_OUTPUT => {
            String::from_utf8_lossy(beginning).into_owned() + "..."
        }
        _ => String::from_utf8_lossy(output).into_owned(),
    }
}
