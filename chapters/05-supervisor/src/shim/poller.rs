//! One epoll(7) for everything that the shim waits for, and one timer.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::error::{Context, Result};

// ANCHOR: source
/// What a descriptor belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// The control socket, where clients come in.
    Listener,
    /// SIGCHLD.
    Signals,
    /// The kernel's word of killed processes.
    Oom,
    /// The process that writes the log.
    Log,
    /// A client's connection.
    Client(u32),
    /// Output of the program behind a set of streams.
    Output(Streams, Channel),
    /// Its input, when it takes more.
    Input(Streams),
    /// The streams of one attached client.
    Attached(Streams, u32),
}
// ANCHOR_END: source

/// Whose streams: the container's, or an exec's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Streams {
    /// The container's first process.
    Container,
    /// The exec with this number.
    Exec(u32),
}

/// Standard output, or error; a terminal has one for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Channel {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What a registered descriptor is called in the kernel's answers. No two are ever called the same,
/// so an answer about one that is gone is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(u64);

/// The descriptors that are waited for.
#[derive(Debug)]
pub(super) struct Poller {
    epoll: Epoll,
    sources: BTreeMap<Key, Source>,
    next: u64,
}

impl Poller {
    pub(super) fn new() -> Result<Poller> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).during("make an epoll")?;
        Ok(Poller { epoll, sources: BTreeMap::new(), next: 0 })
    }

    /// Waits for `interest` on `fd` from now on.
    pub(super) fn add(
        &mut self,
        fd: BorrowedFd<'_>,
        source: Source,
        interest: EpollFlags,
    ) -> Result<Key> {
        let key = Key(self.next);
        self.next += 1;
        self.epoll.add(fd, EpollEvent::new(interest, key.0)).during("wait for a descriptor")?;
        self.sources.insert(key, source);
        Ok(key)
    }

    /// Waits for something else on it.
    pub(super) fn change(&self, fd: BorrowedFd<'_>, key: Key, interest: EpollFlags) -> Result<()> {
        let mut event = EpollEvent::new(interest, key.0);
        self.epoll.modify(fd, &mut event).during("wait for a descriptor")
    }

    /// Does not wait for it any more. To be called before it is closed, since a copy elsewhere would
    /// keep it in the set (epoll(7), questions and answers).
    pub(super) fn remove(&mut self, fd: BorrowedFd<'_>, key: Key) {
        self.sources.remove(&key);
        let _ = self.epoll.delete(fd);
    }

    /// Forgets a descriptor that is closed already, and was the only one of its file.
    pub(super) fn forget(&mut self, key: Key) {
        self.sources.remove(&key);
    }

    // ANCHOR: wait
    /// Waits until something is ready or `deadline` is reached; without one, for as long as it
    /// takes: an idle shim uses no processor.
    pub(super) fn wait(&self, deadline: Option<Instant>) -> Result<Vec<(Key, EpollFlags)>> {
        let mut events = [EpollEvent::empty(); 16];
        let timeout = match deadline {
            None => EpollTimeout::NONE,
            Some(deadline) => {
                // Rounded up: a timer that is a little late is in time, one that is early is asked
                // again and again.
                let left = deadline.saturating_duration_since(Instant::now());
                let millis = (left + Duration::from_micros(999)).as_millis().min(1 << 30);
                EpollTimeout::try_from(millis as i32).unwrap_or(EpollTimeout::NONE)
            }
        };
        match self.epoll.wait(&mut events, timeout) {
            Err(Errno::EINTR) => Ok(Vec::new()),
            Err(errno) => Err(errno).during("wait for events"),
            Ok(number) => {
                let ready = events.iter().take(number);
                Ok(ready.map(|event| (Key(event.data()), event.events())).collect())
            }
        }
    }
    // ANCHOR_END: wait

    /// What is called `key`, where it is still waited for.
    pub(super) fn source(&self, key: Key) -> Option<Source> {
        self.sources.get(&key).copied()
    }
}

/// A descriptor and what it is called; it leaves the set with [`Registered::end`].
#[derive(Debug)]
pub(super) struct Registered<T> {
    pub(super) fd: T,
    pub(super) key: Key,
}

impl<T: AsFd> Registered<T> {
    /// Registers `fd`.
    pub(super) fn new(
        poller: &mut Poller,
        fd: T,
        source: Source,
        interest: EpollFlags,
    ) -> Result<Registered<T>> {
        let key = poller.add(fd.as_fd(), source, interest)?;
        Ok(Registered { fd, key })
    }

    // ANCHOR: interest
    /// Waits for something else; for nothing where that is empty. An end and an error are told in any
    /// case, but then once and not for ever.
    pub(super) fn interest(&self, poller: &Poller, interest: EpollFlags) -> Result<()> {
        let none = interest.is_empty();
        let interest = if none { EpollFlags::EPOLLONESHOT } else { interest };
        poller.change(self.fd.as_fd(), self.key, interest)
    }
    // ANCHOR_END: interest

    /// Closes it.
    pub(super) fn end(self, poller: &mut Poller) {
        poller.remove(self.fd.as_fd(), self.key);
    }
}
