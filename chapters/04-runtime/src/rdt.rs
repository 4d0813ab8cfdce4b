//! intelRdt: groups of processes for cache and memory bandwidth (resctrl in the kernel's x86
//! documentation).

use std::path::{Path, PathBuf};

use corten_namespaces::error::Context;
use oci_spec::runtime::LinuxIntelRdt;

use crate::error::{Error, Result};

/// Where resctrl is mounted, where a CPU has it.
const MOUNT: &str = "/sys/fs/resctrl";

/// A group to be made or joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    directory: PathBuf,
    /// Whether the group is this container's own, to be removed with it.
    own: bool,
    schemata: Vec<String>,
    monitoring: Option<PathBuf>,
}

impl Plan {
    /// Checks the configuration against this machine.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the machine has no resctrl, or the name is a path.
    pub fn new(id: &str, rdt: &LinuxIntelRdt) -> Result<Plan> {
        if !Path::new(MOUNT).join("schemata").exists() {
            let why = "needs resctrl mounted on /sys/fs/resctrl, and a CPU with cache allocation";
            return Err(Error::invalid("linux.intelRdt", why));
        }
        let name = rdt.clos_id().as_deref().filter(|name| !name.is_empty());
        if name.is_some_and(|name| name == "." || name == ".." || name.contains(['/', '\n'])) {
            return Err(Error::invalid("linux.intelRdt.closID", "must be one name"));
        }
        let directory = Path::new(MOUNT).join(name.unwrap_or(id));
        let mut schemata = rdt.schemata().clone().unwrap_or_default();
        #[allow(deprecated)]
        schemata.extend(
            [rdt.l3_cache_schema().clone(), rdt.mem_bw_schema().clone()].into_iter().flatten(),
        );
        let monitors = rdt.enable_monitoring().unwrap_or(false);
        let monitoring = monitors.then(|| directory.join("mon_groups").join(id));
        Ok(Plan { own: name.is_none(), directory, schemata, monitoring })
    }

    /// The directory that has to be removed with the container.
    pub fn removable(&self) -> Option<PathBuf> {
        self.monitoring.clone().or_else(|| self.own.then(|| self.directory.clone()))
    }

    /// Makes the group and puts the process in it.
    ///
    /// # Errors
    /// Where the kernel refuses a schema.
    pub fn apply(&self, pid: libc::pid_t) -> Result<()> {
        if !self.directory.is_dir() {
            std::fs::create_dir(&self.directory).on("create", &self.directory)?;
        }
        if !self.schemata.is_empty() {
            let file = self.directory.join("schemata");
            let text = format!("{}\n", self.schemata.join("\n"));
            std::fs::write(&file, text).on("write the schema to", &file)?;
        }
        let group = match &self.monitoring {
            Some(group) => {
                std::fs::create_dir(group).on("create", group)?;
                group
            }
            None => &self.directory,
        };
        let tasks = group.join("tasks");
        Ok(std::fs::write(&tasks, pid.to_string()).on("enter the group", &tasks)?)
    }
}
