//! The driver for v1: which files say what (Documentation/admin-guide/cgroup-v1 of the kernel).

mod devices;

use crate::controller::Controller;
use crate::error::Result;
use crate::hierarchy::Version::V1;
use crate::limits::{Cpu, Io, Limits, Max, Memory, Network, Rdma, Throttle};
use crate::plan::{Draft, Step, Write};

pub use devices::DeviceList;

/// Adds the steps for every limit whose controller is in a v1 hierarchy.
pub(crate) fn plan(draft: &mut Draft<'_>, limits: &Limits) -> Result<()> {
    if !draft.has_v1() {
        return Ok(());
    }
    cpu(draft, &limits.cpu)?;
    cpuset(draft, &limits.cpu)?;
    memory(draft, &limits.memory)?;
    io(draft, &limits.io)?;
    network(draft, &limits.network)?;
    if let Some(pids) = limits.pids
        && let Some(group) = draft.group(V1, Controller::Pids, "pids limit")?
    {
        draft.write(Write::new(group, "pids.max", crate::v2::text(pids)));
    }
    for hugetlb in &limits.hugetlb {
        let Some(group) = draft.group(V1, Controller::Hugetlb, "huge page limit")? else {
            continue;
        };
        let (size, limit) = (&hugetlb.page_size, text(hugetlb.limit));
        draft.write(Write::new(group, format!("hugetlb.{size}.limit_in_bytes"), &limit));
        let reserved = format!("hugetlb.{size}.rsvd.limit_in_bytes");
        draft.write(Write::new(group, reserved, &limit).optional());
    }
    for rdma in &limits.rdma {
        let Some(group) = draft.group(V1, Controller::Rdma, "rdma limit")? else { continue };
        draft.write(Write::new(group, "rdma.max", rdma.line()));
    }
    if let Some(rules) = &limits.devices
        && let Some(group) = draft.group(V1, Controller::Devices, "device rules")?
    {
        let list = DeviceList::of(rules)?;
        if draft.new {
            list.writes(group).into_iter().for_each(|write| draft.write(write));
        } else {
            draft.steps.push(Step::DeviceList(group, list));
        }
    }
    Ok(())
}

// ANCHOR: cpu
fn cpu(draft: &mut Draft<'_>, cpu: &Cpu) -> Result<()> {
    let writes: Vec<(bool, &'static str, i64)> = [
        (cpu.idle.map(i64::from), "cpu.idle", true),
        (cpu.share.map(|share| signed(share.shares())), "cpu.shares", cpu.idle != Some(true)),
        (cpu.period.map(signed), "cpu.cfs_period_us", false),
        (cpu.quota.map(number), "cpu.cfs_quota_us", false),
        (cpu.burst.map(signed), "cpu.cfs_burst_us", false),
        (cpu.realtime_period.map(signed), "cpu.rt_period_us", false),
        (cpu.realtime_runtime, "cpu.rt_runtime_us", false),
    ]
    .into_iter()
    .filter(|(_, file, first)| *first || *file != "cpu.shares")
    .filter_map(|(value, file, first)| Some((first, file, value?)))
    .collect();
    if writes.is_empty() {
        return Ok(());
    }
    let Some(group) = draft.group(V1, Controller::Cpu, "cpu limit")? else { return Ok(()) };
    // The kernel checks period, quota and burst against each other at every write.
    let (alone, together): (Vec<_>, Vec<_>) = writes.into_iter().partition(|(first, ..)| *first);
    for (_, file, value) in alone {
        draft.write(Write::new(group, file, value));
    }
    let together = together.into_iter().map(|(_, file, value)| Write::new(group, file, value));
    draft.any_order(together.collect());
    Ok(())
}
// ANCHOR_END: cpu

fn cpuset(draft: &mut Draft<'_>, cpu: &Cpu) -> Result<()> {
    for (file, list) in [("cpuset.cpus", &cpu.cpus), ("cpuset.mems", &cpu.mems)] {
        let Some(list) = list else { continue };
        let Some(group) = draft.group(V1, Controller::Cpuset, "cpuset")? else { continue };
        draft.write(Write::new(group, file, list));
    }
    Ok(())
}

