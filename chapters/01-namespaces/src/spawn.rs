//! Starting a container from its plan, and the running container.
//!
//! Parent and child share a socket pair. The parent says when the id maps are written, the child
//! sends the master of its terminal and, where a step fails, which one and why. execve closes the
//! child's end: end-of-file without a report means that the program runs.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType};

use crate::error::{Context, Error, KernelError, Result};
use crate::execute::{self, Report};
use crate::namespace::Namespace;
use crate::plan::{Plan, Step};
use crate::{failure, idmap, sys};

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By exit(2).
    Code(i32),
    /// By a signal.
    Signal(i32),
}

impl Exit {
    /// The exit status as shells and Docker count it: 128 and the number for a signal.
    pub fn status(self) -> u8 {
        // exit(2) keeps the low eight bits, and signals are below 65.
        match self {
            Exit::Code(code) => code as u8,
            Exit::Signal(signal) => 128 + signal as u8,
        }
    }
}

/// A running container. Dropped, it is killed and collected, so that no error path leaves a
/// process behind.
#[derive(Debug)]
pub struct Container {
    pidfd: OwnedFd,
    pid: libc::pid_t,
    terminal: Option<OwnedFd>,
    has_session: bool,
    ended: bool,
}

impl Plan {
    // ANCHOR: spawn
    /// Starts the container and returns when its program runs.
    ///
    /// # Errors
    /// What the failed step says; the child is gone then, and with it its namespaces and mounts.
    pub fn spawn(&self) -> Result<Container> {
        let (ours, theirs) = channel()?;
        let flags = self.namespaces.flags();
        let child = || {
            // With our end open in the child, too, it would not see us go while it waits.
            let _ = nix::unistd::close(ours.as_raw_fd());
            execute::walk(self, theirs.as_fd())
        };
        let (pidfd, pid) = sys::clone3(flags, child).map_err(|errno| self.not_cloned(errno))?;
        drop(theirs);
        let mut container = Container {
            pidfd,
            pid,
            terminal: None,
            has_session: self.steps.iter().any(|step| matches!(step, Step::Session)),
            ended: false,
        };
        if self.namespaces.contains(Namespace::User)
            && let Err(error) = self.release_mapped(pid, ours.as_fd())
        {
            // A step before may have failed, and the child be gone: that is the reason then.
            let _ = container.signal(libc::SIGKILL);
            return Err(match receive(ours.as_fd())? {
                Some(Message::Failed(report)) => failure::error(self, report),
                _ => error,
            });
        }
        while let Some(message) = receive(ours.as_fd())? {
            match message {
                Message::Terminal(master) => container.terminal = Some(master),
                Message::Failed(report) => {
                    container.wait()?;
                    return Err(failure::error(self, report));
                }
            }
        }
        Ok(container)
    }
    // ANCHOR_END: spawn

    /// Writes the id maps, for which the child waits, and tells it.
    fn release_mapped(&self, pid: libc::pid_t, channel: BorrowedFd<'_>) -> Result<()> {
        idmap::write_maps(pid, &self.uid_map, &self.gid_map)?;
        nix::sys::socket::send(channel.as_raw_fd(), &[execute::GO], MsgFlags::MSG_NOSIGNAL)
            .during("tell the container that its id maps are written")
            .map(drop)
    }

    fn not_cloned(&self, errno: Errno) -> Error {
        let names = self.namespaces.to_string();
        let rootless = self.namespaces.contains(Namespace::User);
        let what =
            if rootless { "clone3 with a user namespace and" } else { "clone3 with namespaces" };
        KernelError::new(format!("{what} {names}"), None, errno).into()
    }
}

fn channel() -> Result<(OwnedFd, OwnedFd)> {
    nix::sys::socket::socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .during("make a socket pair")
}

enum Message {
    Terminal(OwnedFd),
    Failed(Report),
}

// ANCHOR: receive
/// The child's next message; `None` when its end is closed.
fn receive(channel: BorrowedFd<'_>) -> Result<Option<Message>> {
    let mut bytes = [0; Report::SIZE];
    let mut control = cmsg_space!(RawFd);
    loop {
        let mut vector = [IoSliceMut::new(&mut bytes)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let fd = channel.as_raw_fd();
        let message =
            match nix::sys::socket::recvmsg::<()>(fd, &mut vector, Some(&mut control), flags) {
                // ECONNRESET: the child ended with our byte unread. It is told once and before
                // what the child has sent, which comes next.
                Err(Errno::EINTR | Errno::ECONNRESET) => continue,
                other => other.during("hear from the container")?,
            };
        if message.bytes == 0 {
            return Ok(None);
        }
        let passed = message.cmsgs().during("hear from the container")?.find_map(|m| match m {
            ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
            _ => None,
        });
        if let Some(fd) = passed {
            return Ok(Some(Message::Terminal(sys::received(fd))));
        }
        return Ok(Report::from_bytes(&bytes).map(Message::Failed));
    }
}
// ANCHOR_END: receive

impl Container {
    /// Takes over a process that was started in another way, as chapter 4 does it: a child of this
    /// process, with the master of its terminal where it has one.
    pub fn adopt(pidfd: OwnedFd, pid: libc::pid_t, terminal: Option<OwnedFd>) -> Container {
        Container { pidfd, pid, terminal, has_session: true, ended: false }
    }

    /// The first process, by its number in the caller's pid namespace.
    pub fn pid(&self) -> libc::pid_t {
        self.pid
    }

    /// The first process, by a descriptor, which poll(2) reports as readable when it ends.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The master of the container's terminal, where it has one.
    pub fn terminal(&self) -> Option<BorrowedFd<'_>> {
        self.terminal.as_ref().map(AsFd::as_fd)
    }

    /// Whether the container leads a session of its own, so that a terminal's keys do not reach it.
    pub fn has_session(&self) -> bool {
        self.has_session
    }

    /// Sends a signal to the first process.
    ///
    /// # Errors
    /// `ESRCH` where it has ended.
    pub fn signal(&self, signal: i32) -> Result<()> {
        sys::pidfd_send_signal(self.pidfd.as_fd(), signal).during("signal the container")
    }

    /// Waits for the end and collects the exit status.
    ///
    /// # Errors
    /// `ECHILD` where something else collected it.
    pub fn wait(&mut self) -> Result<Exit> {
        let (code, status) = loop {
            match sys::wait(self.pidfd.as_fd()) {
                Err(Errno::EINTR) => {}
                other => break other.during("wait for the container")?,
            }
        };
        self.ended = true;
        Ok(if code == libc::CLD_EXITED { Exit::Code(status) } else { Exit::Signal(status) })
    }
}

// ANCHOR: drop
impl Drop for Container {
    fn drop(&mut self) {
        if !self.ended {
            // The errors are those of a process that is gone, which is what is wanted.
            let _ = self.signal(libc::SIGKILL);
            let _ = self.wait();
        }
    }
}
// ANCHOR_END: drop
