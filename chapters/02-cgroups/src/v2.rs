//! The driver for v2: which files say what (Documentation/admin-guide/cgroup-v2.rst of the kernel).

use crate::controller::Controller;
use crate::convert;
use crate::error::{Error, Result};
use crate::hierarchy::Version::V2;
use crate::limits::{Cpu, Io, Limits, Max, Memory};
use crate::plan::{Draft, Step, Write};

/// Adds the steps for every limit whose controller is in the v2 hierarchy.
pub(crate) fn plan(draft: &mut Draft<'_>, limits: &Limits) -> Result<()> {
    cpu(draft, &limits.cpu)?;
    cpuset(draft, &limits.cpu)?;
    memory(draft, &limits.memory)?;
    io(draft, &limits.io)?;
    if let Some(pids) = limits.pids
        && let Some(group) = draft.group(V2, Controller::Pids, "pids limit")?
    {
        draft.write(Write::new(group, "pids.max", text(pids)));
    }
    for hugetlb in &limits.hugetlb {
        let Some(group) = draft.group(V2, Controller::Hugetlb, "huge page limit")? else {
            continue;
        };
        let (size, limit) = (&hugetlb.page_size, text(hugetlb.limit));
        draft.write(Write::new(group, format!("hugetlb.{size}.max"), &limit));
        draft.write(Write::new(group, format!("hugetlb.{size}.rsvd.max"), &limit).optional());
    }
    for rdma in &limits.rdma {
        let Some(group) = draft.group(V2, Controller::Rdma, "rdma limit")? else { continue };
        draft.write(Write::new(group, "rdma.max", rdma.line()));
    }
    if let Some(rules) = &limits.devices
        && let Some(group) = draft.group(V2, Controller::Devices, "device rules")?
    {
        draft.steps.push(Step::DeviceProgram(group, rules.clone()));
    }
    if !draft.has_v1() && limits.network != Default::default() {
        draft.ignore("network class and priorities", "v2 leaves them to eBPF and nftables");
    }
    unified(draft, limits)
}

// ANCHOR: cpu
fn cpu(draft: &mut Draft<'_>, cpu: &Cpu) -> Result<()> {
    let asked = cpu.share.is_some() || cpu.quota.is_some() || cpu.period.is_some();
    if !(asked || cpu.burst.is_some() || cpu.idle.is_some() || cpu.realtime_runtime.is_some()) {
        return Ok(());
    }
    let Some(group) = draft.group(V2, Controller::Cpu, "cpu limit")? else { return Ok(()) };
    // An idle group has no weight: the kernel refuses one with EINVAL.
    if let Some(idle) = cpu.idle {
        draft.write(Write::new(group, "cpu.idle", u8::from(idle)));
    }
    if let Some(share) = cpu.share.filter(|_| cpu.idle != Some(true)) {
        draft.write(Write::new(group, "cpu.weight", share.weight()));
    }
    let mut writes = Vec::new();
    if cpu.quota.is_some() || cpu.period.is_some() {
        let quota = text(cpu.quota.unwrap_or(Max::Unlimited));
        let value = format!("{quota} {}", cpu.period.unwrap_or(100_000));
        writes.push(Write::new(group, "cpu.max", value));
    }
    if let Some(burst) = cpu.burst {
        writes.push(Write::new(group, "cpu.max.burst", burst));
    }
    draft.any_order(writes);
    if cpu.realtime_runtime.is_some() || cpu.realtime_period.is_some() {
        draft.ignore("real-time cpu limit", "v2 has none");
    }
    Ok(())
}
// ANCHOR_END: cpu

fn cpuset(draft: &mut Draft<'_>, cpu: &Cpu) -> Result<()> {
    for (file, list) in [("cpuset.cpus", &cpu.cpus), ("cpuset.mems", &cpu.mems)] {
        let Some(list) = list else { continue };
        let Some(group) = draft.group(V2, Controller::Cpuset, "cpuset")? else { continue };
        draft.write(Write::new(group, file, list));
    }
    Ok(())
}

