//! The container's control groups: chapter 2, as an OCI runtime uses it.

mod resources;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use corten_cgroups::hierarchy::Version;
use corten_cgroups::{Controller, DeviceRule, Hierarchy, Layout, Limits, Placement};
use corten_namespaces::error::Context;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use oci_spec::runtime::Linux;
use serde::{Deserialize, Serialize};

pub use corten_cgroups::{Error, Stats};
pub use resources::limits;

use crate::error::Result;
use crate::id::ContainerId;
use crate::mount::CgroupMount;

/// How control groups are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Manager {
    /// By making directories.
    #[default]
    Cgroupfs,
    /// By asking systemd for a scope.
    Systemd,
    /// Not at all.
    Disabled,
}

/// Where the groups are, by the names of /proc/PID/cgroup; what state.json keeps.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Saved {
    /// Directory by hierarchy.
    pub paths: BTreeMap<String, PathBuf>,
}

/// Groups to be made.
#[derive(Debug)]
pub struct Plan {
    plan: corten_cgroups::Plan,
    layout: Layout,
}

impl Plan {
    // ANCHOR: plan
    /// Where the configuration wants them and what it allows them.
    ///
    /// # Errors
    /// What chapter 2 says of limits that contradict each other or that this machine cannot set.
    pub fn new(id: &ContainerId, linux: &Linux, manager: &Manager) -> Result<Option<Plan>> {
        if *manager == Manager::Disabled {
            return Ok(None);
        }
        let hierarchy = Hierarchy::detect()?;
        let placement = match (manager, linux.cgroups_path()) {
            (Manager::Systemd, path) => systemd_placement(path.as_deref(), id)?,
            (_, path) => Placement::parse(path.as_deref(), id.as_str())?,
        };
        let mut limits = match linux.resources() {
            Some(resources) => limits(resources)?,
            None => Limits::default(),
        };
        limits.devices = Some(devices(limits.devices.unwrap_or_default()));
        let mut plan = corten_cgroups::Plan::create(&hierarchy, &placement, &limits)?;
        plan.skip_forbidden = !nix::unistd::geteuid().is_root();
        Ok(Some(Plan { plan, layout: hierarchy.layout() }))
    }
    // ANCHOR_END: plan

    /// Where they will be: written down before they are made, so that a crash leaves none behind.
    pub fn saved(&self) -> Saved {
        let place =
            |target: &corten_cgroups::plan::Target| (target.label.clone(), target.path.clone());
        Saved { paths: self.plan.targets.iter().map(place).collect() }
    }

    /// Makes them and sets their limits.
    ///
    /// # Errors
    /// What the failed step says; nothing is left then.
    pub fn execute(&self) -> Result<Cgroup> {
        Ok(Cgroup { cgroup: self.plan.execute()? })
    }

    /// How they appear in a container. With a cgroup namespace of its own, or in v1, a container
    /// sees its own groups; without, v2's whole hierarchy.
    pub fn mounts(&self, own_namespace: bool) -> Vec<CgroupMount> {
        if self.layout == Layout::Unified {
            let Some(target) = self.plan.targets.first() else { return Vec::new() };
            let path = if own_namespace { &target.path } else { &target.point };
            return vec![CgroupMount {
                name: String::new(),
                aliases: Vec::new(),
                path: path.clone(),
            }];
        }
        let mut mounts = Vec::new();
        for target in &self.plan.targets {
            // `name=systemd` is a directory `systemd`, and v2 beside v1 is `unified`.
            let name = match target.label.as_str() {
                "" => "unified".to_owned(),
                label => label.strip_prefix("name=").unwrap_or(label).to_owned(),
            };
            let aliases = match name.contains(',') {
                true => name.split(',').map(str::to_owned).collect(),
                false => Vec::new(),
            };
            mounts.push(CgroupMount { name, aliases, path: target.path.clone() });
        }
        mounts
    }
}

// ANCHOR: devices
/// First nothing is allowed, then what the configuration says, and always what every container has.
fn devices(configured: Vec<DeviceRule>) -> Vec<DeviceRule> {
    let mut rules = vec![DeviceRule::everything(false)];
    rules.extend(configured);
    rules.extend(DeviceRule::CONTAINER.into_iter().skip(1));
    rules
}
// ANCHOR_END: devices

/// `slice:prefix:name`, as the callers of a runtime with `--systemd-cgroup` write it.
fn systemd_placement(path: Option<&Path>, id: &ContainerId) -> Result<Placement> {
    if !Path::new("/run/systemd/system").exists() {
        let why = "systemd does not run here: leave the option out";
        return Err(crate::error::Error::invalid("--systemd-cgroup", why));
    }
    let text = path.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
    let parts: Vec<&str> = text.split(':').collect();
    let (slice, prefix, name) = match parts[..] {
        [slice, prefix, name] => (slice, prefix, name),
        _ => ("", "corten", id.as_str()),
    };
    let slice = if slice.is_empty() { "system.slice" } else { slice };
    let unit = match (name.ends_with(".slice"), prefix) {
        (true, _) => name.to_owned(),
        (false, "") => format!("{name}.scope"),
        (false, prefix) => format!("{prefix}-{name}.scope"),
    };
    Ok(Placement::At(slice_path(slice).join(unit)))
}

