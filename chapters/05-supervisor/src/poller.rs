//! One epoll(7) for everything that a process waits for, and one timer: the shim, and chapter 7's
//! name server.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::error::{Context, Result};

/// What a registered descriptor is called in the kernel's answers. No two are ever called the same,
/// so an answer about one that is gone is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(u64);

/// The descriptors that are waited for, each of a source that the caller knows it by.
#[derive(Debug)]
pub struct Poller<S> {
    epoll: Epoll,
    sources: BTreeMap<Key, S>,
    next: u64,
}

impl<S: Copy> Poller<S> {
    /// Waits for nothing yet.
    ///
    /// # Errors
    /// Where the process may have no more descriptors.
    pub fn new() -> Result<Poller<S>> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).during("make an epoll")?;
        Ok(Poller { epoll, sources: BTreeMap::new(), next: 0 })
    }

    /// Waits for `interest` on `fd` from now on.
    ///
    /// # Errors
    /// epoll_ctl(2)'s.
    pub fn add(&mut self, fd: BorrowedFd<'_>, source: S, interest: EpollFlags) -> Result<Key> {
        let key = Key(self.next);
        self.next += 1;
        self.epoll.add(fd, EpollEvent::new(interest, key.0)).during("wait for a descriptor")?;
        self.sources.insert(key, source);
        Ok(key)
    }

    /// Waits for something else on it.
    ///
    /// # Errors
    /// epoll_ctl(2)'s.
    pub fn change(&self, fd: BorrowedFd<'_>, key: Key, interest: EpollFlags) -> Result<()> {
        let mut event = EpollEvent::new(interest, key.0);
        self.epoll.modify(fd, &mut event).during("wait for a descriptor")
    }

    /// Does not wait for it any more. To be called before it is closed, since a copy elsewhere would
    /// keep it in the set (epoll(7), questions and answers).
    pub fn remove(&mut self, fd: BorrowedFd<'_>, key: Key) {
        self.sources.remove(&key);
        let _ = self.epoll.delete(fd);
    }

    /// Forgets a descriptor that is closed already, and was the only one of its file.
    pub fn forget(&mut self, key: Key) {
        self.sources.remove(&key);
    }

    // ANCHOR: wait
    /// Waits until something is ready or `deadline` is reached; without one, for as long as it
    /// takes: an idle process uses no processor.
    ///
    /// # Errors
    /// epoll_wait(2)'s.
    pub fn wait(&self, deadline: Option<Instant>) -> Result<Vec<(Key, EpollFlags)>> {
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
    pub fn source(&self, key: Key) -> Option<S> {
        self.sources.get(&key).copied()
    }
}

/// A descriptor and what it is called; it leaves the set with [`Registered::end`].
#[derive(Debug)]
pub struct Registered<T> {
    /// The descriptor.
    pub fd: T,
    /// What the kernel's answers call it.
    pub key: Key,
}

impl<T: AsFd> Registered<T> {
    /// Registers `fd`.
    ///
    /// # Errors
    /// As [`Poller::add`].
    pub fn new<S: Copy>(
        poller: &mut Poller<S>,
        fd: T,
        source: S,
        interest: EpollFlags,
    ) -> Result<Registered<T>> {
        let key = poller.add(fd.as_fd(), source, interest)?;
        Ok(Registered { fd, key })
    }

    // ANCHOR: interest
    /// Waits for something else; for nothing where that is empty. An end and an error are told in any
    /// case, but then once and not for ever.
    ///
    /// # Errors
    /// As [`Poller::change`].
    pub fn interest<S: Copy>(&self, poller: &Poller<S>, interest: EpollFlags) -> Result<()> {
        let none = interest.is_empty();
        let interest = if none { EpollFlags::EPOLLONESHOT } else { interest };
        poller.change(self.fd.as_fd(), self.key, interest)
    }
    // ANCHOR_END: interest

    /// Closes it.
    pub fn end<S: Copy>(self, poller: &mut Poller<S>) {
        poller.remove(self.fd.as_fd(), self.key);
    }
}
