//! A v2 group that belongs to a user: where groups can be made without root.
//!
//! Whoever owns a group's directory and its `cgroup.procs` may divide it, and may move processes inside of it, and
//! only those: the nearest group above both places of a process must be the mover's, too
//! (Documentation/admin-guide/cgroup-v2.rst of the kernel, "Delegation"). So who makes groups there has to be in it.
//!
//! ```text
//! GROUP                      given to the user, with the processes that are in it
//! ├── corten-callers         they move here, since a group that holds processes gives no controllers
//! └── corten/ID              a container
//! ```
//!
//! When the last container has gone all of it is undone: the processes are where they were.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::AccessFlags;

use crate::controller::ControllerSet;
use crate::error::{Context, Result};
use crate::file;
use crate::hierarchy::{Hierarchy, Layout};

/// The child of a given group that its own processes move into.
pub const CALLERS: &str = "corten-callers";

/// How long processes are moved that fork all the time.
const PATIENCE: Duration = Duration::from_secs(5);

/// A v2 group in which the caller may make groups and move itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegation {
    point: PathBuf,
    group: PathBuf,
    controllers: ControllerSet,
}

/// The group's own processes stay out of it until this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Settled {
    _turn: Flock<File>,
}

impl Delegation {
    // ANCHOR: of_caller
    /// The group that the caller is in, where it is the caller's and the machine has v2 alone: directory,
    /// `cgroup.procs` and `cgroup.subtree_control` can be written to. Of root every group is.
    pub fn of_caller(hierarchy: &Hierarchy) -> Option<Delegation> {
        let [mount] = hierarchy.mounts() else { return None };
        if hierarchy.layout() != Layout::Unified {
            return None;
        }
        // Where we were moved by ourselves, it is the one above.
        let above = mount.own.parent().filter(|_| mount.own.ends_with(CALLERS));
        let group = above.filter(|group| may_divide(group)).unwrap_or(&mount.own);
        may_divide(group).then(|| Delegation {
            point: mount.point.clone(),
            group: group.to_owned(),
            controllers: controllers(group),
        })
    }
    // ANCHOR_END: of_caller

    /// The group's directory.
    pub fn group(&self) -> &Path {
        &self.group
    }

    /// The group from the top of the hierarchy; empty for the top itself.
    pub fn below_top(&self) -> &Path {
        self.group.strip_prefix(&self.point).unwrap_or(Path::new(""))
    }

    /// What groups in it can have: who has given it away has left these to it.
    pub fn controllers(&self) -> ControllerSet {
        self.controllers
    }

    /// The same with what groups in it can have, for plans of such.
    #[must_use]
    pub fn narrow(&self, mut hierarchy: Hierarchy) -> Hierarchy {
        hierarchy.offer(self.controllers);
        hierarchy
    }
}

fn may_divide(group: &Path) -> bool {
    let may = |path: &Path| nix::unistd::access(path, AccessFlags::W_OK).is_ok();
    may(group)
        && ["cgroup.procs", "cgroup.subtree_control"].iter().all(|name| may(&group.join(name)))
}

fn controllers(group: &Path) -> ControllerSet {
    let listed = file::read(&group.join("cgroup.controllers")).unwrap_or_default();
    ControllerSet::parse_v2(&listed)
}

// ANCHOR: settle
/// Moves the processes of a given group into a child of it, so that others of its children can have controllers.
/// Until the answer is dropped, [`leave`] does nothing; it is kept until there is a container.
///
/// # Errors
/// `EACCES` where the group is not the caller's any more; `EBUSY` where processes fork faster than they are moved;
/// `ESRCH` for one of another pid namespace.
pub fn settle(group: &Path) -> Result<Settled> {
    let turn = turn(group, FlockArg::LockShared).on("lock", group)?;
    let callers = group.join(CALLERS);
    match std::fs::create_dir(&callers) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        other => other.on("mkdir", &callers)?,
    }
    move_all(group, &callers)?;
    Ok(Settled { _turn: turn })
}
// ANCHOR_END: settle

