//! Follows a command and what it starts, by ptrace(2).

use std::collections::{HashMap, HashSet};
use std::io;
use std::process::Command;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::ptrace::{self, Event as Happening, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::call::{self, Call, Context};
use super::memory;
use super::sys::{self, Stop};
use super::{Process, Role, Step, Timeline};

/// More steps than a start has; a command that loops does not fill the memory.
const MOST: usize = 20_000;

/// Runs a command, and tells what it and its children did. The second is its exit status, as a shell has it.
///
/// # Errors
/// Where it cannot be started, or not be traced: another tracer has it, or it is forbidden
/// (`kernel.yama.ptrace_scope`).
pub fn record(command: &mut Command, timeline: &mut Timeline) -> io::Result<u8> {
    let child = sys::start(command)?;
    let first = Pid::from_raw(child.id().cast_signed());
    let mut tracer = Tracer {
        began: Instant::now(),
        first,
        threads: HashMap::new(),
        early: HashSet::new(),
        status: 0,
        timeline,
        context: Context::default(),
    };
    tracer.add(first, 0, Role::Engine);
    tracer.threads.entry(first).or_default().seen = true;
    // It has stopped at its execve.
    waitpid(first, None)?;
    ptrace::setoptions(
        first,
        Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC,
    )?;
    ptrace::syscall(first, None)?;
    tracer.follow()?;
    Ok(tracer.status)
}

/// A thread that is traced.
#[derive(Debug, Default)]
struct Thread {
    /// The process that it belongs to.
    process: i32,
    /// Whether it has stopped before.
    seen: bool,
    /// The call that it is in, and when that began.
    call: Option<(Call, u64)>,
}

struct Tracer<'a> {
    began: Instant,
    first: Pid,
    threads: HashMap<Pid, Thread>,
    /// Children that nobody has told of yet.
    early: HashSet<Pid>,
    status: u8,
    timeline: &'a mut Timeline,
    context: Context,
}