// ANCHOR: memory
fn memory(draft: &mut Draft<'_>, memory: &Memory) -> Result<()> {
    let asked = Memory { check_before_update: false, oom_group: None, kernel: None, ..*memory };
    if memory.kernel.is_some() {
        draft.ignore("limit on kernel memory", "no kernel since 5.4 has one");
    }
    if asked == Memory::default() {
        return Ok(());
    }
    let Some(group) = draft.group(V1, Controller::Memory, "memory limit")? else { return Ok(()) };
    if let (true, Some(Max::At(limit))) = (memory.check_before_update, memory.limit) {
        draft.steps.push(Step::CheckUsage { group, file: "memory.usage_in_bytes", limit });
    }
    // memsw must never be below limit: which of the two goes first depends on what is there now.
    let mut writes = Vec::new();
    if let Some(limit) = memory.limit {
        writes.push(Write::new(group, "memory.limit_in_bytes", number(limit)));
    }
    let swap = match (memory.limit, memory.swap) {
        // Without a limit on memory, one on memory and swap would be one on memory.
        (Some(Max::Unlimited), None) => Some(Write::new(group, "", -1).optional()),
        (_, swap) => swap.map(|swap| Write::new(group, "", number(swap))),
    };
    writes.extend(swap.map(|write| Write { file: "memory.memsw.limit_in_bytes".into(), ..write }));
    draft.any_order(writes);
    let others = [
        ("memory.soft_limit_in_bytes", memory.reservation.map(number)),
        ("memory.kmem.tcp.limit_in_bytes", memory.kernel_tcp.map(number)),
        ("memory.swappiness", memory.swappiness.map(signed)),
        ("memory.oom_control", memory.disable_oom_killer.map(i64::from)),
    ];
    for (file, value) in others {
        if let Some(value) = value {
            draft.write(Write::new(group, file, value));
        }
    }
    Ok(())
}
// ANCHOR_END: memory

fn io(draft: &mut Draft<'_>, io: &Io) -> Result<()> {
    if *io == Io::default() {
        return Ok(());
    }
    let Some(group) = draft.group(V1, Controller::Io, "io limit")? else { return Ok(()) };
    if let Some(weight) = io.weight {
        // blkio.weight went with the scheduler CFQ in Linux 5.0; BFQ has its own file.
        let write = Write::new(group, "blkio.weight", weight.blkio());
        draft.write(write.or("blkio.bfq.weight", weight.blkio()));
    }
    if let Some(weight) = io.leaf_weight {
        draft.write(Write::new(group, "blkio.leaf_weight", weight).optional());
    }
    for device in &io.weight_devices {
        let line = |weight: u16| format!("{}:{} {weight}", device.major, device.minor);
        if let Some(weight) = device.weight {
            let write = Write::new(group, "blkio.weight_device", line(weight));
            draft.write(write.or("blkio.bfq.weight_device", line(weight)));
        }
        if let Some(weight) = device.leaf_weight {
            draft.write(Write::new(group, "blkio.leaf_weight_device", line(weight)).optional());
        }
    }
    let throttles: [(&'static str, &[Throttle]); 4] = [
        ("blkio.throttle.read_bps_device", &io.read_bps),
        ("blkio.throttle.write_bps_device", &io.write_bps),
        ("blkio.throttle.read_iops_device", &io.read_iops),
        ("blkio.throttle.write_iops_device", &io.write_iops),
    ];
    for (file, list) in throttles {
        for Throttle { major, minor, rate } in list {
            draft.write(Write::new(group, file, format!("{major}:{minor} {rate}")));
        }
    }
    Ok(())
}

fn network(draft: &mut Draft<'_>, network: &Network) -> Result<()> {
    if let Some(class) = network.class_id
        && let Some(group) = draft.group(V1, Controller::NetCls, "network class")?
    {
        draft.write(Write::new(group, "net_cls.classid", class));
    }
    for (interface, priority) in &network.priorities {
        let Some(group) = draft.group(V1, Controller::NetPrio, "network priority")? else {
            continue;
        };
        draft.write(Write::new(group, "net_prio.ifpriomap", format!("{interface} {priority}")));
    }
    Ok(())
}

/// As v1's files have it: -1 is unlimited.
fn number(max: Max) -> i64 {
    match max {
        Max::At(value) => signed(value),
        Max::Unlimited => -1,
    }
}

fn text(max: Max) -> String {
    number(max).to_string()
}

/// No limit of the kernel is above i64::MAX, which is larger than anything can be.
fn signed(value: u64) -> i64 {
    value.min(i64::MAX as u64) as i64
}

impl Rdma {
    /// `mlx5_1 hca_handle=2 hca_object=2000`, in both versions.
    pub(crate) fn line(&self) -> String {
        let word =
            |key, value: Option<u32>| value.map(|v| format!(" {key}={v}")).unwrap_or_default();
        let (handles, objects) = (self.handles, self.objects);
        format!("{}{}{}", self.device, word("hca_handle", handles), word("hca_object", objects))
    }
}
