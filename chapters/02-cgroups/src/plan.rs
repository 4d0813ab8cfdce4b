//! From limits to the writes that set them, as data.
//!
//! A plan is printed by `explain`, tested without root, and carried out by `execute.rs`. Which driver
//! plans a limit is decided controller by controller: the one of the hierarchy that has the
//! controller. On a hybrid host a plan therefore mixes v1 and v2.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use crate::controller::{Controller, ControllerSet};
use crate::device::DeviceRule;
use crate::error::{Error, Result};
use crate::hierarchy::{Hierarchy, Layout, Mount, Placement, Version};
use crate::limits::Limits;
use crate::{Cgroup, v1, v2};

// ANCHOR: target
/// A group of one hierarchy that a plan is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The hierarchy.
    pub version: Version,
    /// Its controllers; see [`Mount::controllers`].
    pub controllers: ControllerSet,
    /// How /proc/PID/cgroup calls the hierarchy; see [`Mount::label`].
    pub label: String,
    /// Where the hierarchy is mounted.
    pub point: PathBuf,
    /// The group's directory.
    pub path: PathBuf,
}
// ANCHOR_END: target

// ANCHOR: step
/// One step; `group` is the index of its target.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Makes the group's directory, and what is missing above it.
    Make(usize),
    /// v1: gives a new cpuset its parent's processors and memory nodes; it is made with none, and
    /// no process can enter it then.
    InheritCpuset(usize),
    /// v2: switches controllers on, from the top of the hierarchy down to the group's parent.
    Enable {
        /// The group.
        group: usize,
        /// Those that a limit needs.
        needed: ControllerSet,
        /// Those that are switched on for the sake of counting, where it is possible.
        wanted: ControllerSet,
    },
    /// Writes to a file.
    Write(Write),
    /// Writes that the kernel checks against each other's present values: one that is refused with
    /// EINVAL is tried again after the others.
    AnyOrder(Vec<Write>),
    /// Fails where the number in a file is above a limit.
    CheckUsage {
        /// The group.
        group: usize,
        /// The file with the number.
        file: &'static str,
        /// The limit.
        limit: u64,
    },
    /// v1: makes the kernel's list equal to the rules', entry by entry, so that a device that is in
    /// both stays usable throughout.
    DeviceList(usize, v1::DeviceList),
    /// v2: loads the rules as a program and attaches it in the place of the last one.
    DeviceProgram(usize, Vec<DeviceRule>),
    /// Gives the group to a user, who may then make groups below it.
    Delegate(usize, Owner),
}
// ANCHOR_END: step

/// A value for a file of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The group, by the index of its target.
    pub group: usize,
    /// The file's name.
    pub file: Cow<'static, str>,
    /// What is written, in one write(2).
    pub value: String,
    /// File and value where there is no file of that name.
    pub instead: Option<(&'static str, String)>,
    /// Whether it is all right that there is neither.
    pub optional: bool,
}

/// Who a group is given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// A part of the limits that this version of control groups has nothing for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignored {
    /// The limit.
    pub limit: &'static str,
    /// Why it means nothing here.
    pub why: &'static str,
}

// ANCHOR: plan
/// What will be done to a control group.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The group in each hierarchy.
    pub targets: Vec<Target>,
    /// What is done to them, in this order.
    pub steps: Vec<Step>,
    /// What was asked for and means nothing here.
    pub ignored: Vec<Ignored>,
    /// Leaves out a hierarchy in which the caller may not make a group, where no step needs one:
    /// for callers without root's rights.
    pub skip_forbidden: bool,
}
// ANCHOR_END: plan

/// What v2 counts for every group of ours, limited or not.
const COUNTED: [Controller; 4] =
    [Controller::Cpu, Controller::Memory, Controller::Pids, Controller::Io];

