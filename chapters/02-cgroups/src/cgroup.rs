//! An existing control group: one directory in each hierarchy, held open.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use crate::controller::{Controller, ControllerSet};
use crate::error::{Context, Error, Result};
use crate::file;
use crate::hierarchy::{Hierarchy, Placement, Version};
use crate::limits::Limits;
use crate::plan::{Plan, Target};
use crate::stats::Stats;

// ANCHOR: cgroup
/// A control group: the same group in every hierarchy that is mounted.
///
/// Dropping it only closes descriptors: a control group outlives its maker. [`Cgroup::remove`]
/// removes it.
#[derive(Debug)]
pub struct Cgroup {
    groups: Vec<Group>,
}

/// The part of a control group in one hierarchy.
#[derive(Debug)]
pub struct Group {
    /// Which, and where.
    pub target: Target,
    dir: OwnedFd,
}
// ANCHOR_END: cgroup

impl Group {
    pub(crate) fn open(target: Target) -> nix::Result<Group> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let dir = nix::fcntl::open(&target.path, flags, Mode::empty())?;
        Ok(Group { target, dir })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.target.path
    }

    /// What a file of the group holds.
    ///
    /// # Errors
    /// `ENOENT` where the kernel or the group has no such file, `ENODEV` where the group is gone.
    pub fn read(&self, name: &str) -> Result<String> {
        self.try_read(name).on("read", self.path().join(name))
    }

    /// Writes to a file of the group, in one write(2).
    ///
    /// # Errors
    /// Whatever the kernel has against the value.
    pub fn write(&self, name: &str, value: &str) -> Result<()> {
        let operation = format!("write {} to", value.trim_end());
        self.try_write(name, value).on(&operation, self.path().join(name))
    }

    pub(crate) fn try_read(&self, name: &str) -> nix::Result<String> {
        file::read_at(self.dir.as_fd(), name)
    }

    pub(crate) fn try_write(&self, name: &str, value: &str) -> nix::Result<()> {
        file::write_at(self.dir.as_fd(), name, value.as_bytes())
    }
}

impl AsFd for Group {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

impl Cgroup {
    pub(crate) fn from_groups(groups: Vec<Group>) -> Cgroup {
        Cgroup { groups }
    }

    /// Makes the group and sets its limits: [`Plan::create`], executed.
    ///
    /// # Errors
    /// As [`Plan::create`] and [`Plan::execute`].
    pub fn create(hierarchy: &Hierarchy, placement: &Placement, limits: &Limits) -> Result<Cgroup> {
        Plan::create(hierarchy, placement, limits)?.execute()
    }

    /// Opens an existing group; hierarchies in which it is not there are left out.
    ///
    /// # Errors
    /// `ENOENT` where it is in none.
    pub fn open(hierarchy: &Hierarchy, placement: &Placement) -> Result<Cgroup> {
        let plan = Plan::create(hierarchy, placement, &Limits::default())?;
        Cgroup::open_targets(plan.targets)
    }

    /// Opens the group that was at `paths`, as [`Cgroup::paths`] gave them; what is gone meanwhile
    /// is left out. This is how a later process finds what an earlier one has made, wherever it
    /// stands in the hierarchies itself.
    ///
    /// # Errors
    /// `ENOENT` where nothing of it is left.
    pub fn from_paths<'a>(
        paths: impl IntoIterator<Item = (&'a String, &'a PathBuf)>,
    ) -> Result<Cgroup> {
        let mut targets = Vec::new();
        for (label, path) in paths {
            let version = if label.is_empty() { Version::V2 } else { Version::V1 };
            let controllers = match version {
                Version::V1 => label.split(',').filter_map(Controller::from_v1).collect(),
                Version::V2 => {
                    let listed = std::fs::read_to_string(path.join("cgroup.controllers"));
                    ControllerSet::parse_v2(&listed.unwrap_or_default())
                        .union(ControllerSet::IMPLICIT)
                }
            };
            let point = top_of(path);
            targets.push(Target {
                version,
                controllers,
                label: label.clone(),
                point,
                path: path.clone(),
            });
        }
        let in_v1 = targets
            .iter()
            .filter(|target| target.version == Version::V1)
            .fold(ControllerSet::EMPTY, |all, target| all.union(target.controllers));
        for target in targets.iter_mut().filter(|target| target.version == Version::V2) {
            target.controllers = target.controllers.without(in_v1);
        }
        Cgroup::open_targets(targets)
    }

    fn open_targets(targets: Vec<Target>) -> Result<Cgroup> {
        let mut groups = Vec::new();
        let mut last = None;
        for target in targets {
            let path = target.path.clone();
            match Group::open(target) {
                Ok(group) => groups.push(group),
                Err(Errno::ENOENT) => last = Some(path),
                Err(errno) => return Err(errno).on("open the control group", path),
            }
        }
        match last {
            Some(path) if groups.is_empty() => {
                Err(Errno::ENOENT).on("open the control group", path)
            }
            _ => Ok(Cgroup { groups }),
        }
    }

