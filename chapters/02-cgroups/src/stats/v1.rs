//! The figures of a group in a v1 hierarchy.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Cpu, Hugetlb, Io, Memory, Pids, Stats, text, v2};
use crate::cgroup::Group;
use crate::controller::Controller;
use crate::error::Result;
use crate::limits::Max;
use crate::sys;

pub(super) fn read(group: &Group, stats: &mut Stats) -> Result<()> {
    // cpu and cpuacct may be two hierarchies: each fills its part.
    if group.has(Controller::Cpuacct) {
        usage(group, stats.cpu.get_or_insert_default())?;
    }
    if group.has(Controller::Cpu)
        && let Some(text) = group.optional("cpu.stat")?
    {
        throttling(&text, stats.cpu.get_or_insert_default());
    }
    if group.has(Controller::Memory) {
        stats.memory = memory(group)?;
    }
    if group.has(Controller::Pids)
        && let Some(current) = group.number("pids.current")?
    {
        let limit = group.optional("pids.max")?.as_deref().and_then(text::max);
        let events = group.optional("pids.events")?.unwrap_or_default();
        let refused = text::flat(&events).get("max").copied().unwrap_or(0);
        stats.pids = Some(Pids { current, limit, refused });
    }
    if group.has(Controller::Io) {
        stats.io = io(group)?;
    }
    if group.has(Controller::Hugetlb) {
        stats.hugetlb = hugetlb(group)?;
    }
    Ok(())
}

fn usage(group: &Group, cpu: &mut Cpu) -> Result<()> {
    let nanos = |text: &str| text.trim().parse().map(Duration::from_nanos).unwrap_or_default();
    cpu.usage = group.optional("cpuacct.usage")?.as_deref().map(nanos).unwrap_or_default();
    // In ticks of a hundredth of a second.
    let ticks = text::flat(&group.optional("cpuacct.stat")?.unwrap_or_default());
    let time = |name: &str| {
        let ticks = ticks.get(name).copied().unwrap_or(0);
        Duration::from_nanos(ticks.saturating_mul(1_000_000_000 / sys::clock_ticks()))
    };
    (cpu.user, cpu.system) = (time("user"), time("system"));
    let each = |text: Option<String>| -> Vec<Duration> {
        text.unwrap_or_default().split_whitespace().map(nanos).collect()
    };
    cpu.per_cpu = each(group.optional("cpuacct.usage_percpu")?);
    cpu.per_cpu_system = each(group.optional("cpuacct.usage_percpu_sys")?);
    Ok(())
}

/// The same file as in v2, with times in nanoseconds.
pub(super) fn throttling(text: &str, cpu: &mut Cpu) {
    let values = text::flat(text);
    let number = |name: &str| values.get(name).copied().unwrap_or(0);
    cpu.periods = number("nr_periods");
    cpu.throttled_periods = number("nr_throttled");
    cpu.throttled = Duration::from_nanos(number("throttled_time"));
    cpu.bursts = number("nr_bursts");
    cpu.burst = Duration::from_nanos(number("burst_time"));
}

fn memory(group: &Group) -> Result<Option<Memory>> {
    let Some(usage) = group.number("memory.usage_in_bytes")? else { return Ok(None) };
    let details = text::flat(&group.optional("memory.stat")?.unwrap_or_default());
    let oom = text::flat(&group.optional("memory.oom_control")?.unwrap_or_default());
    let limit = |text: Option<String>| text.as_deref().and_then(text::max);
    let both = group.number("memory.memsw.usage_in_bytes")?;
    let memory_limit = limit(group.optional("memory.limit_in_bytes")?);
    let both_limit = limit(group.optional("memory.memsw.limit_in_bytes")?);
    let kills = oom.get("oom_kill").copied().unwrap_or(0);
    Ok(Some(Memory {
        usage,
        peak: group.number("memory.max_usage_in_bytes")?,
        limit: memory_limit,
        // total_ is with the groups below, as the usage is.
        working_set: usage.saturating_sub(details.get("total_inactive_file").copied().unwrap_or(0)),
        swap: both.map(|both| both.saturating_sub(usage)),
        swap_limit: swap_limit(memory_limit, both_limit),
        limit_hits: group.number("memory.failcnt")?.unwrap_or(0),
        swap_limit_hits: group.number("memory.memsw.failcnt")?.unwrap_or(0),
        oom: kills,
        oom_kills: kills,
        kernel: group.number("memory.kmem.usage_in_bytes")?,
        kernel_tcp: group.number("memory.kmem.tcp.usage_in_bytes")?,
        details,
        events: BTreeMap::new(),
    }))
}

pub(super) fn swap_limit(memory: Option<Max>, both: Option<Max>) -> Option<Max> {
    match (memory?, both?) {
        (Max::At(memory), Max::At(both)) => Some(Max::At(both.saturating_sub(memory))),
        (_, both) => Some(both),
    }
}

/// The counters of throttling count what reached the disk of every scheduler; `_recursive` has the
/// groups below in it, as v2 always does.
fn io(group: &Group) -> Result<BTreeMap<(u32, u32), Io>> {
    let mut devices = BTreeMap::new();
    for (stem, bytes) in [("io_service_bytes", true), ("io_serviced", false)] {
        let recursive = format!("blkio.throttle.{stem}_recursive");
        let text = match group.optional(&recursive)? {
            Some(text) => text,
            None => group.optional(&format!("blkio.throttle.{stem}"))?.unwrap_or_default(),
        };
        operations(&text, bytes, &mut devices);
    }
    Ok(devices)
}

/// Lines such as `8:0 Read 4096`, and a total.
pub(super) fn operations(text: &str, bytes: bool, devices: &mut BTreeMap<(u32, u32), Io>) {
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [device, operation, value] = words[..] else { continue };
        let (Some(device), Ok(value)) = (text::device(device), value.parse()) else { continue };
        let io = devices.entry(device).or_default();
        match (operation, bytes) {
            ("Read", true) => io.read_bytes = value,
            ("Write", true) => io.written_bytes = value,
            ("Read", false) => io.reads = value,
            ("Write", false) => io.writes = value,
            _ => {}
        }
    }
}

fn hugetlb(group: &Group) -> Result<BTreeMap<String, Hugetlb>> {
    let mut sizes = BTreeMap::new();
    for size in v2::page_sizes() {
        let file = |name: &str| format!("hugetlb.{size}.{name}");
        let Some(usage) = group.number(&file("usage_in_bytes"))? else { continue };
        let peak = group.number(&file("max_usage_in_bytes"))?;
        let limit_hits = group.number(&file("failcnt"))?.unwrap_or(0);
        sizes.insert(size, Hugetlb { usage, peak, limit_hits });
    }
    Ok(sizes)
}
