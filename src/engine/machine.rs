//! What this machine has: its processors, its control groups, its kernel's features.
//!
//! Looked at once and passed as a value, so that everything that depends on it is a pure function
//! that a test calls with any machine it likes.

use std::path::Path;

use corten_cgroups::{Controller, Delegation, Hierarchy, Layout};
use corten_namespaces::{capability, rootless};

use super::error::Result;

/// The facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its host name.
    pub hostname: String,
    /// How many processors are on.
    pub cpus: u32,
    /// Which: `0-3`.
    pub online_cpus: String,
    /// Which memory nodes are on.
    pub memory_nodes: String,
    /// Whether its control groups are v2 alone.
    pub unified: bool,
    /// Whether a process can have its own view of the groups.
    pub cgroup_namespaces: bool,
    /// What the groups can limit.
    pub support: Support,
    /// The kernel's version.
    pub kernel: (u32, u32),
    /// Whether root is a user's own here, in a user namespace.
    pub rootless: bool,
    /// Whether groups can be made. Without, containers have the one that they are started in.
    pub cgroups: bool,
    /// Without root, the group that was given to the user, in which they are made.
    pub given: Option<Delegation>,
    /// Whether AppArmor decides here.
    pub apparmor: bool,
    /// The names, with `CAP_`, of the capabilities that this program can pass on.
    pub capabilities: Vec<String>,
    /// Whether programs without rights may be allowed to ping, and to listen below port 1024.
    pub network_sysctls: bool,
}

/// What the control groups of this machine can limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is what its name says")]
pub struct Support {
    pub memory: bool,
    pub swap: bool,
    pub swappiness: bool,
    pub oom_kill_disable: bool,
    pub pids: bool,
    pub cpu_shares: bool,
    pub cpu_quota: bool,
    pub cpu_realtime: bool,
    pub cpuset: bool,
    pub blkio_weight: bool,
    pub blkio_weight_device: bool,
    pub blkio_throttle: bool,
}

impl Machine {
    /// Looks.
    ///
    /// # Errors
    /// Where the control groups cannot be found out.
    pub fn probe() -> Result<Machine> {
        let hierarchy = Hierarchy::detect().map_err(|error| super::Error::State {
            path: "/proc/self/cgroup".to_owned(),
            why: error.to_string(),
        })?;
        let rootless = rootless::inside();
        // A user namespace's root owns those that were given to it.
        let given = rootless.then(|| Delegation::of_caller(&hierarchy)).flatten();
        let cgroups = !rootless || given.is_some() || hierarchy.is_writable();
        let unified = hierarchy.layout() == Layout::Unified;
        let hierarchy = match &given {
            Some(given) => given.narrow(hierarchy),
            None => hierarchy,
        };
        let online_cpus = read("/sys/devices/system/cpu/online");
        let cpus = super::options::limit::numbers(&online_cpus).map_or(1, |set| set.len());
        let release = read("/proc/sys/kernel/osrelease");
        let sysctl = |name: &str| Path::new("/proc/sys/net/ipv4").join(name).exists();
        Ok(Machine {
            hostname: read("/proc/sys/kernel/hostname"),
            cpus: u32::try_from(cpus).unwrap_or(1).max(1),
            online_cpus,
            memory_nodes: match read("/sys/devices/system/node/online") {
                none if none.is_empty() => "0".to_owned(),
                nodes => nodes,
            },
            unified,
            cgroup_namespaces: Path::new("/proc/self/ns/cgroup").exists(),
            support: if cgroups { Support::of(&hierarchy) } else { Support::NONE },
            rootless,
            cgroups,
            given,
            kernel: version(&release).unwrap_or((5, 15)),
            // A user namespace has no profiles of its own, and may not load the machine's.
            apparmor: !rootless && read("/sys/module/apparmor/parameters/enabled") == "Y",
            capabilities: bounding(&read("/proc/self/status")),
            network_sysctls: sysctl("ping_group_range") && sysctl("ip_unprivileged_port_start"),
        })
    }
}

impl Machine {
    /// The way from the top to a group that is named from where groups can be made.
    pub fn group(&self, path: &str) -> String {
        let path = path.trim_start_matches('/');
        match &self.given {
            Some(given) => given.below_top().join(path).to_string_lossy().into_owned(),
            None => path.to_owned(),
        }
    }
}

