//! The controllers: which kinds of resource the kernel can count and limit.

use std::fmt;

// ANCHOR: controller
/// One kind of resource that a control group counts or limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Controller {
    /// Processor time: shares, quotas.
    Cpu,
    /// Processor time, counted only; a part of `cpu` in v2.
    Cpuacct,
    /// Which processors and memory nodes.
    Cpuset,
    /// Memory and swap.
    Memory,
    /// The number of processes and threads.
    Pids,
    /// Block devices: `blkio` in v1, `io` in v2.
    Io,
    /// Which device nodes may be opened and made; an eBPF program in v2.
    Devices,
    /// Stopping all processes at once; a file of every group in v2.
    Freezer,
    /// Huge pages.
    Hugetlb,
    /// Remote direct memory access.
    Rdma,
    /// A class number on packets; v1 only.
    NetCls,
    /// Priorities of packets by interface; v1 only.
    NetPrio,
    /// Groups as objects of perf(1); implicit in v2.
    PerfEvent,
    /// Scarce things such as address space ids of encrypted machines.
    Misc,
}
// ANCHOR_END: controller

impl Controller {
    /// All of them.
    pub const ALL: [Controller; 14] = [
        Controller::Cpu,
        Controller::Cpuacct,
        Controller::Cpuset,
        Controller::Memory,
        Controller::Pids,
        Controller::Io,
        Controller::Devices,
        Controller::Freezer,
        Controller::Hugetlb,
        Controller::Rdma,
        Controller::NetCls,
        Controller::NetPrio,
        Controller::PerfEvent,
        Controller::Misc,
    ];

    /// Its name in /proc/cgroups, in mount options and in v1's file names.
    pub const fn v1_name(self) -> &'static str {
        match self {
            Controller::Cpu => "cpu",
            Controller::Cpuacct => "cpuacct",
            Controller::Cpuset => "cpuset",
            Controller::Memory => "memory",
            Controller::Pids => "pids",
            Controller::Io => "blkio",
            Controller::Devices => "devices",
            Controller::Freezer => "freezer",
            Controller::Hugetlb => "hugetlb",
            Controller::Rdma => "rdma",
            Controller::NetCls => "net_cls",
            Controller::NetPrio => "net_prio",
            Controller::PerfEvent => "perf_event",
            Controller::Misc => "misc",
        }
    }

    /// Its name in v2's `cgroup.controllers`; `None` for what is no controller there.
    pub const fn v2_name(self) -> Option<&'static str> {
        match self {
            Controller::Io => Some("io"),
            Controller::Cpu
            | Controller::Cpuset
            | Controller::Memory
            | Controller::Pids
            | Controller::Hugetlb
            | Controller::Rdma
            | Controller::Misc => Some(self.v1_name()),
            _ => None,
        }
    }

    /// The controller of this name in v1, such as `blkio`.
    pub fn from_v1(name: &str) -> Option<Controller> {
        Controller::ALL.into_iter().find(|controller| controller.v1_name() == name)
    }

    /// The controller of this name in v2, such as `io`.
    pub fn from_v2(name: &str) -> Option<Controller> {
        Controller::ALL.into_iter().find(|controller| controller.v2_name() == Some(name))
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.v1_name())
    }
}

/// A set of controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct ControllerSet(u32);

impl ControllerSet {
    /// No controller.
    pub const EMPTY: ControllerSet = ControllerSet(0);

    /// What every v2 group has without being given a controller: counting of processor time
    /// (`cpu.stat`), `cgroup.freeze`, eBPF programs for devices, and being an object of perf(1).
    pub const IMPLICIT: ControllerSet = ControllerSet::EMPTY
        .with(Controller::Cpuacct)
        .with(Controller::Freezer)
        .with(Controller::Devices)
        .with(Controller::PerfEvent);

    /// This set with `controller` in it.
    #[must_use]
    pub const fn with(self, controller: Controller) -> ControllerSet {
        ControllerSet(self.0 | 1 << controller as u32)
    }

    /// This set without what is in `other`.
    #[must_use]
    pub const fn without(self, other: ControllerSet) -> ControllerSet {
        ControllerSet(self.0 & !other.0)
    }

    /// What is in this set or in `other`.
    #[must_use]
    pub const fn union(self, other: ControllerSet) -> ControllerSet {
        ControllerSet(self.0 | other.0)
    }

    /// What is in both.
    #[must_use]
    pub const fn intersection(self, other: ControllerSet) -> ControllerSet {
        ControllerSet(self.0 & other.0)
    }

    /// Whether `controller` is in it.
    pub const fn contains(self, controller: Controller) -> bool {
        self.0 & 1 << controller as u32 != 0
    }

    /// Whether nothing is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The members, in the order of [`Controller::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Controller> {
        Controller::ALL.into_iter().filter(move |controller| self.contains(*controller))
    }

    /// What a file such as `cgroup.controllers` lists; unknown names are left out.
    pub fn parse_v2(text: &str) -> ControllerSet {
        text.split_whitespace().filter_map(Controller::from_v2).collect()
    }

    /// `+cpu +memory`, as `cgroup.subtree_control` takes it.
    pub fn enabling(self) -> String {
        let words: Vec<String> =
            self.iter().filter_map(Controller::v2_name).map(|name| format!("+{name}")).collect();
        words.join(" ")
    }
}

impl FromIterator<Controller> for ControllerSet {
    fn from_iter<I: IntoIterator<Item = Controller>>(controllers: I) -> ControllerSet {
        controllers.into_iter().fold(ControllerSet::EMPTY, ControllerSet::with)
    }
}

impl fmt::Display for ControllerSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Controller::v1_name).collect();
        f.pad(&names.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_back_to_its_controller() {
        for controller in Controller::ALL {
            assert_eq!(Controller::from_v1(controller.v1_name()), Some(controller));
            if let Some(name) = controller.v2_name() {
                assert_eq!(Controller::from_v2(name), Some(controller));
            }
        }
    }

    #[test]
    fn what_is_enabled_is_what_v2_has_a_name_for() {
        let set: ControllerSet =
            [Controller::Io, Controller::Memory, Controller::Devices].into_iter().collect();
        assert_eq!(set.enabling(), "+memory +io");
        assert_eq!(ControllerSet::parse_v2("memory io nonsense\n").enabling(), "+memory +io");
    }
}