impl Tracer<'_> {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn add(&mut self, pid: Pid, parent: i32, role: Role) {
        let thread = self.threads.entry(pid).or_default();
        let pid = pid.as_raw();
        thread.process = pid;
        let from = self.now();
        self.timeline.processes.push(Process { pid, parent, role, from, until: None });
    }

    fn follow(&mut self) -> io::Result<()> {
        while !self.threads.is_empty() {
            let status = match waitpid(None, Some(WaitPidFlag::__WALL)) {
                Err(Errno::EINTR) => continue,
                Err(Errno::ECHILD) => return Ok(()),
                other => other?,
            };
            match self.take(status) {
                // Killed while it had stopped: its end is still to come.
                Err(Errno::ESRCH) | Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Tells whether there is more to come.
    fn take(&mut self, status: WaitStatus) -> nix::Result<bool> {
        match status {
            WaitStatus::Exited(pid, code) => return Ok(self.ended(pid, code & 0xff)),
            WaitStatus::Signaled(pid, signal, _) => return Ok(self.ended(pid, 128 + signal as i32)),
            WaitStatus::PtraceSyscall(pid) => {
                self.at_call(pid)?;
                ptrace::syscall(pid, None)?;
            }
            WaitStatus::PtraceEvent(pid, _, event) => self.at_event(pid, event)?,
            // A child that comes before its parent's word of it waits for that.
            WaitStatus::Stopped(pid, _) if !self.threads.contains_key(&pid) => {
                self.early.insert(pid);
            }
            WaitStatus::Stopped(pid, signal) => {
                let thread = self.threads.entry(pid).or_default();
                // The first stop of a child is the tracer's doing.
                let is_first =
                    !std::mem::replace(&mut thread.seen, true) && signal == Signal::SIGSTOP;
                ptrace::syscall(pid, (!is_first).then_some(signal))?;
            }
            _ => {}
        }
        Ok(true)
    }

    fn ended(&mut self, pid: Pid, code: i32) -> bool {
        let now = self.now();
        self.threads.remove(&pid);
        let pid_number = pid.as_raw();
        if let Some(process) = self.timeline.processes.iter_mut().find(|p| p.pid == pid_number) {
            process.until = Some(now);
        }
        if pid != self.first {
            return true;
        }
        self.status = u8::try_from(code).unwrap_or(u8::MAX);
        // What goes on without the command is let go by the kernel when this process ends.
        false
    }

    fn at_call(&mut self, pid: Pid) -> nix::Result<()> {
        let now = self.now();
        match sys::stop(pid)? {
            Stop::Entry(number, arguments) => {
                self.timeline.calls += 1;
                let process = self.threads.get(&pid).map_or(pid.as_raw(), |thread| thread.process);
                let call = call::begin(process, number, arguments);
                if let Some(thread) = self.threads.get_mut(&pid) {
                    thread.call = call.map(|call| (call, now));
                }
            }
            Stop::Exit(value) => {
                let Some(thread) = self.threads.get_mut(&pid) else { return Ok(()) };
                let (process, begun) = (thread.process, thread.call.take());
                if let Some((call, at)) = begun {
                    self.note(process, call, at, value);
                }
            }
            Stop::Other => {}
        }
        Ok(())
    }

    fn note(&mut self, pid: i32, call: Call, at: u64, value: i64) {
        if self.timeline.steps.len() >= MOST {
            return;
        }
        let Some(told) = call::end(pid, call, value, &mut self.context) else { return };
        let took = self.now().saturating_sub(at);
        let call::Told { call, arguments, result, says, chapter, events } = told;
        let says = says.to_owned();
        let call = call.to_owned();
        self.timeline.steps.push(Step {
            at,
            took,
            pid,
            call,
            arguments,
            result,
            says,
            chapter,
            events,
        });
    }

    /// Lets the thread go on: traced, unless it has become the user's program.
    fn at_event(&mut self, pid: Pid, event: i32) -> nix::Result<()> {
        let is = |happening: Happening| event == happening as i32;
        if is(Happening::PTRACE_EVENT_FORK)
            || is(Happening::PTRACE_EVENT_VFORK)
            || is(Happening::PTRACE_EVENT_CLONE)
        {
            let new = Pid::from_raw(i32::try_from(ptrace::getevent(pid)?).unwrap_or_default());
            self.born(pid, new);
            if self.early.remove(&new) {
                self.threads.entry(new).or_default().seen = true;
                ptrace::syscall(new, None)?;
            }
        } else if is(Happening::PTRACE_EVENT_EXEC) && self.executed(pid) {
            return ptrace::detach(pid, None);
        }
        ptrace::syscall(pid, None)
    }

    fn born(&mut self, parent: Pid, new: Pid) {
        let parent = self.threads.get(&parent).map_or(parent.as_raw(), |thread| thread.process);
        let group = thread_group(new.as_raw());
        if group != new.as_raw() {
            self.threads.entry(new).or_default().process = group;
            return;
        }
        let of_parent = self.timeline.process(parent).map(|process| process.role);
        let role = match of_parent {
            // What a supervisor starts becomes the container; so does what that starts.
            Some(Role::Supervisor | Role::Container) => Role::Container,
            _ => Role::Helper,
        };
        self.add(new, parent, role);
    }

    /// A program was executed: the supervisor's, or the user's, which is to be left alone.
    fn executed(&mut self, pid: Pid) -> bool {
        let number = pid.as_raw();
        let now = self.now();
        if let Some((call, at)) = self.threads.get_mut(&pid).and_then(|thread| thread.call.take()) {
            self.note(number, call, at, 0);
        }
        let is_ours = memory::is_ours(number);
        let Some(process) = self.timeline.processes.iter_mut().find(|p| p.pid == number) else {
            return false;
        };
        match process.role {
            Role::Helper if is_ours => process.role = Role::Supervisor,
            // What a supervisor starts when all is over.
            Role::Container if is_ours && !in_namespace(number) => process.role = Role::Engine,
            Role::Container if !is_ours => {
                process.until = Some(now);
                self.threads.remove(&pid);
                return true;
            }
            _ => {}
        }
        false
    }
}

/// Whether it is in a pid namespace below ours (proc_pid_status(5), `NSpid`).
fn in_namespace(pid: i32) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("NSpid:"));
    line.is_some_and(|numbers| numbers.split_whitespace().count() > 1)
}

/// The process of a thread (proc_pid_status(5), `Tgid`).
fn thread_group(thread: i32) -> i32 {
    let text = std::fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Tgid:"));
    line.and_then(|text| text.trim().parse().ok()).unwrap_or(thread)
}