// ANCHOR: memory
fn memory(draft: &mut Draft<'_>, memory: &Memory) -> Result<()> {
    let swap = convert::swap_alone(memory)?;
    if memory.limit.is_none()
        && swap.is_none()
        && memory.reservation.is_none()
        && memory.oom_group.is_none()
    {
        return Ok(());
    }
    let Some(group) = draft.group(V2, Controller::Memory, "memory limit")? else { return Ok(()) };
    if let (true, Some(Max::At(limit))) = (memory.check_before_update, memory.limit) {
        draft.steps.push(Step::CheckUsage { group, file: "memory.current", limit });
    }
    // Before the limit: what does not fit any more is to be swapped by the new rule, too.
    if let Some(swap) = swap {
        let write = Write::new(group, "memory.swap.max", text(swap));
        // A kernel without swap has no such file, and then there is no swap to be used.
        draft.write(if swap == Max::At(0) || swap == Max::Unlimited {
            write.optional()
        } else {
            write
        });
    }
    if let Some(limit) = memory.limit {
        draft.write(Write::new(group, "memory.max", text(limit)));
    }
    if let Some(reservation) = memory.reservation {
        draft.write(Write::new(group, "memory.low", text(reservation)));
    }
    if let Some(all) = memory.oom_group {
        draft.write(Write::new(group, "memory.oom.group", u8::from(all)));
    }
    let v1_only = [
        (memory.swappiness.is_some(), "swappiness", "v2 has none for a group"),
        (memory.disable_oom_killer == Some(true), "disabling the OOM killer", "v2 always has it"),
        (memory.kernel_tcp.is_some(), "limit on TCP buffers", "v2 counts them with all memory"),
        (memory.kernel.is_some(), "limit on kernel memory", "v2 counts it with all memory"),
    ];
    for (_, limit, why) in v1_only.into_iter().filter(|(asked, ..)| *asked) {
        draft.ignore(limit, why);
    }
    Ok(())
}
// ANCHOR_END: memory

fn io(draft: &mut Draft<'_>, io: &Io) -> Result<()> {
    if *io == Io::default() {
        return Ok(());
    }
    let Some(group) = draft.group(V2, Controller::Io, "io limit")? else { return Ok(()) };
    if let Some(weight) = io.weight {
        // The file of the scheduler BFQ, where it is there, or that of the iocost controller.
        let write = Write::new(group, "io.bfq.weight", weight.blkio());
        draft.write(write.or("io.weight", weight.io()));
    }
    for device in &io.weight_devices {
        let (major, minor) = (device.major, device.minor);
        let Some(weight) = device.weight else { continue };
        let converted = crate::limits::IoWeight::Blkio(weight).io();
        let write = Write::new(group, "io.bfq.weight", format!("{major}:{minor} {weight}"));
        draft.write(write.or("io.weight", format!("{major}:{minor} {converted}")));
    }
    if io.leaf_weight.is_some() || io.weight_devices.iter().any(|d| d.leaf_weight.is_some()) {
        draft.ignore("leaf weight", "it went with the scheduler CFQ");
    }
    for value in io_max(io) {
        draft.write(Write::new(group, "io.max", value));
    }
    Ok(())
}

/// The lines of `io.max`, one for each device.
fn io_max(io: &Io) -> Vec<String> {
    let kinds = [
        ("rbps", &io.read_bps),
        ("wbps", &io.write_bps),
        ("riops", &io.read_iops),
        ("wiops", &io.write_iops),
    ];
    let mut lines: Vec<((i64, i64), String)> = Vec::new();
    for (key, throttles) in kinds {
        for throttle in throttles {
            let device = (throttle.major, throttle.minor);
            let rate = if throttle.rate == 0 { "max".into() } else { throttle.rate.to_string() };
            let word = format!(" {key}={rate}");
            match lines.iter_mut().find(|(of, _)| *of == device) {
                Some((_, line)) => line.push_str(&word),
                None => lines.push((device, format!("{}:{}{word}", device.0, device.1))),
            }
        }
    }
    lines.into_iter().map(|(_, line)| line).collect()
}

/// The map of raw files comes last, so that it has the last word.
fn unified(draft: &mut Draft<'_>, limits: &Limits) -> Result<()> {
    if limits.unified.is_empty() {
        return Ok(());
    }
    let group = draft.unified().filter(|_| !draft.has_v1()).ok_or_else(|| {
        Error::unavailable("unified map", "its files are those of v2, and this machine has v1")
    })?;
    for (file, value) in &limits.unified {
        let controller = file.split('.').next().and_then(Controller::from_v2);
        if let Some(controller) = controller {
            if !draft.controllers(group).contains(controller) {
                let why = format!("this machine has no controller for {file}");
                return Err(Error::unavailable("unified map", why));
            }
            draft.needed = draft.needed.with(controller);
        }
        // io.max and its like take one line in each write.
        for line in value.lines() {
            draft.write(Write::new(group, file.clone(), line));
        }
    }
    Ok(())
}

/// As v2's files have it.
pub(crate) fn text(max: Max) -> String {
    match max {
        Max::At(value) => value.to_string(),
        Max::Unlimited => "max".into(),
    }
}
