//! What a group may use: typed values, checked once, in the units of the OCI runtime specification.
//!
//! A field that is `None` or empty is not set: nothing is written for it, and the kernel's default
//! or the present value stays.

mod check;
mod parse;

use std::collections::BTreeMap;

use crate::device::DeviceRule;

pub use parse::{bytes, cpus};

// ANCHOR: limits
/// Everything that can be asked of a control group.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits {
    /// Processor time, and which processors.
    pub cpu: Cpu,
    /// Memory and swap.
    pub memory: Memory,
    /// How many processes and threads there may be.
    pub pids: Option<Max>,
    /// Block devices.
    pub io: Io,
    /// Huge pages.
    pub hugetlb: Vec<Hugetlb>,
    /// Remote direct memory access.
    pub rdma: Vec<Rdma>,
    /// Marks on network packets.
    pub network: Network,
    /// Which devices may be used: the last rule that matches an access decides, and what no rule
    /// matches is denied. `None` leaves devices alone.
    pub devices: Option<Vec<DeviceRule>>,
    /// Files of v2 and what is written to them, after everything else; an error on v1.
    pub unified: BTreeMap<String, String>,
}
// ANCHOR_END: limits

// ANCHOR: max
/// An upper bound, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Max {
    /// At most this much.
    At(u64),
    /// `max` in v2, -1 in v1.
    Unlimited,
}
// ANCHOR_END: max

impl From<i64> for Max {
    /// As the OCI runtime specification counts: below zero is unlimited.
    fn from(value: i64) -> Max {
        u64::try_from(value).map_or(Max::Unlimited, Max::At)
    }
}

/// Processor time (cgroup-v1/sched-bwc and sched-design-CFS, cgroup-v2 in the kernel's
/// documentation), and cpusets.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cpu {
    /// The part of the processor under contention, relative to the other groups of the parent.
    pub share: Option<CpuShare>,
    /// Microseconds of processor time in each period.
    pub quota: Option<Max>,
    /// The period in microseconds: 1,000 to 1,000,000; the kernel's default is 100,000.
    pub period: Option<u64>,
    /// Microseconds that may be saved up in quiet periods and spent above the quota.
    pub burst: Option<u64>,
    /// Runs only when nothing else wants to.
    pub idle: Option<bool>,
    /// Microseconds of real-time scheduling in each real-time period; v1 only.
    pub realtime_runtime: Option<i64>,
    /// The real-time period in microseconds; v1 only.
    pub realtime_period: Option<u64>,
    /// The processors that it may run on, as a list: `0-3,7`.
    pub cpus: Option<String>,
    /// The memory nodes that it may use, as a list.
    pub mems: Option<String>,
}

/// A relative part of the processor, in either version's scale; the other version gets it
/// converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CpuShare {
    /// v1: 2 to 262144, by default 1024.
    Shares(u64),
    /// v2: 1 to 10000, by default 100.
    Weight(u64),
}

/// Memory, in bytes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    /// The limit; who goes beyond it is killed where nothing can be reclaimed.
    pub limit: Option<Max>,
    /// What is left to the group as long as others can be reclaimed instead.
    pub reservation: Option<Max>,
    /// Memory *and* swap together, as v1 and the OCI runtime specification count; v2 gets the
    /// difference to `limit`.
    pub swap: Option<Max>,
    /// Buffers of TCP sockets; v1 only.
    pub kernel_tcp: Option<Max>,
    /// Memory of the kernel. No kernel since 5.4 limits it apart; it is passed over.
    pub kernel: Option<Max>,
    /// How eagerly it is swapped out, 0 to 100; v1 only.
    pub swappiness: Option<u64>,
    /// Processes wait at the limit, and are not killed; v1 only.
    pub disable_oom_killer: Option<bool>,
    /// Kills all processes of the group with the first; v2 only.
    pub oom_group: Option<bool>,
    /// Refuses a new limit below what is in use now.
    pub check_before_update: bool,
}

/// Block devices.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Io {
    /// The part of a busy disk, relative to the other groups of the parent.
    pub weight: Option<IoWeight>,
    /// v1's CFQ scheduler had it for the group's own processes beside its children.
    pub leaf_weight: Option<u16>,
    /// Weights that hold for one device.
    pub weight_devices: Vec<DeviceWeight>,
    /// Bytes read per second.
    pub read_bps: Vec<Throttle>,
    /// Bytes written per second.
    pub write_bps: Vec<Throttle>,
    /// Reads per second.
    pub read_iops: Vec<Throttle>,
    /// Writes per second.
    pub write_iops: Vec<Throttle>,
}

/// A relative part of a disk's time, in either version's scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoWeight {
    /// v1: 10 to 1000, by default 500.
    Blkio(u16),
    /// v2: 1 to 10000, by default 100.
    Io(u16),
}

/// A weight for one block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceWeight {
    /// The device's number.
    pub major: i64,
    /// The device's number.
    pub minor: i64,
    /// In v1's scale.
    pub weight: Option<u16>,
    /// In v1's scale.
    pub leaf_weight: Option<u16>,
}

/// A rate for one block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttle {
    /// The device's number.
    pub major: i64,
    /// The device's number.
    pub minor: i64,
    /// Bytes or operations per second; 0 takes a limit away.
    pub rate: u64,
}

/// A limit on huge pages of one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hugetlb {
    /// The size as the files are named: `2MB`, `1GB`.
    pub page_size: String,
    /// In bytes.
    pub limit: Max,
}

/// A limit on one RDMA device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rdma {
    /// The device: `mlx5_1`.
    pub device: String,
    /// Handles of the device.
    pub handles: Option<u32>,
    /// Objects of the device.
    pub objects: Option<u32>,
}

/// Marks on network packets; v1 only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// The class number that tc(8) can match.
    pub class_id: Option<u32>,
    /// Priorities by interface name.
    pub priorities: Vec<(String, u32)>,
}
