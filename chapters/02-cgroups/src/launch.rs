//! Starting a program in a group: it is in it before its first instruction.

use std::convert::Infallible;
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use corten_namespaces::sys::{CStrings, cloexec_from, execve, exit_now, reset_signals};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use crate::cgroup::Cgroup;
use crate::error::{Context, Error, Result};
use crate::hierarchy::Version;
use crate::sys;

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By exit(2).
    Code(i32),
    /// By a signal.
    Signal(i32),
}

impl Exit {
    /// The exit status as shells and Docker count it.
    pub fn status(self) -> u8 {
        // exit(2) keeps the low eight bits, and signals are below 65.
        match self {
            Exit::Code(code) => code as u8,
            Exit::Signal(signal) => 128 + signal as u8,
        }
    }
}

/// A running program. It is not killed when this is dropped: its group is there to find it.
#[derive(Debug)]
pub struct Running {
    pidfd: OwnedFd,
    pid: libc::pid_t,
}

// ANCHOR: doors
/// The way into the v1 hierarchies of a group, opened before the process is made that will go.
#[derive(Debug)]
pub struct Doors(Vec<OwnedFd>);

impl Cgroup {
    /// Opens the way into the group for a process that has one thread.
    ///
    /// The file is `tasks`, which moves one thread, and not `cgroup.procs`, which moves a process.
    /// For a process with one thread that is the same, with a difference in time: whoever moves a
    /// process first locks out all forks of the machine, and waits for a grace period of some
    /// milliseconds until that is known everywhere. A thread that moves itself needs no lock.
    ///
    /// # Errors
    /// `ENOENT` where the group was removed.
    pub fn doors(&self) -> Result<Doors> {
        let mut doors = Vec::new();
        for group in self.groups().iter().filter(|group| group.target.version == Version::V1) {
            let path = group.path().join("tasks");
            let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
            doors.push(nix::fcntl::open(&path, flags, Mode::empty()).on("open", &path)?);
        }
        Ok(Doors(doors))
    }
}

impl Doors {
    /// Moves the calling thread, by writing 0, which means the writer. Allocates nothing and takes
    /// no lock, so that it may be called between clone and execve.
    ///
    /// # Errors
    /// `ENOSPC` where the cpuset is empty.
    pub fn enter(&self) -> nix::Result<()> {
        self.0.iter().try_for_each(|door| sys::write(door.as_fd(), b"0"))
    }
}
// ANCHOR_END: doors

// ANCHOR: launch
/// Starts `command` in the group.
///
/// In v2 the kernel makes the process in the group (CLONE_INTO_CGROUP). A v1 hierarchy has no such
/// thing: there the child moves itself, by writing 0, before it becomes the program.
///
/// # Errors
/// [`Error::Execute`] where the command is not there; whatever a group has against a new process.
pub fn start<S: AsRef<OsStr>>(cgroup: &Cgroup, command: &[S]) -> Result<Running> {
    let program = Program::new(command)?;
    let doors = cgroup.doors()?;
    let (ours, theirs) = nix::unistd::pipe2(OFlag::O_CLOEXEC).during("make a pipe")?;
    let child = || program.run(&doors, theirs.as_fd());
    let (pidfd, pid) = sys::clone_into(cgroup.clone_fd(), child).during("clone into the group")?;
    drop(theirs);
    // execve closes the child's end: nothing but the end of the file means that the program runs.
    let report = crate::file::read_bytes(ours.as_fd()).during("hear from the new process")?;
    let Some((step, errno)) = report.first().zip(report.get(1..5)) else {
        return Ok(Running { pidfd, pid });
    };
    let errno = Errno::from_raw(i32::from_ne_bytes(errno.try_into().unwrap_or_default()));
    let running = Running { pidfd, pid };
    running.wait()?;
    match *step {
        Program::EXECUTES => Err(Error::Execute { command: program.name, errno }),
        _ => Err(errno).during("enter the group's tasks"),
    }
}
// ANCHOR_END: launch

impl Running {
    /// Its number.
    pub fn pid(&self) -> libc::pid_t {
        self.pid
    }

    /// A descriptor that poll(2) reports as readable when it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// `ECHILD` where something else collected it.
    pub fn wait(&self) -> Result<Exit> {
        loop {
            match corten_namespaces::sys::wait(self.pidfd.as_fd()) {
                Err(Errno::EINTR) => {}
                Ok((libc::CLD_EXITED, status)) => return Ok(Exit::Code(status)),
                Ok((_, signal)) => return Ok(Exit::Signal(signal)),
                Err(errno) => return Err(errno).during("wait for the program"),
            }
        }
    }
}

/// The program, in the form that execve(2) takes.
struct Program {
    name: String,
    candidates: Vec<CString>,
    arguments: CStrings,
    environment: CStrings,
}

impl Program {
    const ENTERS: u8 = 1;
    const EXECUTES: u8 = 2;

    fn new<S: AsRef<OsStr>>(command: &[S]) -> Result<Program> {
        let text = |s: &OsStr| {
            let bad = |_| Error::invalid("command", "has a NUL byte in it");
            CString::new(s.as_bytes()).map_err(bad)
        };
        let first = command.first().ok_or_else(|| Error::invalid("command", "is empty"))?.as_ref();
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
        let candidates = if first.as_bytes().contains(&b'/') {
            vec![text(first)?]
        } else {
            std::env::split_paths(&path)
                .map(|dir| text(dir.join(first).as_os_str()))
                .collect::<Result<_>>()?
        };
        let arguments = command.iter().map(|s| text(s.as_ref())).collect::<Result<_>>()?;
        let environment = std::env::vars_os()
            .map(|(mut variable, value)| {
                variable.push("=");
                variable.push(value);
                text(&variable)
            })
            .collect::<Result<_>>()?;
        Ok(Program {
            name: first.to_string_lossy().into_owned(),
            candidates,
            arguments: CStrings::new(arguments),
            environment: CStrings::new(environment),
        })
    }

    /// The child: enters the v1 groups and becomes the program. It allocates nothing.
    fn run(&self, doors: &Doors, report: BorrowedFd<'_>) -> Infallible {
        if let Err(errno) = doors.enter() {
            fail(report, Program::ENTERS, errno);
        }
        reset_signals();
        // An error means a kernel without the call, and then descriptors stay as they are.
        let _ = cloexec_from(3);
        let mut last = Errno::ENOENT;
        for candidate in &self.candidates {
            match execve(candidate, &self.arguments, &self.environment) {
                Errno::ENOENT | Errno::ENOTDIR => {}
                errno => last = errno,
            }
        }
        fail(report, Program::EXECUTES, last)
    }
}

/// Tells the parent the step and the errno, and ends.
fn fail(report: BorrowedFd<'_>, step: u8, errno: Errno) -> ! {
    let mut message = [step; 5];
    message[1..].copy_from_slice(&(errno as i32).to_ne_bytes());
    let _ = sys::write(report, &message);
    exit_now(125)
}
