//! Carrying out a plan: few system calls, and nothing left of a plan that failed.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use crate::bpf::Program;
use crate::cgroup::{Cgroup, Group};
use crate::controller::{Controller, ControllerSet};
use crate::error::{Context, Error, KernelError, Result};
use crate::file;
use crate::plan::{Owner, Plan, Step, Target, Write};
use crate::removal;
use crate::v1::DeviceList;

impl Plan {
    // ANCHOR: execute
    /// Makes the group and sets its limits.
    ///
    /// # Errors
    /// What the failed step says; the directories that were made are removed again.
    pub fn execute(&self) -> Result<Cgroup> {
        let mut made = Made::default();
        let groups = self.make(&mut made)?;
        let cgroup = Cgroup::from_groups(groups);
        self.apply(&cgroup)?;
        made.keep();
        Ok(cgroup)
    }
    // ANCHOR_END: execute

    /// Carries out all steps but the making of directories.
    ///
    /// # Errors
    /// What the failed step says.
    pub fn apply(&self, cgroup: &Cgroup) -> Result<()> {
        let mut run = Run { plan: self, cgroup, open: None };
        self.steps.iter().try_for_each(|step| run.step(step))
    }

    /// The directories, opened. One that may not be made is left out where no step needs it.
    fn make(&self, made: &mut Made) -> Result<Vec<Group>> {
        let mut groups = Vec::new();
        for (index, target) in self.targets.iter().enumerate() {
            let result = made.directory(&target.point, &target.path);
            match result {
                Err(Errno::EACCES | Errno::EPERM | Errno::EROFS)
                    if self.skip_forbidden && !self.needs(index) =>
                {
                    continue;
                }
                other => other.on("mkdir", &target.path)?,
            }
            groups.push(Group::open(target.clone()).on("open", &target.path)?);
        }
        Ok(groups)
    }

    /// Whether a limit is set in the target `index`.
    fn needs(&self, index: usize) -> bool {
        self.steps.iter().any(|step| match step {
            Step::Make(_) | Step::InheritCpuset(_) => false,
            Step::Enable { group, needed, .. } => *group == index && !needed.is_empty(),
            Step::Write(write) => write.group == index,
            Step::AnyOrder(writes) => writes.iter().any(|write| write.group == index),
            Step::CheckUsage { group, .. }
            | Step::DeviceList(group, _)
            | Step::DeviceProgram(group, _)
            | Step::Delegate(group, _) => *group == index,
        })
    }
}

// ANCHOR: made
/// The directories that a plan has made; dropped without [`Made::keep`], it removes them.
#[derive(Default)]
struct Made(Vec<PathBuf>);

impl Made {
    /// mkdir -p, from the top of the hierarchy at `point`. Usually only the last directory is
    /// missing, so that one is tried first.
    fn directory(&mut self, point: &Path, path: &Path) -> nix::Result<()> {
        match nix::unistd::mkdir(path, Mode::from_bits_truncate(0o755)) {
            Ok(()) => {
                self.0.push(path.to_path_buf());
                Ok(())
            }
            Err(Errno::EEXIST) => Ok(()),
            Err(Errno::ENOENT) if path != point => {
                let above = path.parent().unwrap_or(point);
                self.directory(point, above)?;
                if self.0.last().is_some_and(|made| made == above) {
                    removal::mark(above);
                }
                self.directory(point, path)
            }
            Err(errno) => Err(errno),
        }
    }

    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for path in self.0.iter().rev() {
            // Nothing can be done about one that somebody uses already.
            let _ = std::fs::remove_dir(path);
        }
    }
}
// ANCHOR_END: made

/// A file that was written to and may be written to again: `devices.allow` takes a dozen lines.
struct Open {
    group: usize,
    name: String,
    fd: OwnedFd,
}

struct Run<'a> {
    plan: &'a Plan,
    cgroup: &'a Cgroup,
    open: Option<Open>,
}