impl Plan {
    // ANCHOR: create
    /// The plan of a new group, in every hierarchy.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the limits contradict themselves, [`Error::Unavailable`] where this
    /// machine lacks the controller of one.
    pub fn create(hierarchy: &Hierarchy, placement: &Placement, limits: &Limits) -> Result<Plan> {
        let target = |mount: &Mount| Target {
            version: mount.version,
            controllers: mount.controllers,
            label: mount.label(),
            point: mount.point.clone(),
            path: hierarchy.directory(mount, placement),
        };
        let targets: Vec<Target> = hierarchy.mounts().iter().map(target).collect();
        let mut draft = Draft::new(&targets, true);
        draft.limits(limits)?;
        let mut steps: Vec<Step> = (0..targets.len()).map(Step::Make).collect();
        for (group, target) in targets.iter().enumerate() {
            match target.version {
                Version::V1 if target.controllers.contains(Controller::Cpuset) => {
                    steps.push(Step::InheritCpuset(group));
                }
                Version::V2 => {
                    let counted = hierarchy.layout() == Layout::Unified;
                    steps.extend(enable(group, target, draft.needed, counted));
                }
                Version::V1 => {}
            }
        }
        steps.append(&mut draft.steps);
        let ignored = draft.ignored;
        Ok(Plan { targets, steps, ignored, skip_forbidden: false })
    }
    // ANCHOR_END: create

    /// The plan of a change to an existing group.
    ///
    /// # Errors
    /// As [`Plan::create`].
    pub fn update(cgroup: &Cgroup, limits: &Limits) -> Result<Plan> {
        let targets: Vec<Target> = cgroup.groups().iter().map(|g| g.target.clone()).collect();
        let mut draft = Draft::new(&targets, false);
        draft.limits(limits)?;
        let mut steps = Vec::new();
        for (group, target) in targets.iter().enumerate() {
            if target.version == Version::V2 {
                steps.extend(enable(group, target, draft.needed, false));
            }
        }
        steps.append(&mut draft.steps);
        let ignored = draft.ignored;
        Ok(Plan { targets, steps, ignored, skip_forbidden: false })
    }

    /// Gives the group to `owner` as the last step. In v2 only: v1 cannot be delegated safely, as
    /// whoever may move processes in one hierarchy escapes the limits of it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a v2 hierarchy.
    pub fn delegate(mut self, owner: Owner) -> Result<Plan> {
        let v2 = self.targets.iter().position(|target| target.version == Version::V2);
        let group = v2.ok_or_else(|| {
            Error::unavailable(
                "delegation",
                "only a v2 hierarchy can be delegated, and none is mounted",
            )
        })?;
        self.steps.push(Step::Delegate(group, owner));
        Ok(self)
    }
}

/// The step that gives the v2 group `group` its controllers, where it takes one.
fn enable(group: usize, target: &Target, needed: ControllerSet, counted: bool) -> Option<Step> {
    let switchable = target.controllers.without(ControllerSet::IMPLICIT);
    let needed = needed.intersection(switchable);
    let wanted: ControllerSet =
        COUNTED.into_iter().filter(|c| counted && switchable.contains(*c)).collect();
    let any = !needed.union(wanted).is_empty();
    any.then_some(Step::Enable { group, needed, wanted: wanted.without(needed) })
}

/// A plan in the making; the drivers in [`v1`] and [`v2`] fill it.
pub(crate) struct Draft<'a> {
    targets: &'a [Target],
    /// Whether the group is made by this plan, so that nothing was set before.
    pub(crate) new: bool,
    pub(crate) steps: Vec<Step>,
    pub(crate) ignored: Vec<Ignored>,
    pub(crate) needed: ControllerSet,
}