/// `a-b.slice` is `a.slice/a-b.slice`.
fn slice_path(slice: &str) -> PathBuf {
    let bare = slice.strip_suffix(".slice").unwrap_or(slice);
    let mut path = PathBuf::new();
    let mut name = String::new();
    for part in bare.split('-').filter(|part| !part.is_empty()) {
        if !name.is_empty() {
            name.push('-');
        }
        name += part;
        path.push(format!("{name}.slice"));
    }
    path
}

/// Groups that exist.
#[derive(Debug)]
pub struct Cgroup {
    cgroup: corten_cgroups::Cgroup,
}

impl Cgroup {
    /// Finds them by what was written down.
    ///
    /// # Errors
    /// `ENOENT` where none is left.
    pub fn open(saved: &Saved) -> Result<Cgroup> {
        Ok(Cgroup { cgroup: corten_cgroups::Cgroup::from_paths(&saved.paths)? })
    }

    /// For clone3 with CLONE_INTO_CGROUP.
    pub fn clone_fd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.cgroup.clone_fd()
    }

    /// The `tasks` files of the v1 groups, open for a process that enters by itself.
    ///
    /// # Errors
    /// Where one cannot be opened.
    pub fn tasks(&self) -> Result<Vec<OwnedFd>> {
        let legacy = |group: &&corten_cgroups::cgroup::Group| group.target.version == Version::V1;
        let open = |group: &corten_cgroups::cgroup::Group| {
            let (flags, mode) = (OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty());
            let opened = nix::fcntl::openat(group.as_fd(), "tasks", flags, mode);
            Ok(opened.on("open", group.path().join("tasks"))?)
        };
        self.cgroup.groups().iter().filter(legacy).map(open).collect()
    }

    /// Moves a process into a group below, in every hierarchy that `only` names or all.
    ///
    /// # Errors
    /// `ENOENT` where there is no such group.
    pub fn add_below(&self, pid: libc::pid_t, below: &Path) -> Result<()> {
        let below = below.strip_prefix("/").unwrap_or(below);
        for group in self.cgroup.groups() {
            let file = group.path().join(below).join("cgroup.procs");
            std::fs::write(&file, pid.to_string()).on("enter the control group", &file)?;
        }
        Ok(())
    }

    /// All processes.
    ///
    /// # Errors
    /// `ENODEV` where the group was removed.
    pub fn processes(&self) -> Result<Vec<libc::pid_t>> {
        Ok(self.cgroup.processes()?.into_iter().collect())
    }

    /// Whether it is frozen.
    pub fn is_frozen(&self) -> bool {
        self.cgroup.state().is_ok_and(|state| state == corten_cgroups::State::Frozen)
    }

    /// Stops all processes.
    ///
    /// # Errors
    /// Without a freezer.
    pub fn freeze(&self) -> Result<()> {
        Ok(self.cgroup.freeze()?)
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// Without a freezer.
    pub fn thaw(&self) -> Result<()> {
        Ok(self.cgroup.thaw()?)
    }

    /// Kills all processes.
    ///
    /// # Errors
    /// As chapter 2 says.
    pub fn kill(&self) -> Result<()> {
        match self.cgroup.kill() {
            Err(error) if error.is_gone() => Ok(()),
            other => Ok(other?),
        }
    }

    /// Removes the groups, waiting for processes that are ending.
    ///
    /// # Errors
    /// `EBUSY` where some do not end.
    pub fn remove(&self) -> Result<()> {
        const PATIENCE: Duration = Duration::from_secs(10);
        Ok(self.cgroup.remove(PATIENCE)?)
    }

    /// Changes limits.
    ///
    /// # Errors
    /// As chapter 2 says.
    pub fn update(&self, limits: &Limits) -> Result<()> {
        Ok(self.cgroup.apply(limits)?)
    }

    /// What is used.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub fn stats(&self) -> Result<Stats> {
        Ok(self.cgroup.stats()?)
    }

    /// Whether memory is counted, and where.
    pub fn memory_path(&self) -> Option<&Path> {
        self.cgroup.group(Controller::Memory).map(corten_cgroups::cgroup::Group::path)
    }

    /// Chapter 2's own type.
    pub fn inner(&self) -> &corten_cgroups::Cgroup {
        &self.cgroup
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_lies_in_the_slices_of_its_name() {
        assert_eq!(slice_path("a-b-c.slice"), Path::new("a.slice/a-b.slice/a-b-c.slice"));
        assert_eq!(slice_path("-.slice"), Path::new(""));
    }
}
