//! Runs a command and does something to one of its system calls, counted over all its processes.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::sys;

/// Nothing that is traced takes a tenth of this; what does hangs.
const LIMIT: Duration = Duration::from_secs(15);

/// What is done to the system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Nothing: they are counted.
    Count,
    /// It fails.
    Fail(u64, Errno),
    /// The command is killed before it, whichever of its processes makes it.
    Kill(u64),
}

/// How it went.
#[derive(Debug, Default)]
pub struct Traced {
    /// How many system calls there were.
    pub calls: u64,
    /// The number of the call to which it was done, and whether the command itself made it.
    pub hit: Option<(u64, bool)>,
    /// The exit status; `None` where a signal ended it.
    pub code: Option<i32>,
    /// Whether it had to be ended, since it did not end.
    pub hung: bool,
}

struct Tracer {
    main: Pid,
    deed: Deed,
    traced: Traced,
    /// Those that are traced, each with the error that its present call shall end with.
    tracees: BTreeMap<Pid, Option<Errno>>,
}

/// Runs `command`, and traces the process `also`, too, until that executes a program.
#[expect(clippy::zombie_processes, reason = "waitpid(2) waits for it with the other traced ones")]
pub fn run(mut command: Command, also: Option<i32>, deed: Deed) -> Traced {
    sys::trace_me(&mut command);
    let child = command.spawn().expect("start the command");
    let main = Pid::from_raw(child.id() as i32);
    waitpid(main, Some(WaitPidFlag::__WALL)).unwrap();
    let watch = Watchdog::new(main);
    let mut tracer = Tracer { main, deed, traced: Traced::default(), tracees: BTreeMap::new() };
    if let Some(also) = also.map(Pid::from_raw) {
        ptrace::attach(also).unwrap();
        waitpid(also, Some(WaitPidFlag::__WALL)).unwrap();
        tracer.adopt(also);
    }
    tracer.adopt(main);
    while tracer.tracees.contains_key(&main) {
        match waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)) {
            Ok(status) => tracer.handle(status),
            Err(Errno::EINTR) => {}
            Err(errno) => panic!("wait for the traced: {errno}"),
        }
    }
    tracer.traced.hung = watch.end();
    tracer.release();
    tracer.traced
}

impl Tracer {
    fn adopt(&mut self, pid: Pid) {
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC;
        self.tracees.insert(pid, None);
        let _ = ptrace::setoptions(pid, options);
        let _ = ptrace::syscall(pid, None);
    }

    fn handle(&mut self, status: WaitStatus) {
        match status {
            WaitStatus::Exited(pid, code) => {
                self.tracees.remove(&pid);
                if pid == self.main {
                    self.traced.code = Some(code);
                }
            }
            WaitStatus::Signaled(pid, ..) => drop(self.tracees.remove(&pid)),
            WaitStatus::PtraceSyscall(pid) => {
                // It may have been killed meanwhile.
                let _ = self.at_system_call(pid);
                let _ = ptrace::syscall(pid, None);
            }
            WaitStatus::PtraceEvent(pid, _, event) => {
                let makes =
                    [libc::PTRACE_EVENT_CLONE, libc::PTRACE_EVENT_FORK, libc::PTRACE_EVENT_VFORK];
                // Known before its first stop is: the command may end before that.
                if makes.contains(&event)
                    && let Ok(made) = ptrace::getevent(pid)
                {
                    self.tracees.entry(Pid::from_raw(made as i32)).or_insert(None);
                }
                // A program in the container, or a hook, is none of the runtime.
                if event == libc::PTRACE_EVENT_EXEC && pid != self.main {
                    self.tracees.remove(&pid);
                    let _ = ptrace::detach(pid, None);
                } else {
                    let _ = ptrace::syscall(pid, None);
                }
            }
            WaitStatus::Stopped(pid, signal) => {
                if !self.tracees.contains_key(&pid) {
                    return self.adopt(pid);
                }
                let signal =
                    Some(signal).filter(|s| ![Signal::SIGTRAP, Signal::SIGSTOP].contains(s));
                let _ = ptrace::syscall(pid, signal);
            }
            _ => {}
        }
    }

    fn at_system_call(&mut self, pid: Pid) -> nix::Result<()> {
        let Some(number) = sys::entered(pid)? else {
            if let Some(errno) = self.tracees.get_mut(&pid).and_then(Option::take) {
                sys::fail(pid, errno)?;
            }
            return Ok(());
        };
        // They have no result.
        if [libc::SYS_exit, libc::SYS_exit_group, libc::SYS_rt_sigreturn].contains(&(number as i64))
        {
            return Ok(());
        }
        self.traced.calls += 1;
        match self.deed {
            Deed::Fail(n, errno) if n == self.traced.calls => {
                self.traced.hit = Some((number, pid == self.main));
                // Linux closes a descriptor whatever close(2) says of it.
                if number as i64 != libc::SYS_close {
                    sys::leave_out(pid)?;
                }
                self.tracees.insert(pid, Some(errno));
            }
            Deed::Kill(n) if n == self.traced.calls => {
                self.traced.hit = Some((number, pid == self.main));
                kill(self.main, Signal::SIGKILL)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Lets go of those that are left: a container that waits for its start.
    fn release(&mut self) {
        for pid in std::mem::take(&mut self.tracees).into_keys() {
            if kill(pid, Signal::SIGSTOP).is_err() {
                continue;
            }
            loop {
                match waitpid(pid, Some(WaitPidFlag::__WALL)) {
                    Ok(WaitStatus::Stopped(_, Signal::SIGSTOP)) => {
                        let _ = ptrace::detach(pid, None);
                        // Of two of these signals one may be left.
                        let _ = kill(pid, Signal::SIGCONT);
                        break;
                    }
                    Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(_) => break,
                    Ok(_) => drop(ptrace::syscall(pid, None)),
                }
            }
        }
    }
}

/// Kills a command that does not end.
struct Watchdog {
    done: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<bool>,
}

impl Watchdog {
    fn new(main: Pid) -> Watchdog {
        let done = Arc::new(AtomicBool::new(false));
        let seen = done.clone();
        let thread = std::thread::spawn(move || {
            let end = Instant::now() + LIMIT;
            while !seen.load(Ordering::Relaxed) {
                if Instant::now() > end {
                    let _ = kill(main, Signal::SIGKILL);
                    return true;
                }
                std::thread::park_timeout(Duration::from_millis(500));
            }
            false
        });
        Watchdog { done, thread }
    }

    fn end(self) -> bool {
        self.done.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        self.thread.join().unwrap()
    }
}
