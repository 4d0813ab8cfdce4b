//! One epoll(7) for everything that the server waits for.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::error::{Context, Result};

/// What a descriptor belongs to. Numbers are never used twice, so an answer of the kernel about
/// something that is gone finds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Source {
    /// The control socket, where engines come in.
    Control,
    /// The connection of one engine.
    Engine(u32),
    /// The kernel's word of files that changed.
    Changes,
    /// Datagrams of the station with this number.
    Datagrams(u32),
    /// Its listening TCP socket.
    Listener(u32),
    /// A TCP connection of a container.
    Stream(u32),
    /// A question on its way to a resolver.
    Flight(u32),
}

/// The descriptors that are waited for.
#[derive(Debug)]
pub(super) struct Poller {
    epoll: Epoll,
    sources: HashMap<u64, Source>,
    next: u64,
}

impl Poller {
    pub(super) fn new() -> Result<Poller> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).during("make an epoll")?;
        Ok(Poller { epoll, sources: HashMap::new(), next: 0 })
    }

    /// Waits for `interest` on `fd` from now on, until [`Registered::end`].
    pub(super) fn add<T: AsFd>(
        &mut self,
        fd: T,
        source: Source,
        interest: EpollFlags,
    ) -> Result<Registered<T>> {
        let key = self.next;
        self.next += 1;
        self.epoll.add(fd.as_fd(), EpollEvent::new(interest, key)).during("wait for a socket")?;
        self.sources.insert(key, source);
        Ok(Registered { fd, key })
    }

    fn change(&self, fd: BorrowedFd<'_>, key: u64, interest: EpollFlags) -> Result<()> {
        let mut event = EpollEvent::new(interest, key);
        self.epoll.modify(fd, &mut event).during("wait for a socket")
    }

    /// What is ready, at the latest at `deadline`. Without one this waits for as long as it takes:
    /// an idle server uses no processor.
    pub(super) fn wait(&self, deadline: Option<Instant>) -> Result<Vec<(Source, EpollFlags)>> {
        let mut events = [EpollEvent::empty(); 32];
        let timeout = match deadline {
            None => EpollTimeout::NONE,
            Some(deadline) => {
                // Rounded up, or the last fraction of a millisecond would be spent asking.
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
                let known = ready.filter_map(|event| {
                    self.sources.get(&event.data()).map(|source| (*source, event.events()))
                });
                Ok(known.collect())
            }
        }
    }
}

/// A descriptor that is waited for.
#[derive(Debug)]
pub(super) struct Registered<T> {
    pub(super) fd: T,
    key: u64,
}

impl<T: AsFd> Registered<T> {
    /// Waits for something else.
    pub(super) fn interest(&self, poller: &Poller, interest: EpollFlags) -> Result<()> {
        poller.change(self.fd.as_fd(), self.key, interest)
    }

    /// Leaves the set, and closes it.
    pub(super) fn end(self, poller: &mut Poller) {
        poller.sources.remove(&self.key);
        let _ = poller.epoll.delete(self.fd.as_fd());
    }
}
