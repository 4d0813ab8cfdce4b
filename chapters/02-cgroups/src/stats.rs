//! What a group uses and has used, in one form for both versions.

mod pressure;
mod text;
mod v1;
mod v2;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cgroup::{Cgroup, Group};
use crate::controller::Controller;
use crate::error::{Context, Result};
use crate::hierarchy::Version;
use crate::limits::Max;

pub use pressure::{Line, Pressure, Resource};

// ANCHOR: stats
/// The figures of a group. A part is `None` where the controller is not there for this group.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    /// Processor time.
    pub cpu: Option<Cpu>,
    /// Memory.
    pub memory: Option<Memory>,
    /// Processes.
    pub pids: Option<Pids>,
    /// Block devices, by number.
    pub io: BTreeMap<(u32, u32), Io>,
    /// Huge pages, by the name of their size.
    pub hugetlb: BTreeMap<String, Hugetlb>,
    /// How long processes had to wait, by resource; v2 and hybrid.
    pub pressure: BTreeMap<Resource, Pressure>,
}
// ANCHOR_END: stats

/// Processor time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cpu {
    /// All of it.
    pub usage: Duration,
    /// In programs.
    pub user: Duration,
    /// In the kernel.
    pub system: Duration,
    /// By processor; v1 only.
    pub per_cpu: Vec<Duration>,
    /// By processor, in the kernel; v1 only.
    pub per_cpu_system: Vec<Duration>,
    /// Periods in which the group wanted to run and had a quota.
    pub periods: u64,
    /// Those in which the quota was used up.
    pub throttled_periods: u64,
    /// How long the group was not let run.
    pub throttled: Duration,
    /// Periods in which more was used than the quota.
    pub bursts: u64,
    /// How long it ran above the quota.
    pub burst: Duration,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// What is charged to the group: its processes' memory and the files that they have read.
    pub usage: u64,
    /// The most that it ever was.
    pub peak: Option<u64>,
    /// The limit.
    pub limit: Option<Max>,
    /// The usage without file contents that nobody has used lately: what `docker stats` and the
    /// kubelet show, since the rest is given back when it is needed.
    pub working_set: u64,
    /// Swap alone.
    pub swap: Option<u64>,
    /// The limit on swap alone.
    pub swap_limit: Option<Max>,
    /// How often the limit was hit.
    pub limit_hits: u64,
    /// How often the limit on swap was hit; in v1 that on memory and swap together.
    pub swap_limit_hits: u64,
    /// How often the OOM killer was called.
    pub oom: u64,
    /// How many processes it killed.
    pub oom_kills: u64,
    /// Memory of the kernel, where it is counted apart.
    pub kernel: Option<u64>,
    /// Buffers of TCP sockets, where they are counted apart.
    pub kernel_tcp: Option<u64>,
    /// `memory.stat`, as the kernel names it.
    pub details: BTreeMap<String, u64>,
    /// `memory.events`; v2 only.
    pub events: BTreeMap<String, u64>,
}

/// Processes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pids {
    /// How many there are, threads included.
    pub current: u64,
    /// The limit.
    pub limit: Option<Max>,
    /// How many forks the limit has refused.
    pub refused: u64,
}

/// A block device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Io {
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
}

/// Huge pages of one size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hugetlb {
    /// Bytes in use.
    pub usage: u64,
    /// The most that it ever was.
    pub peak: Option<u64>,
    /// How often the limit was hit.
    pub limit_hits: u64,
}

impl Stats {
    pub(crate) fn read(cgroup: &Cgroup) -> Result<Stats> {
        let mut stats = Stats::default();
        for group in cgroup.groups() {
            match group.target.version {
                Version::V1 => v1::read(group, &mut stats)?,
                Version::V2 => v2::read(group, &mut stats)?,
            }
        }
        Ok(stats)
    }
}

impl Group {
    /// The text of a file; `None` where the kernel does not have it, or not for this group.
    fn optional(&self, name: &str) -> Result<Option<String>> {
        match self.try_read(name) {
            Ok(text) => Ok(Some(text)),
            Err(nix::errno::Errno::ENOENT | nix::errno::Errno::EOPNOTSUPP) => Ok(None),
            Err(errno) => Err(errno).on("read", self.path().join(name)),
        }
    }

    fn number(&self, name: &str) -> Result<Option<u64>> {
        Ok(self.optional(name)?.and_then(|text| text.trim().parse().ok()))
    }

    fn has(&self, controller: Controller) -> bool {
        self.target.controllers.contains(controller)
    }
}

#[cfg(test)]
mod tests;
