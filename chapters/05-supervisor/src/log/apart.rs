//! Non-blocking mode: a child writes the log, so that a slow disk holds up neither the program nor
//! the shim.
//!
//! A write(2) to a file cannot be made not to wait; somebody has to wait in it. A thread may not: the
//! shim forks for each container and each exec, and that is sound with one thread only. So it is a
//! process, forked when the first output comes, which takes entries from a socket. What the socket
//! does not take waits in the ring, and when that is full the oldest entries go.
//!
//! The price is what is in the ring and on the way when the shim is killed: its child dies with it,
//! since the next shim must find a file that nobody else writes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, MsgFlags, Shutdown, SockFlag, SockType};
use nix::sys::socket::{recv, send, shutdown, socketpair};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::Losing;
use super::file::LogFile;
use super::format::Encoder;
use super::options::Limits;
use super::ring::Ring;
use crate::record::now;
use crate::sys;

/// So long is waited at the end of a program for what is not written yet.
const PATIENCE: Duration = Duration::from_secs(5);

/// So long after a child has failed the next is made.
const PAUSE: Duration = Duration::from_secs(1);

/// Entries on their way to the child that writes them.
#[derive(Debug)]
pub(super) struct Apart {
    place: Place,
    ring: Ring,
    child: Option<Child>,
    /// How many children there were.
    children: u64,
    not_before: Option<Instant>,
    /// So many entries were dropped since the ring was empty.
    dropped: u64,
}

/// What a child needs.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) limits: Limits,
    pub(super) encoder: Encoder,
}

#[derive(Debug)]
struct Child {
    pid: Pid,
    /// None when it has ended and is not collected yet.
    socket: Option<OwnedFd>,
}

impl Apart {
    pub(super) fn new(place: Place, most: usize) -> Apart {
        let ring = Ring::new(place.encoder.format, most);
        Apart { place, ring, child: None, children: 0, not_before: None, dropped: 0 }
    }

    /// Takes entries; gives a sentence where there is something to tell.
    pub(super) fn put(&mut self, entries: &[u8]) -> Option<String> {
        let dropped = self.ring.push(entries);
        let first = self.dropped == 0 && dropped > 0;
        self.dropped += dropped;
        self.begin();
        let told = self.hand_on();
        told.or(first.then(|| "write: the disk is too slow, the oldest lines are dropped".into()))
    }

    /// Makes a child where there is none.
    fn begin(&mut self) {
        let early = self.not_before.is_some_and(|at| Instant::now() < at);
        if self.child.is_some() || early {
            return;
        }
        let flags = SockFlag::SOCK_CLOEXEC;
        let Ok((ours, theirs)) = socketpair(AddressFamily::Unix, SockType::Stream, None, flags)
        else {
            return;
        };
        let place = &mut self.place;
        let child = sys::fork(|| {
            let placed = sys::replace(theirs.as_fd(), 0).and_then(|()| sys::close_from(3));
            u8::from(placed.is_err() || write_down(place).is_err())
        });
        if let Ok(pid) = child {
            self.child = Some(Child { pid, socket: Some(ours) });
            self.children += 1;
        }
        self.not_before = Some(Instant::now() + PAUSE);
    }

    /// The child that writes, for tests.
    #[cfg(test)]
    pub(super) fn child(&self) -> Option<i32> {
        self.child.as_ref().map(|child| child.pid.as_raw())
    }

    fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.child.as_ref()?.socket.as_ref().map(AsFd::as_fd)
    }

    /// Hands on what the socket takes.
    fn hand_on(&mut self) -> Option<String> {
        use std::os::fd::AsRawFd;
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        while !self.ring.waiting().is_empty() {
            let number = self.socket()?.as_raw_fd();
            match send(number, self.ring.waiting(), flags) {
                Ok(length) => self.ring.taken(length),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return None,
                Err(_) => return Some(self.lose_child()),
            }
        }
        let dropped = std::mem::take(&mut self.dropped);
        (dropped > 0).then(|| format!("it is written again: {dropped} lines are missing"))
    }

    /// The child has gone away.
    fn lose_child(&mut self) -> String {
        if let Some(child) = &mut self.child {
            child.socket = None;
        }
        // Its successor does not know how this entry began.
        self.ring.abandon();
        "write: the process that writes the log has ended".into()
    }

    /// A descriptor to wait for, which child's it is, and whether there is something to hand on.
    pub(super) fn waits(&self) -> Option<(u64, BorrowedFd<'_>, bool)> {
        Some((self.children, self.socket()?, !self.ring.waiting().is_empty()))
    }

    /// The socket is ready: for more, or with a sentence of the child's.
    pub(super) fn serve(&mut self) -> Option<String> {
        let heard = self.hear();
        self.hand_on().or(heard)
    }

    /// Where something waits and the child is gone, there has to be another now.
    fn replace_child(&mut self) -> Option<String> {
        if self.ring.waiting().is_empty() || self.socket().is_some() {
            return None;
        }
        if let Some(child) = &self.child
            && waitpid(child.pid, Some(WaitPidFlag::WNOHANG)) != Ok(WaitStatus::StillAlive)
        {
            self.child = None;
        }
        self.not_before = None;
        self.begin();
        self.hand_on()
    }

    fn hear(&mut self) -> Option<String> {
        use std::os::fd::AsRawFd;
        let mut text = [0; 1024];
        match recv(self.socket()?.as_raw_fd(), &mut text, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => Some(self.lose_child()),
            Ok(length) => {
                let text = String::from_utf8_lossy(text.get(..length).unwrap_or_default());
                Some(text.trim_end().replace('\n', "; "))
            }
            Err(_) => None,
        }
    }

    /// A child of the shim's has ended: tells whether it was this one.
    pub(super) fn child_ended(&mut self, pid: i32) -> bool {
        let ours = self.child.as_ref().is_some_and(|child| child.pid.as_raw() == pid);
        if ours {
            if self.socket().is_some() {
                self.lose_child();
            }
            self.child = None;
            if !self.ring.waiting().is_empty() {
                // The program may write no more for a long time.
                self.begin();
                let _ = self.hand_on();
            }
        }
        ours
    }

    // ANCHOR: end
    /// Waits until everything is written, but not for ever. The child ends then: the next output
    /// makes another.
    pub(super) fn end(&mut self) -> Option<String> {
        use std::os::fd::AsRawFd;
        let until = Instant::now() + PATIENCE;
        let mut told = self.replace_child();
        let mut closed = false;
        while let Some(socket) = self.socket() {
            let empty = self.ring.waiting().is_empty();
            if empty && !closed {
                closed = true;
                let _ = shutdown(socket.as_raw_fd(), Shutdown::Write);
            }
            let left = until.saturating_duration_since(Instant::now());
            let millis = i32::try_from(left.as_millis()).unwrap_or(0);
            let out = if empty { PollFlags::empty() } else { PollFlags::POLLOUT };
            let mut wanted = [PollFd::new(socket, PollFlags::POLLIN | out)];
            match poll(&mut wanted, PollTimeout::try_from(millis).unwrap_or(PollTimeout::ZERO)) {
                Err(Errno::EINTR) => {}
                Ok(0) | Err(_) => {
                    told = Some("write: the disk is too slow, the last lines are dropped".into());
                    if let Some(child) = &self.child {
                        let _ = kill(child.pid, Signal::SIGKILL);
                    }
                    self.lose_child();
                }
                Ok(_) if closed => {
                    // Its end is what is waited for.
                    let heard = self.hear();
                    told = if self.socket().is_some() { heard } else { None }.or(told);
                }
                Ok(_) => told = self.serve().or(told),
            }
        }
        self.not_before = None;
        told
    }
    // ANCHOR_END: end
}

// ANCHOR: write_down
/// The child: writes what comes over its standard input, until that ends.
fn write_down(place: &mut Place) -> crate::Result<()> {
    let Place { path, limits, encoder } = place;
    let mut losing = Losing::new(LogFile::open(path, encoder.format, *limits)?);
    let input = std::io::stdin();
    let mut buffer: Vec<u8> = Vec::new();
    loop {
        let held = buffer.len();
        buffer.resize(held + super::ENCODED, 0);
        let read = nix::unistd::read(&input, buffer.get_mut(held..).unwrap_or_default());
        buffer.truncate(held + read.unwrap_or(0));
        match read {
            Ok(0) => break,
            Err(Errno::EINTR) => continue,
            Err(_) => break,
            Ok(_) => {}
        }
        let whole = encoder.format.whole(&buffer);
        if whole > 0 {
            encoder.at(now());
            let told = losing.append(buffer.get(..whole).unwrap_or_default(), encoder);
            if let Some(why) = told {
                let _ = nix::unistd::write(&input, format!("{why}\n").as_bytes());
            }
            buffer.drain(..whole);
        }
        collect(&mut losing.file);
    }
    losing.end(encoder);
    losing.file.close();
    Ok(())
}
// ANCHOR_END: write_down

/// Learns of the end of what compresses.
fn collect(file: &mut LogFile) {
    let Some(pid) = file.child() else { return };
    match waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::StillAlive) => {}
        Ok(WaitStatus::Exited(_, status)) => drop(file.child_ended(pid, status)),
        _ => drop(file.child_ended(pid, 1)),
    }
}