impl<'a> Run<'a> {
    fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Make(_) => Ok(()),
            Step::InheritCpuset(index) => match self.find(*index) {
                Some(group) => inherit_cpuset(&group.target.point, group.path()),
                None => Ok(()),
            },
            Step::Enable { group, needed, wanted } => match self.find(*group) {
                Some(group) => enable(group, *needed, *wanted),
                None => Ok(()),
            },
            Step::Write(write) => self.write(write),
            Step::AnyOrder(writes) => self.any_order(writes),
            Step::CheckUsage { group, file, limit } => check(self.group(*group)?, file, *limit),
            Step::DeviceList(group, list) => self.device_list(*group, list),
            Step::DeviceProgram(group, rules) => {
                Program::new(rules).attach(self.group(*group)?.as_fd())
            }
            Step::Delegate(group, owner) => delegate(self.group(*group)?.path(), *owner),
        }
    }

    fn target(&self, index: usize) -> &'a Target {
        &self.plan.targets[index]
    }

    /// The group of a target, unless it was left out.
    fn find(&self, index: usize) -> Option<&'a Group> {
        let path = &self.target(index).path;
        // Usually none was left out, and the positions are equal.
        let groups = self.cgroup.groups();
        let same = |group: &&Group| group.target.path == *path;
        groups.get(index).filter(same).or_else(|| groups.iter().find(same))
    }

    fn group(&self, index: usize) -> Result<&'a Group> {
        let path = &self.target(index).path;
        let found = self.find(index);
        found.ok_or(Errno::ENOENT).on("open the control group", path)
    }

    // ANCHOR: write
    fn write(&mut self, write: &Write) -> Result<()> {
        match (self.try_write(write.group, &write.file, &write.value)?, &write.instead) {
            (Err(Errno::ENOENT), Some((file, value))) => {
                let result = self.try_write(write.group, file, value)?;
                // Where there is neither, the second is the one that today's kernels have.
                self.told(write.group, file, value, result, write.optional)
            }
            (result, _) => {
                self.told(write.group, &write.file, &write.value, result, write.optional)
            }
        }
    }
    // ANCHOR_END: write

    fn told(
        &self,
        group: usize,
        file: &str,
        value: &str,
        result: nix::Result<()>,
        optional: bool,
    ) -> Result<()> {
        match result {
            Err(Errno::ENOENT) if optional => Ok(()),
            other => {
                let operation = format!("write {} to", value.trim_end());
                other.on(&operation, self.target(group).path.join(file))
            }
        }
    }

    /// The outer error is that the group is not there, the inner one is of the file.
    fn try_write(&mut self, group: usize, name: &str, value: &str) -> Result<nix::Result<()>> {
        let reusable = self.open.as_ref().is_some_and(|o| o.group == group && o.name == name);
        if !reusable {
            let dir = self.group(group)?;
            let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
            match nix::fcntl::openat(dir.as_fd(), name, flags, Mode::empty()) {
                Ok(fd) => self.open = Some(Open { group, name: name.to_owned(), fd }),
                Err(errno) => return Ok(Err(errno)),
            }
        }
        let Some(open) = &self.open else { return Ok(Err(Errno::EBADF)) };
        Ok(file::write(open.fd.as_fd(), value.as_bytes()))
    }

    // ANCHOR: any_order
    fn any_order(&mut self, writes: &[Write]) -> Result<()> {
        let mut pending: VecDeque<&Write> = writes.iter().collect();
        let mut refused = 0;
        while let Some(write) = pending.pop_front() {
            match self.write(write) {
                Ok(()) => refused = 0,
                // All that are left were refused one after the other: it is not the order.
                Err(error) if refused == pending.len() => return Err(error),
                Err(Error::Kernel(KernelError { errno: Errno::EINVAL, .. })) => {
                    refused += 1;
                    pending.push_back(write);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
    // ANCHOR_END: any_order

    fn device_list(&mut self, group: usize, list: &DeviceList) -> Result<()> {
        let present = DeviceList::parse(&self.group(group)?.read("devices.list")?)?;
        list.changes(&present, group).iter().try_for_each(|write| self.write(write))
    }
}

// ANCHOR: inherit
/// A new v1 cpuset has no processor and no memory node, and so has one that somebody made above it
/// and did not fill: from the top down, each gets what its parent has.
fn inherit_cpuset(point: &Path, path: &Path) -> Result<()> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        fill(point, path, name)?;
    }
    Ok(())
}

/// The value of `name` in the group `path`, filled in where it is empty.
fn fill(point: &Path, path: &Path, name: &str) -> Result<String> {
    let file = path.join(name);
    let present = file::read(&file).on("read", &file)?;
    if path == point || !present.trim().is_empty() {
        return Ok(present);
    }
    let value = fill(point, path.parent().unwrap_or(point), name)?;
    let operation = format!("write {} to", value.trim());
    std::fs::write(&file, value.trim()).on(&operation, &file)?;
    Ok(value)
}
// ANCHOR_END: inherit

// ANCHOR: enable
/// A group has the controllers that its parent's `cgroup.subtree_control` lists, and a parent can
/// list only what it has itself. So they are switched on from the top down, beginning at the
/// nearest group above that has them all.
fn enable(group: &Group, needed: ControllerSet, wanted: ControllerSet) -> Result<()> {
    let present = ControllerSet::parse_v2(&group.read("cgroup.controllers")?);
    let missing = needed.union(wanted).without(present);
    if missing.is_empty() {
        return Ok(());
    }
    let mut above: Vec<&Path> = Vec::new();
    for dir in group.path().ancestors().skip(1) {
        above.push(dir);
        let has = ControllerSet::parse_v2(&read_controllers(dir));
        if dir == group.target.point || missing.without(has).is_empty() {
            break;
        }
    }
    for dir in above.into_iter().rev() {
        let file = dir.join("cgroup.subtree_control");
        if std::fs::write(&file, missing.enabling()).is_ok() {
            continue;
        }
        // One that cannot be switched on spoils the write for all.
        for controller in missing.iter() {
            let one = ControllerSet::EMPTY.with(controller).enabling();
            let written = std::fs::write(&file, &one);
            if needed.contains(controller) {
                written.on(&format!("write {one} to"), &file)?;
            }
        }
    }
    Ok(())
}
// ANCHOR_END: enable

fn read_controllers(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default()
}

fn check(group: &Group, name: &str, limit: u64) -> Result<()> {
    let used: u64 = group.read(name)?.trim().parse().unwrap_or(0);
    if used <= limit {
        return Ok(());
    }
    let why = format!("{used} bytes are in use, and a check before the update was asked for");
    Err(Error::invalid(format!("memory limit {limit}"), why))
}

// ANCHOR: delegate
/// Gives a v2 group to a user: the directory, so that groups can be made in it, and those files of
/// it that the kernel lists as safe. The limits stay with us: they are the parent's to set.
fn delegate(path: &Path, owner: Owner) -> Result<()> {
    const LIST: &str = "/sys/kernel/cgroup/delegate";
    let Owner { uid, gid } = owner;
    chown(path, Some(uid), Some(gid)).on("chown", path)?;
    let list = std::fs::read_to_string(LIST).on("read", LIST)?;
    for name in list.lines() {
        let file = path.join(name);
        match chown(&file, Some(uid), Some(gid)) {
            // The list is of all controllers', also of those that the group does not have.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            other => other.on("chown", &file)?,
        }
    }
    Ok(())
}
// ANCHOR_END: delegate

impl Target {
    /// Whether the limits of `controller` are set here.
    pub fn has(&self, controller: Controller) -> bool {
        self.controllers.contains(controller)
    }
}