impl Support {
    /// Everything: what a test starts from.
    pub const ALL: Support = Support {
        memory: true,
        swap: true,
        swappiness: true,
        oom_kill_disable: true,
        pids: true,
        cpu_shares: true,
        cpu_quota: true,
        cpu_realtime: true,
        cpuset: true,
        blkio_weight: true,
        blkio_weight_device: true,
        blkio_throttle: true,
    };

    /// Nothing: groups that belong to others.
    pub const NONE: Support = Support {
        memory: false,
        swap: false,
        swappiness: false,
        oom_kill_disable: false,
        pids: false,
        cpu_shares: false,
        cpu_quota: false,
        cpu_realtime: false,
        cpuset: false,
        blkio_weight: false,
        blkio_weight_device: false,
        blkio_throttle: false,
    };

    /// A file that is there in every group of v1, or in all but the root of v2.
    fn of(hierarchy: &Hierarchy) -> Support {
        use corten_cgroups::hierarchy::Version;
        let has = |controller: Controller, v1: &str, v2: Option<&str>| {
            let Some(mount) = hierarchy.of(controller) else { return false };
            match (mount.version, v2) {
                (Version::V1, _) => mount.point.join(v1).exists(),
                (Version::V2, None) => false,
                // The root group has no such files; the kernel's floor has the features.
                (Version::V2, Some(_)) => true,
            }
        };
        let io_weight = |bfq: &str, cfq: &str| {
            has(Controller::Io, bfq, Some("io.bfq.weight")) || has(Controller::Io, cfq, None)
        };
        Support {
            memory: has(Controller::Memory, "memory.limit_in_bytes", Some("memory.max")),
            swap: has(Controller::Memory, "memory.memsw.limit_in_bytes", Some("memory.swap.max")),
            swappiness: has(Controller::Memory, "memory.swappiness", None),
            oom_kill_disable: has(Controller::Memory, "memory.oom_control", None),
            pids: hierarchy.of(Controller::Pids).is_some(),
            cpu_shares: has(Controller::Cpu, "cpu.shares", Some("cpu.weight")),
            cpu_quota: has(Controller::Cpu, "cpu.cfs_quota_us", Some("cpu.max")),
            cpu_realtime: has(Controller::Cpu, "cpu.rt_runtime_us", None),
            cpuset: has(Controller::Cpuset, "cpuset.cpus", Some("cpuset.cpus")),
            blkio_weight: io_weight("blkio.bfq.weight", "blkio.weight"),
            blkio_weight_device: io_weight("blkio.bfq.weight_device", "blkio.weight_device"),
            blkio_throttle: has(Controller::Io, "blkio.throttle.read_bps_device", Some("io.max")),
        }
    }
}

/// A file of the kernel's, without the end of line; empty where it is missing.
fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim_end().to_owned()
}

/// `6.12.3-anything` as (6, 12).
pub fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The names in the line `CapBnd:` of a process's status, in the order of their numbers.
fn bounding(status: &str) -> Vec<String> {
    let bits = status
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .unwrap_or(0);
    let names = capability::names().iter().enumerate();
    names.filter(|(at, _)| bits & (1 << at) != 0).map(|(_, name)| format!("CAP_{name}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_begins_with_two_numbers() {
        assert_eq!(version("6.12.3-amd64"), Some((6, 12)));
        assert_eq!(version("5.15"), Some((5, 15)));
        assert_eq!((version("6"), version("x.y"), version("")), (None, None, None));
    }

    #[test]
    fn the_bounding_set_is_read_by_name() {
        let names = bounding("Name:\tx\nCapBnd:\t0000000000000081\nCapAmb:\t0\n");
        assert_eq!(names, ["CAP_CHOWN", "CAP_SETUID"]);
        assert!(bounding("").is_empty());
    }

    #[test]
    fn this_machine_can_be_looked_at() {
        let machine = Machine::probe().unwrap();
        assert!(machine.cpus > 0 && machine.kernel >= (5, 15), "{machine:?}");
        assert!(machine.support.memory && machine.support.pids, "{machine:?}");
    }
}
