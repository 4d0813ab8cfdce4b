//! Stopping all processes of a group at once, and killing them.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use crate::cgroup::{Cgroup, Group, collect_processes};
use crate::controller::Controller;
use crate::error::{Context, Error, Result};
use crate::file;
use crate::hierarchy::Version;

/// Whether a group runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its processes run.
    Thawed,
    /// Some of its processes have stopped, others not yet.
    Freezing,
    /// None of its processes runs.
    Frozen,
}

/// A process in an uninterruptible sleep cannot be stopped; no other takes a tenth of this.
const PATIENCE: Duration = Duration::from_secs(5);

impl Cgroup {
    // ANCHOR: freeze
    /// Stops all processes of the group and of those below it, and returns when none runs any more.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a freezer; `EBUSY` where a process does not stop within five
    /// seconds: the group is thawed again then.
    pub fn freeze(&self) -> Result<()> {
        let group = self.freezer()?;
        let frozen = match group.target.version {
            Version::V2 => freeze_v2(group)?,
            Version::V1 => freeze_v1(group)?,
        };
        if frozen {
            return Ok(());
        }
        self.thaw()?;
        Err(Errno::EBUSY).on("freeze (a process in an uninterruptible sleep?)", group.path())
    }
    // ANCHOR_END: freeze

    /// Lets them run again.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a freezer.
    pub fn thaw(&self) -> Result<()> {
        let group = self.freezer()?;
        match group.target.version {
            Version::V2 => group.write("cgroup.freeze", "0"),
            Version::V1 => group.write("freezer.state", "THAWED"),
        }
    }

    /// Whether the group runs.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a freezer.
    pub fn state(&self) -> Result<State> {
        let group = self.freezer()?;
        match group.target.version {
            Version::V1 => Ok(match group.read("freezer.state")?.trim() {
                "FROZEN" => State::Frozen,
                "FREEZING" => State::Freezing,
                _ => State::Thawed,
            }),
            Version::V2 => {
                let asked = group.read("cgroup.freeze")?.trim() == "1";
                let frozen = event(&group.read("cgroup.events")?, "frozen");
                Ok(match (frozen, asked) {
                    (true, _) => State::Frozen,
                    (false, true) => State::Freezing,
                    (false, false) => State::Thawed,
                })
            }
        }
    }

    fn freezer(&self) -> Result<&Group> {
        self.group(Controller::Freezer).ok_or_else(|| {
            let why = "v1's freezer is not mounted, and there is no v2 hierarchy";
            Error::unavailable("freezing", why)
        })
    }

    // ANCHOR: kill
    /// Kills every process of the group and of those below it, so that none escapes by forking.
    /// They may still be ending when this returns; [`Cgroup::remove`] waits for that.
    ///
    /// v2 has a file for it. In v1 the group is frozen first: a frozen process cannot fork, and its
    /// number cannot become somebody else's. It dies when it is thawed. On a hybrid host that is
    /// done only for processes that have left the group in v2.
    ///
    /// A group that is gone has no processes, which is no error.
    ///
    /// Kernels since the fix of a race between fork and cgroup.kill (6.14, and in the stable series
    /// of 2025) kill at once what is cloned *into* a group that was killed before: they compare
    /// with the count of kills of the caller's group, not of the target's (`kill_seq` in
    /// kernel/cgroup/cgroup.c; seen on 6.18). A group that was killed is therefore to be removed,
    /// not used again.
    ///
    /// # Errors
    /// `EPERM` where the caller may not.
    pub fn kill(&self) -> Result<()> {
        let mut dying = BTreeSet::new();
        if let Some(unified) = self.unified() {
            match unified.write("cgroup.kill", "1") {
                Err(error) if error.is_gone() => {}
                other => other?,
            }
            let _ = collect_processes(unified.path(), &mut dying);
        }
        match self.kill_v1(&dying) {
            Err(error) if error.is_gone() => Ok(()),
            other => other,
        }
    }

    /// Kills what is in the v1 group and not among the `dying`.
    fn kill_v1(&self, dying: &BTreeSet<libc::pid_t>) -> Result<()> {
        let freezer = self.group(Controller::Freezer);
        let Some(group) = freezer.filter(|group| group.target.version == Version::V1) else {
            return Ok(());
        };
        let mut here = BTreeSet::new();
        collect_processes(group.path(), &mut here).on("read the processes of", group.path())?;
        if here.is_empty() {
            return Ok(());
        }
        // They are dying, but one that v1 has frozen does so only when it is thawed.
        if here.is_subset(dying) {
            return group.write("freezer.state", "THAWED");
        }
        freeze_v1(group)?;
        for pid in self.processes()? {
            // ESRCH: it has ended meanwhile, where it could not be frozen.
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid),
                nix::sys::signal::Signal::SIGKILL,
            );
        }
        group.write("freezer.state", "THAWED")
    }
    // ANCHOR_END: kill
}

// ANCHOR: freeze_v2
/// The kernel says by POLLPRI on `cgroup.events` when the last process has stopped.
fn freeze_v2(group: &Group) -> Result<bool> {
    let path = group.path().join("cgroup.events");
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let open = || nix::fcntl::openat(group.as_fd(), "cgroup.events", flags, Mode::empty());
    let events = open().on("open", &path)?;
    group.write("cgroup.freeze", "1")?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        // From the beginning, and this also arms the next POLLPRI.
        nix::unistd::lseek(&events, 0, nix::unistd::Whence::SeekSet).on("read", &path)?;
        if event(&file::read_all(events.as_fd()).on("read", &path)?, "frozen") {
            return Ok(true);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || !file::changed(events.as_fd(), left).on("poll", &path)? {
            return Ok(false);
        }
    }
}
// ANCHOR_END: freeze_v2

// ANCHOR: freeze_v1
/// v1 tells nobody when it is done: reading the state is what finds out, so this asks again, at
/// first at once. A process that forks meanwhile can leave the group in FREEZING for good; writing
/// FROZEN again catches the child.
fn freeze_v1(group: &Group) -> Result<bool> {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_micros(20);
    while Instant::now() < deadline {
        group.write("freezer.state", "FROZEN")?;
        if group.read("freezer.state")?.trim() == "FROZEN" {
            return Ok(true);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
    Ok(false)
}
// ANCHOR_END: freeze_v1

/// Whether `name` is 1 in the text of `cgroup.events`.
pub(crate) fn event(text: &str, name: &str) -> bool {
    text.lines().any(|line| line.strip_prefix(name).is_some_and(|value| value.trim() == "1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_by_name() {
        let text = "populated 1\nfrozen 0\n";
        assert!(event(text, "populated"));
        assert!(!event(text, "frozen"));
        assert!(!event("frozenly 1\n", "frozen"));
    }
}
