//! Learning that the OOM killer was at work in a group, without asking again and again.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::PollFlags;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::stat::Mode;

use crate::cgroup::{Cgroup, Group};
use crate::controller::Controller;
use crate::error::{Context, Error, Result};
use crate::file;
use crate::hierarchy::Version;

// ANCHOR: oom
/// The OOM kills of a group: a descriptor for poll(2), and a counter.
///
/// In v2 the counter's file is the descriptor: the kernel reports it as exceptional (`POLLPRI`) when
/// it has changed since it was last read (kernfs_fop_poll in fs/kernfs/file.c). inotify(7) sees the
/// same, but of its instances a user has 128, and an engine has more containers. v1 has an
/// eventfd(2), which it also rings when the group is removed.
#[derive(Debug)]
pub struct OomEvents {
    /// The counter's file, kept open: `memory.events` or `memory.oom_control`.
    counter: OwnedFd,
    /// v1's.
    bell: Option<EventFd>,
    seen: u64,
}
// ANCHOR_END: oom

/// What has happened since it was last asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OomEvent {
    /// So many processes were killed; 0 where it was a false alarm.
    Killed(u64),
    /// The group was removed: there will be no more events.
    Removed,
}

impl Cgroup {
    /// Begins to watch for OOM kills. Those before this call are not told.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a memory controller.
    pub fn oom_events(&self) -> Result<OomEvents> {
        let group = self.group(Controller::Memory).ok_or_else(|| {
            Error::unavailable("OOM events", "the group has no memory controller")
        })?;
        OomEvents::watch(group)
    }
}

impl OomEvents {
    fn watch(group: &Group) -> Result<OomEvents> {
        let (name, bell) = match group.target.version {
            Version::V2 => ("memory.events", None),
            Version::V1 => ("memory.oom_control", Some("cgroup.event_control")),
        };
        let path = group.path().join(name);
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let counter =
            nix::fcntl::openat(group.as_fd(), name, flags, Mode::empty()).on("open", &path)?;
        let bell = match bell {
            None => None,
            Some(control) => {
                let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
                let event = EventFd::from_value_and_flags(0, flags).during("make an eventfd")?;
                let line = format!("{} {}", event.as_fd().as_raw_fd(), counter.as_raw_fd());
                group.write(control, &line)?;
                Some(event)
            }
        };
        let mut events = OomEvents { bell, counter, seen: 0 };
        events.seen = events.count().on("read", &path)?;
        Ok(events)
    }

    /// What poll(2) shall wait for at the descriptor. A file of v2 can always be read, so not for
    /// that.
    pub fn interest(&self) -> PollFlags {
        if self.bell.is_some() { PollFlags::POLLIN } else { PollFlags::POLLPRI }
    }

    /// What has happened since the last call; does not wait.
    ///
    /// # Errors
    /// Where the counter cannot be read otherwise than by the end of the group.
    pub fn take(&mut self) -> Result<OomEvent> {
        // It rings for the next one only; EAGAIN: it has not rung.
        if let Some(bell) = &self.bell {
            let _ = bell.read();
        }
        match self.count() {
            Ok(count) => {
                let new = count.saturating_sub(self.seen);
                self.seen = count;
                Ok(OomEvent::Killed(new))
            }
            Err(Errno::ENODEV | Errno::ENOENT) => Ok(OomEvent::Removed),
            Err(errno) => Err(errno).during("read the counter of OOM kills"),
        }
    }

    fn count(&self) -> nix::Result<u64> {
        nix::unistd::lseek(&self.counter, 0, nix::unistd::Whence::SeekSet)?;
        let text = file::read_all(self.counter.as_fd())?;
        let kills = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        Ok(kills.and_then(|number| number.trim().parse().ok()).unwrap_or(0))
    }
}

impl AsFd for OomEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_ref().map_or(self.counter.as_fd(), AsFd::as_fd)
    }
}
