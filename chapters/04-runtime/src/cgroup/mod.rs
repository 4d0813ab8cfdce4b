//! The container's control groups: chapter 2, as an OCI runtime uses it.

mod resources;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use corten_cgroups::hierarchy::Version;
use corten_cgroups::systemd::{self, Property, Systemd, Unit};
use corten_cgroups::{Controller, Delegation, DeviceRule, Hierarchy, Layout, Limits, Placement};
use corten_namespaces::error::Context;
use corten_namespaces::rootless;
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

impl Saved {
    /// The group alone by which the container is frozen: v1's freezer, or v2's where that is not mounted. Each
    /// operation asks for the status, and on a host of version 1 the others are nine more directories.
    pub(crate) fn freezer(&self) -> Saved {
        let is_freezer = |label: &&String| label.split(',').any(|name| name == "freezer");
        let label = self.paths.keys().find(is_freezer).cloned().unwrap_or_default();
        let path = self.paths.get(&label).cloned();
        Saved { paths: path.map(|path| (label, path)).into_iter().collect() }
    }
}

/// Groups to be made.
#[derive(Debug)]
pub struct Plan {
    plan: corten_cgroups::Plan,
    layout: Layout,
    scope: Option<Scope>,
}

/// A group that systemd is to make.
#[derive(Debug)]
struct Scope {
    unit: Unit,
    properties: Vec<Property>,
}

impl Plan {
    // ANCHOR: plan
    /// Where the configuration wants them and what it allows them.
    ///
    /// # Errors
    /// What chapter 2 says of limits that contradict each other or that this machine cannot set.
    pub fn new(
        id: &ContainerId,
        linux: &Linux,
        annotations: &BTreeMap<String, String>,
        manager: &Manager,
    ) -> Result<Option<Plan>> {
        if *manager == Manager::Disabled {
            return Ok(None);
        }
        let (hierarchy, given) = reachable()?;
        let path = linux.cgroups_path().as_deref();
        let user = !nix::unistd::geteuid().is_root();
        let (placement, unit) = match manager {
            Manager::Systemd => {
                let text = path.map(Path::to_string_lossy);
                let unit = Unit::parse(text.as_deref(), id.as_str(), user)?;
                (Placement::At(unit.path().components().skip(1).collect()), Some(unit))
            }
            _ => (Placement::parse(path, id.as_str())?, None),
        };
        let mut limits = match linux.resources() {
            Some(resources) => limits(resources)?,
            None => Limits::default(),
        };
        // Nobody but the machine's root loads programs that watch over devices. In a user namespace no device
        // can be made, and those that are shown in it are opened with the user's rights.
        limits.devices = match given {
            true => None,
            false => Some(devices(limits.devices.unwrap_or_default())),
        };
        let mut plan = corten_cgroups::Plan::create(&hierarchy, &placement, &limits)?;
        plan.skip_forbidden = user;
        let layout = hierarchy.layout();
        let scope = match unit {
            Some(unit) => {
                let mut properties = systemd::properties(&limits, layout)?;
                for (name, value) in annotations {
                    if let Some(name) = name.strip_prefix("org.systemd.property.") {
                        properties.push(Property::parse(name, value)?);
                    }
                }
                Some(Scope { unit, properties })
            }
            None => None,
        };
        Ok(Some(Plan { plan, layout, scope }))
    }
    // ANCHOR_END: plan

    /// Where they will be: written down before they are made, so that a crash leaves none behind.
    pub fn saved(&self) -> Saved {
        let place =
            |target: &corten_cgroups::plan::Target| (target.label.clone(), target.path.clone());
        Saved { paths: self.plan.targets.iter().map(place).collect() }
    }

    /// Makes that of v2 only, without limits: clone3 puts a process there.
    ///
    /// # Errors
    /// As [`Plan::execute`].
    pub fn execute_unified(&self) -> Result<Option<Cgroup>> {
        let of_v2 = |target: &&corten_cgroups::plan::Target| target.version == Version::V2;
        let Some(target) = self.plan.targets.iter().find(of_v2) else { return Ok(None) };
        if self.layout == Layout::Unified {
            return self.execute().map(Some);
        }
        let plan = corten_cgroups::Plan {
            targets: vec![target.clone()],
            steps: Vec::new(),
            ignored: Vec::new(),
            skip_forbidden: self.plan.skip_forbidden,
        };
        let cgroup = plan.execute()?;
        Ok((!cgroup.groups().is_empty()).then_some(Cgroup { cgroup }))
    }

    /// Makes them and sets their limits.
    ///
    /// # Errors
    /// What the failed step says; nothing is left then.
    pub fn execute(&self) -> Result<Cgroup> {
        Ok(Cgroup { cgroup: self.plan.execute()? })
    }

    /// Whether systemd makes them: for a process that is there already.
    pub fn by_systemd(&self) -> bool {
        self.scope.is_some()
    }

    /// Lets systemd start a scope with the process `pid`, then sets what limits systemd does not
    /// know, and moves the process in the hierarchies that systemd leaves alone.
    ///
    /// # Errors
    /// systemd's own words.
    pub fn start_scope(&self, pid: libc::pid_t) -> Result<Cgroup> {
        if let Some(Scope { unit, properties }) = &self.scope {
            let mut systemd = Systemd::connect()?;
            let _ = systemd.reset_failed(unit);
            // A pid is never negative.
            systemd.start_scope(
                unit,
                "A container of corten-runtime",
                &[pid as u32],
                properties,
            )?;
        }
        let cgroup = self.execute()?;
        cgroup.cgroup.add(pid)?;
        Ok(cgroup)
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

/// The hierarchies, and whether what the caller may divide of them is a group that was given to a user.
fn reachable() -> Result<(Hierarchy, bool)> {
    let hierarchy = Hierarchy::detect()?;
    let given = rootless::inside().then(|| Delegation::of_caller(&hierarchy)).flatten();
    Ok(match given {
        Some(given) => (given.narrow(hierarchy), true),
        None => (hierarchy, false),
    })
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

    /// Moves a process into a group below, in the hierarchies of `controllers`, or in all where
    /// none is named.
    ///
    /// # Errors
    /// `ENOENT` where there is no such group; [`crate::Error::Invalid`] for a controller that this
    /// container has no group of.
    pub fn add_below(&self, pid: libc::pid_t, controllers: &[String], below: &Path) -> Result<()> {
        let groups = self.cgroup.groups();
        let labels = |group: &corten_cgroups::cgroup::Group, name: &str| {
            group.target.label.split(',').any(|label| label == name)
        };
        for name in controllers {
            if !groups.iter().any(|group| labels(group, name)) {
                let what = format!("--cgroup {name}:{}", below.display());
                let why = "names a controller in whose hierarchy the container has no group";
                return Err(crate::Error::invalid(what, why));
            }
        }
        let named = |group: &&corten_cgroups::cgroup::Group| {
            controllers.is_empty() || controllers.iter().any(|name| labels(group, name))
        };
        for group in groups.iter().filter(named) {
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
