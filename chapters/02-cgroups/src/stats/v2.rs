//! The figures of a v2 group.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Cpu, Hugetlb, Io, Memory, Pids, Pressure, Resource, Stats, text};
use crate::cgroup::Group;
use crate::controller::Controller;
use crate::error::Result;

pub(super) fn read(group: &Group, stats: &mut Stats) -> Result<()> {
    // On a hybrid host v1 counts processor time, and this file repeats it.
    if group.has(Controller::Cpuacct)
        && let Some(text) = group.optional("cpu.stat")?
    {
        stats.cpu = Some(cpu(&text));
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
    if group.has(Controller::Io)
        && let Some(text) = group.optional("io.stat")?
    {
        stats.io = io(&text);
    }
    if group.has(Controller::Hugetlb) {
        stats.hugetlb = hugetlb(group)?;
    }
    for resource in Resource::ALL {
        let text = group.optional(resource.file())?;
        if let Some(pressure) = text.as_deref().and_then(Pressure::parse) {
            stats.pressure.insert(resource, pressure);
        }
    }
    Ok(())
}

pub(super) fn cpu(text: &str) -> Cpu {
    let values = text::flat(text);
    let number = |name: &str| values.get(name).copied().unwrap_or(0);
    let micros = |name: &str| Duration::from_micros(number(name));
    Cpu {
        usage: micros("usage_usec"),
        user: micros("user_usec"),
        system: micros("system_usec"),
        periods: number("nr_periods"),
        throttled_periods: number("nr_throttled"),
        throttled: micros("throttled_usec"),
        bursts: number("nr_bursts"),
        burst: micros("burst_usec"),
        ..Cpu::default()
    }
}

// ANCHOR: memory
fn memory(group: &Group) -> Result<Option<Memory>> {
    let Some(usage) = group.number("memory.current")? else { return Ok(None) };
    let details = text::flat(&group.optional("memory.stat")?.unwrap_or_default());
    let events = text::flat(&group.optional("memory.events")?.unwrap_or_default());
    let swap_events = text::flat(&group.optional("memory.swap.events")?.unwrap_or_default());
    let limit = |text: Option<String>| text.as_deref().and_then(text::max);
    let number = |map: &BTreeMap<String, u64>, name: &str| map.get(name).copied().unwrap_or(0);
    Ok(Some(Memory {
        usage,
        peak: group.number("memory.peak")?,
        limit: limit(group.optional("memory.max")?),
        working_set: usage.saturating_sub(number(&details, "inactive_file")),
        swap: group.number("memory.swap.current")?,
        swap_limit: limit(group.optional("memory.swap.max")?),
        limit_hits: number(&events, "max"),
        swap_limit_hits: number(&swap_events, "max"),
        oom: number(&events, "oom"),
        oom_kills: number(&events, "oom_kill"),
        kernel: details.get("kernel").copied(),
        kernel_tcp: details.get("sock").copied(),
        details,
        events,
    }))
}
// ANCHOR_END: memory

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`.
pub(super) fn io(text: &str) -> BTreeMap<(u32, u32), Io> {
    let mut devices = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some(device) = words.next().and_then(text::device) else { continue };
        let mut io = Io::default();
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let value = value.parse().unwrap_or(0);
            match key {
                "rbytes" => io.read_bytes = value,
                "wbytes" => io.written_bytes = value,
                "rios" => io.reads = value,
                "wios" => io.writes = value,
                _ => {}
            }
        }
        devices.insert(device, io);
    }
    devices
}

fn hugetlb(group: &Group) -> Result<BTreeMap<String, Hugetlb>> {
    let mut sizes = BTreeMap::new();
    for size in page_sizes() {
        let Some(usage) = group.number(&format!("hugetlb.{size}.current"))? else { continue };
        let events = group.optional(&format!("hugetlb.{size}.events"))?.unwrap_or_default();
        let limit_hits = text::flat(&events).get("max").copied().unwrap_or(0);
        sizes.insert(size, Hugetlb { usage, peak: None, limit_hits });
    }
    Ok(sizes)
}

/// The names of the huge page sizes of this machine: `hugepages-2048kB` is `2MB` in the files.
pub(super) fn page_sizes() -> Vec<String> {
    let entries = std::fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
    let mut sizes: Vec<String> =
        entries.filter_map(|entry| page_size(&entry.file_name().to_string_lossy())).collect();
    sizes.sort();
    sizes
}

pub(super) fn page_size(directory: &str) -> Option<String> {
    let kib: u64 = directory.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
    Some(match kib {
        0..1024 => format!("{kib}KB"),
        1024..0x10_0000 => format!("{}MB", kib >> 10),
        _ => format!("{}GB", kib >> 20),
    })
}