    /// Where the group is, by the names of /proc/PID/cgroup: `memory`, `cpu,cpuacct`,
    /// `name=systemd`, and the empty name for v2.
    pub fn paths(&self) -> BTreeMap<String, PathBuf> {
        let of = |group: &Group| (group.target.label.clone(), group.target.path.clone());
        self.groups.iter().map(of).collect()
    }

    /// The group in each hierarchy.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The group in the hierarchy that has `controller`.
    pub fn group(&self, controller: Controller) -> Option<&Group> {
        self.groups.iter().find(|group| group.target.controllers.contains(controller))
    }

    /// The group in the v2 hierarchy.
    pub fn unified(&self) -> Option<&Group> {
        self.groups.iter().find(|group| group.target.version == Version::V2)
    }

    /// A descriptor for clone3(2) with CLONE_INTO_CGROUP: the child begins its life in the group.
    /// It covers the v2 hierarchy; [`Cgroup::doors`] leads into the others.
    pub fn clone_fd(&self) -> Option<BorrowedFd<'_>> {
        self.unified().map(AsFd::as_fd)
    }

    // ANCHOR: add
    /// Moves a process, with all its threads, into the group in every hierarchy. 0 is the caller.
    /// Slow where the machine has moved no process lately: see [`Cgroup::doors`].
    ///
    /// # Errors
    /// `ESRCH` where there is no such process; `EACCES` where the caller may not take it out of its
    /// present group; `ENOSPC` where the cpuset is empty.
    pub fn add(&self, pid: libc::pid_t) -> Result<()> {
        self.groups.iter().try_for_each(|group| group.write("cgroup.procs", &pid.to_string()))
    }

    /// As [`Cgroup::add`], in v1 hierarchies only: for a process that was cloned into the group in
    /// v2 already.
    ///
    /// # Errors
    /// As [`Cgroup::add`].
    pub fn add_legacy(&self, pid: libc::pid_t) -> Result<()> {
        let mut legacy = self.groups.iter().filter(|g| g.target.version == Version::V1);
        legacy.try_for_each(|group| group.write("cgroup.procs", &pid.to_string()))
    }
    // ANCHOR_END: add

    /// Changes the limits that are set in `limits` and leaves the others: [`Plan::update`],
    /// executed.
    ///
    /// # Errors
    /// As [`Plan::update`] and [`Plan::apply`]. What was written before the failure stays.
    pub fn apply(&self, limits: &Limits) -> Result<()> {
        Plan::update(self, limits)?.apply(self)
    }

    /// What the group uses and has used.
    ///
    /// # Errors
    /// Where a file cannot be read that is there.
    pub fn stats(&self) -> Result<Stats> {
        Stats::read(self)
    }

    /// The processes of the group and of all groups below it. A process of another pid namespace
    /// that has no number here is left out.
    ///
    /// # Errors
    /// `ENODEV` where the group was removed.
    pub fn processes(&self) -> Result<BTreeSet<libc::pid_t>> {
        let mut all = BTreeSet::new();
        for group in self.witnesses() {
            collect_processes(group.path(), &mut all).on("read the processes of", group.path())?;
        }
        Ok(all)
    }

    /// The groups that tell which processes there are: v2's, and in v1 the one that can freeze
    /// them. Whoever left one hierarchy's group is still found in the other's.
    pub(crate) fn witnesses(&self) -> impl Iterator<Item = &Group> {
        let v1 = |group: &&Group| group.target.version == Version::V1;
        let freezer = self.group(Controller::Freezer).filter(v1);
        let first = freezer.or_else(|| self.groups.iter().find(v1));
        first.into_iter().chain(self.unified())
    }
}

/// Where the hierarchy of a group is mounted: the last directory above that is a control group.
fn top_of(path: &Path) -> PathBuf {
    let is_group = |dir: &&Path| dir.join("cgroup.procs").exists();
    path.ancestors().skip(1).take_while(is_group).last().unwrap_or(path).to_path_buf()
}

/// Adds the processes of the group at `dir` and of those below it.
pub(crate) fn collect_processes(dir: &Path, all: &mut BTreeSet<libc::pid_t>) -> nix::Result<()> {
    let text = file::read(&dir.join("cgroup.procs"))?;
    all.extend(text.lines().filter_map(|line| line.parse::<libc::pid_t>().ok()).filter(|p| *p > 0));
    for child in file::directories(dir) {
        match collect_processes(&child, all) {
            // Removed meanwhile.
            Err(Errno::ENOENT | Errno::ENODEV) => {}
            other => other?,
        }
    }
    Ok(())
}

impl Error {
    /// Whether it says that the group is not there (any more).
    pub fn is_gone(&self) -> bool {
        matches!(self.errno(), Some(Errno::ENOENT | Errno::ENODEV))
    }
}