impl<'a> Draft<'a> {
    fn new(targets: &'a [Target], new: bool) -> Draft<'a> {
        let (steps, ignored) = (Vec::new(), Vec::new());
        Draft { targets, new, steps, ignored, needed: ControllerSet::EMPTY }
    }

    // ANCHOR: dispatch
    fn limits(&mut self, limits: &Limits) -> Result<()> {
        limits.check()?;
        v1::plan(self, limits)?;
        v2::plan(self, limits)
    }

    /// The group of `controller`, where it is of this version. An absent controller matters only
    /// here, where a limit on it is asked for.
    pub(crate) fn group(
        &mut self,
        version: Version,
        controller: Controller,
        limit: &'static str,
    ) -> Result<Option<usize>> {
        let found = self.targets.iter().position(|t| t.controllers.contains(controller));
        match found {
            Some(group) if self.targets[group].version == version => {
                self.needed = self.needed.with(controller);
                Ok(Some(group))
            }
            Some(_) => Ok(None),
            None => Err(Error::unavailable(
                limit,
                format!("this machine has no control group controller `{controller}` mounted"),
            )),
        }
    }
    // ANCHOR_END: dispatch

    /// The v2 hierarchy, where there is one.
    pub(crate) fn unified(&self) -> Option<usize> {
        self.targets.iter().position(|target| target.version == Version::V2)
    }

    /// Whether any v1 hierarchy is there.
    pub(crate) fn has_v1(&self) -> bool {
        self.targets.iter().any(|target| target.version == Version::V1)
    }

    pub(crate) fn controllers(&self, group: usize) -> ControllerSet {
        self.targets[group].controllers
    }

    pub(crate) fn ignore(&mut self, limit: &'static str, why: &'static str) {
        self.ignored.push(Ignored { limit, why });
    }

    pub(crate) fn write(&mut self, write: Write) {
        self.steps.push(Step::Write(write));
    }

    /// One write alone, or several in whatever order works.
    pub(crate) fn any_order(&mut self, mut writes: Vec<Write>) {
        match writes.len() {
            0 => {}
            1 => self.steps.extend(writes.pop().map(Step::Write)),
            _ => self.steps.push(Step::AnyOrder(writes)),
        }
    }
}

impl Write {
    pub(crate) fn new(
        group: usize,
        file: impl Into<Cow<'static, str>>,
        value: impl ToString,
    ) -> Write {
        let value = value.to_string();
        Write { group, file: file.into(), value, instead: None, optional: false }
    }

    pub(crate) fn or(mut self, file: &'static str, value: impl ToString) -> Write {
        self.instead = Some((file, value.to_string()));
        self
    }

    pub(crate) fn optional(mut self) -> Write {
        self.optional = true;
        self
    }
}

impl fmt::Display for Plan {
    /// One line for each step: what `explain` prints.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            self.step(f, step)?;
        }
        for Ignored { limit, why } in &self.ignored {
            writeln!(f, "(passed over: {limit}: {why})")?;
        }
        Ok(())
    }
}

impl Plan {
    fn path(&self, group: usize) -> std::path::Display<'_> {
        self.targets[group].path.display()
    }

    fn step(&self, f: &mut fmt::Formatter<'_>, step: &Step) -> fmt::Result {
        match step {
            Step::Make(group) => writeln!(f, "mkdir    {}", self.path(*group)),
            Step::InheritCpuset(group) => {
                writeln!(f, "copy     {}/cpuset.{{cpus,mems}} from its parent", self.path(*group))
            }
            Step::Enable { group, needed, wanted } => {
                let (top, path) = (self.targets[*group].point.display(), self.path(*group));
                let all = needed.union(*wanted).enabling();
                writeln!(
                    f,
                    "enable   {all} in cgroup.subtree_control from {top} down to above {path}"
                )
            }
            Step::Write(write) => self.write(f, write, "write   "),
            Step::AnyOrder(writes) => {
                writes.iter().try_for_each(|write| self.write(f, write, "write(*)"))
            }
            Step::CheckUsage { group, file, limit } => {
                writeln!(f, "check    {}/{file} is at most {limit}", self.path(*group))
            }
            Step::DeviceList(group, list) => {
                writeln!(f, "compare  {}/devices.list and change it to {list}", self.path(*group))
            }
            Step::DeviceProgram(group, rules) => {
                let (path, count) = (self.path(*group), rules.len());
                writeln!(f, "attach   {path} <- eBPF device program of {count} rules")
            }
            Step::Delegate(group, owner) => {
                let (path, Owner { uid, gid }) = (self.path(*group), owner);
                writeln!(
                    f,
                    "chown    {uid}:{gid} {path} and what /sys/kernel/cgroup/delegate lists"
                )
            }
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, write: &Write, verb: &str) -> fmt::Result {
        let Write { group, file, value, instead, .. } = write;
        write!(f, "{verb} {}/{file} <- {}", self.path(*group), value.trim_end())?;
        match instead {
            Some((file, value)) => writeln!(f, " (or {file} <- {value})"),
            None => writeln!(f),
        }
    }
}

#[cfg(test)]
mod tests;