// ANCHOR: leave
/// Undoes [`settle`], where no group of a container is left, and nobody is about to start one: the processes
/// are again where they were. Whoever finds another one at it leaves it to that one.
///
/// # Errors
/// Where processes cannot be moved back.
pub fn leave(group: &Path) -> Result<()> {
    let _turn = match turn(group, FlockArg::LockExclusiveNonblock) {
        Err(Errno::EWOULDBLOCK | Errno::ENOENT) => return Ok(()),
        other => other.on("lock", group)?,
    };
    let callers = group.join(CALLERS);
    // Groups of other containers, which do it at their end, or that others have made, there or in ours: they
    // may need the controllers.
    if file::directories(group) != [callers.clone()] || !file::directories(&callers).is_empty() {
        return Ok(());
    }
    let control = group.join("cgroup.subtree_control");
    for controller in ControllerSet::parse_v2(&file::read(&control).on("read", &control)?).iter() {
        let Some(name) = controller.v2_name() else { continue };
        std::fs::write(&control, format!("-{name}")).on(&format!("write -{name} to"), &control)?;
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        move_all(&callers, group)?;
        match std::fs::remove_dir(&callers) {
            // One has forked in between.
            Err(error)
                if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline => {}
            other => return other.on("rmdir", &callers),
        }
    }
}
// ANCHOR_END: leave

/// A lock on the directory itself: it is there as long as the group is.
fn turn(group: &Path, how: FlockArg) -> nix::Result<Flock<File>> {
    let directory = File::open(group).map_err(|error| crate::error::errno_of(&error))?;
    Flock::lock(directory, how).map_err(|(_, errno)| errno)
}

/// Moves all processes of one group to another, until none is left: what they start meanwhile is where they are.
fn move_all(from: &Path, to: &Path) -> Result<()> {
    let (list, door) = (from.join("cgroup.procs"), to.join("cgroup.procs"));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = file::read(&list).on("read", &list)?;
        if text.is_empty() {
            return Ok(());
        }
        for pid in text.lines() {
            match std::fs::write(&door, pid) {
                // It has ended.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) && pid != "0" => {}
                other => other.on(&format!("move process {pid} to"), &door)?,
            }
        }
        if Instant::now() > deadline {
            return Err(Errno::EBUSY).on("empty", &list);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::Controller;

    fn group(path: &Path, controllers: &str) {
        std::fs::create_dir(path).unwrap();
        for (name, text) in [
            ("cgroup.procs", ""),
            ("cgroup.subtree_control", ""),
            ("cgroup.controllers", controllers),
        ] {
            std::fs::write(path.join(name), text).unwrap();
        }
    }

    #[test]
    fn the_group_is_the_caller_s_or_where_it_was_moved_the_one_above() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("own");
        group(&own, "memory pids\n");
        group(&own.join(CALLERS), "memory\n");
        let line = format!("1 2 0:30 / {} rw - cgroup2 none rw", dir.path().display());
        let parse = |mounts: &str, at: &str| {
            Hierarchy::parse(mounts, &format!("0::{at}\n"), |_| "memory io\n".into()).unwrap()
        };
        for at in ["/own", "/own/corten-callers"] {
            let given = Delegation::of_caller(&parse(&line, at)).unwrap();
            assert_eq!((given.group(), given.below_top()), (&*own, Path::new("own")));
            assert!(given.controllers().contains(Controller::Pids));
            let narrow = given.narrow(parse(&line, at));
            assert!(narrow.of(Controller::Memory).is_some() && narrow.of(Controller::Io).is_none());
            assert!(narrow.of(Controller::Freezer).is_some());
        }
        assert_eq!(Delegation::of_caller(&parse(&line, "/other")), None);
        let hybrid = format!("{line}\n3 2 0:31 / /v1 rw - cgroup none rw,memory");
        assert_eq!(Delegation::of_caller(&parse(&hybrid, "/own")), None);
    }
}
