//! Resource limits: moby's `verifyPlatformContainerResources`, sentence by sentence.

use std::collections::BTreeSet;

use corten_cgroups::{Controller, Delegation};

use super::host::Resources;
use crate::engine::error::{Error, Result};
use crate::engine::machine::Machine;

/// Less would not start: Docker's own limit, not the kernel's.
const MIN_MEMORY: i64 = 6 << 20;

/// How a user comes to groups.
pub const REMEDY: &str = "where systemd has a manager for you: systemd-run --user --scope -p Delegate=yes corten …; \
                      otherwise root gives you a group (book, 2.9), or runs the container";

/// Checks limits, and drops those that this kernel lacks. Returns a warning for each. `update` is
/// for the limits of a container that is there already.
///
/// # Errors
/// [`Error::Refused`], with dockerd's sentence.
pub fn check(resources: &mut Resources, machine: &Machine, update: bool) -> Result<Vec<String>> {
    // Clients send -1 for a value that they do not care about.
    if resources.memory_swappiness == Some(-1) {
        resources.memory_swappiness = None;
    }
    let mut warnings = Vec::new();
    if !machine.cgroups {
        warnings.extend(discard(resources));
    }
    if let Some(given) = &machine.given {
        offered(resources, given)?;
    }
    memory(resources, machine, update, &mut warnings)?;
    reservation(resources, machine, &mut warnings)?;
    oom_and_pids(resources, machine, &mut warnings);
    cpu(resources, machine, &mut warnings)?;
    cpuset(resources, machine, &mut warnings)?;
    blkio(resources, machine, &mut warnings)?;
    ulimits(resources)?;
    Ok(warnings)
}

/// Takes out all limits where there are no control groups to set them, and says so once.
fn discard(resources: &mut Resources) -> Option<String> {
    let kept = Resources {
        ulimits: resources.ulimits.clone(),
        devices: resources.devices.clone(),
        device_requests: resources.device_requests.clone(),
        ..Resources::default()
    };
    // What clients send for what nobody has asked for.
    resources.pids_limit = resources.pids_limit.filter(|limit| *limit > 0);
    resources.oom_kill_disable = resources.oom_kill_disable.filter(|disable| *disable);
    let asked = std::mem::replace(resources, kept);
    (asked != *resources)
        .then(|| format!("Limits discarded: here no control group is yours. For limits, {REMEDY}"))
}

/// Refuses to go on without the limits that a container was made with, when there were groups.
///
/// # Errors
/// [`Error::Refused`], with what to type.
pub fn need_groups(resources: &Resources) -> Result<()> {
    match discard(&mut resources.clone()) {
        Some(_) => refused(format!("it has limits, and here no control group is yours: {REMEDY}")),
        None => Ok(()),
    }
}

/// Refuses limits for which the group that was given to the user has no controller. Of the machine's groups
/// that would be a warning; here somebody can be asked for it.
fn offered(r: &Resources, given: &Delegation) -> Result<()> {
    let memory = r.memory != 0 || r.memory_reservation != 0;
    let cpu = [r.nano_cpus, r.cpu_shares, r.cpu_period, r.cpu_quota].iter().any(|it| *it != 0);
    let cpuset = !r.cpuset_cpus.is_empty() || !r.cpuset_mems.is_empty();
    let throttles = [
        &r.blkio_device_read_bps,
        &r.blkio_device_write_bps,
        &r.blkio_device_read_iops,
        &r.blkio_device_write_iops,
    ];
    let io = r.blkio_weight != 0
        || !r.blkio_weight_device.is_empty()
        || throttles.iter().any(|limits| !limits.is_empty());
    let asked = [
        (memory, Controller::Memory, "memory"),
        (cpu, Controller::Cpu, "cpu"),
        (cpuset, Controller::Cpuset, "cpuset"),
        (r.pids_limit > Some(0), Controller::Pids, "pids"),
        (io, Controller::Io, "io"),
    ];
    let lacks = |(is_asked, controller, _): &(bool, Controller, &str)| {
        *is_asked && !given.controllers().contains(*controller)
    };
    let Some((_, _, name)) = asked.into_iter().find(lacks) else { return Ok(()) };
    let group = given.group();
    let above = group.parent().unwrap_or(group);
    refused(format!(
        "this limit needs the controller {name}, which is not in {}: who has given you the group writes +{name} to \
         {}; of systemd's user@.service it is Delegate={name} (systemctl edit user@.service)",
        group.join("cgroup.controllers").display(),
        above.join("cgroup.subtree_control").display(),
    ))
}

fn refused<T>(text: impl Into<String>) -> Result<T> {
    Err(Error::refused(text))
}

/// Sets `value` to nothing and says so, where it is set and the kernel cannot have it.
fn drop_unless<T: Default + PartialEq>(
    has: bool,
    value: &mut T,
    warnings: &mut Vec<String>,
    text: &str,
) {
    if !has && *value != T::default() {
        warnings.push(text.to_owned());
        *value = T::default();
    }
}

fn memory(
    r: &mut Resources,
    machine: &Machine,
    update: bool,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let support = &machine.support;
    if r.memory != 0 && r.memory < MIN_MEMORY {
        return refused("Minimum memory limit allowed is 6MB");
    }
    if r.memory > 0 && !support.memory {
        warnings.push(
            "Your kernel does not support memory limit capabilities or the cgroup is not mounted. \
             Limitation discarded."
                .to_owned(),
        );
        (r.memory, r.memory_swap) = (0, -1);
    }
    if r.memory > 0 && r.memory_swap != -1 && !support.swap {
        warnings.push(
            "Your kernel does not support swap limit capabilities or the cgroup is not mounted. \
             Memory limited without swap."
                .to_owned(),
        );
        r.memory_swap = -1;
    }
    if r.memory > 0 && r.memory_swap > 0 && r.memory_swap < r.memory {
        return refused("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if r.memory == 0 && r.memory_swap > 0 && !update {
        return refused(
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        );
    }
    drop_unless(
        support.swappiness,
        &mut r.memory_swappiness,
        warnings,
        "Your kernel does not support memory swappiness capabilities or the cgroup is not \
         mounted. Memory swappiness discarded.",
    );
    match r.memory_swappiness {
        Some(value) if !(0..=100).contains(&value) => {
            refused(format!("Invalid value: {value}, valid memory swappiness range is 0-100"))
        }
        _ => Ok(()),
    }
}

fn reservation(r: &mut Resources, machine: &Machine, warnings: &mut Vec<String>) -> Result<()> {
    drop_unless(
        machine.support.memory,
        &mut r.memory_reservation,
        warnings,
        "Your kernel does not support memory soft limit capabilities or the cgroup is not \
         mounted. Limitation discarded.",
    );
    if r.memory_reservation > 0 && r.memory_reservation < MIN_MEMORY {
        return refused("Minimum memory reservation allowed is 6MB");
    }
    if r.memory > 0 && r.memory_reservation > 0 && r.memory < r.memory_reservation {
        return refused(
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        );
    }
    drop_unless(
        false,
        &mut r.kernel_memory,
        warnings,
        "Your kernel does not support kernel memory limit capabilities or the cgroup is not \
         mounted. Limitation discarded.",
    );
    Ok(())
}

fn oom_and_pids(r: &mut Resources, machine: &Machine, warnings: &mut Vec<String>) {
    if r.oom_kill_disable.is_some() && !machine.support.oom_kill_disable {
        // Who wants what is the case anyway need not be told.
        if r.oom_kill_disable == Some(true) {
            let text = "Your kernel does not support OomKillDisable. OomKillDisable discarded.";
            warnings.push(text.to_owned());
        }
        r.oom_kill_disable = None;
    }
    if r.oom_kill_disable == Some(true) && r.memory == 0 {
        warnings.push(
            "OOM killer is disabled for the container, but no memory limit is set, this can \
             result in the system running out of resources."
                .to_owned(),
        );
    }
    if r.pids_limit.is_some() && !machine.support.pids {
        if r.pids_limit > Some(0) {
            warnings.push(
                "Your kernel does not support PIDs limit capabilities or the cgroup is not \
                 mounted. PIDs limit discarded."
                    .to_owned(),
            );
        }
        r.pids_limit = None;
    }
}

fn cpu(r: &mut Resources, machine: &Machine, warnings: &mut Vec<String>) -> Result<()> {
    let support = &machine.support;
    if r.nano_cpus > 0 && r.cpu_period > 0 {
        return refused("Conflicting options: Nano CPUs and CPU Period cannot both be set");
    }
    if r.nano_cpus > 0 && r.cpu_quota > 0 {
        return refused("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
    }
    if r.nano_cpus > 0 && !support.cpu_quota {
        return refused(
            "NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the \
             cgroup is not mounted",
        );
    }
    let cpus = machine.cpus;
    if r.nano_cpus < 0 || r.nano_cpus > i64::from(cpus) * 1_000_000_000 {
        return refused(format!(
            "Range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
        ));
    }
    if r.cpu_shares < 0 {
        return refused("shares: invalid argument");
    }
    drop_unless(
        support.cpu_shares,
        &mut r.cpu_shares,
        warnings,
        "Your kernel does not support CPU shares or the cgroup is not mounted. Shares discarded.",
    );
    let mut cfs = (r.cpu_period, r.cpu_quota);
    drop_unless(
        support.cpu_quota,
        &mut cfs,
        warnings,
        "Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.",
    );
    (r.cpu_period, r.cpu_quota) = cfs;
    if r.cpu_period != 0 && !(1000..=1_000_000).contains(&r.cpu_period) {
        return refused(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        );
    }
    if r.cpu_quota > 0 && r.cpu_quota < 1000 {
        return refused("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    if (r.cpu_realtime_period != 0 || r.cpu_realtime_runtime != 0) && !support.cpu_realtime {
        return refused("Your kernel does not support CPU real-time scheduler");
    }
    if r.cpu_realtime_runtime > r.cpu_realtime_period && r.cpu_realtime_period != 0 {
        return refused("cpu real-time runtime cannot be higher than cpu real-time period");
    }
    drop_unless(
        false,
        &mut r.cpu_percent,
        warnings,
        "linux does not support CPU percent. Percent discarded.",
    );
    Ok(())
}

fn cpuset(r: &mut Resources, machine: &Machine, warnings: &mut Vec<String>) -> Result<()> {
    let mut sets = (std::mem::take(&mut r.cpuset_cpus), std::mem::take(&mut r.cpuset_mems));
    drop_unless(
        machine.support.cpuset,
        &mut sets,
        warnings,
        "Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded.",
    );
    (r.cpuset_cpus, r.cpuset_mems) = sets;
    for (what, kind, wanted, there) in [
        ("CPUs", "cpus", &r.cpuset_cpus, &machine.online_cpus),
        ("memory nodes", "mems", &r.cpuset_mems, &machine.memory_nodes),
    ] {
        let Some(set) = numbers(wanted) else {
            return refused(format!(
                "Invalid value {wanted} for cpuset {kind}: invalid format: {wanted}"
            ));
        };
        if !set.is_subset(&numbers(there).unwrap_or_default()) {
            return refused(format!(
                "Requested {what} are not available - requested {wanted}, available: {there}"
            ));
        }
    }
    Ok(())
}

/// The numbers of a list like `0-3,7`; `None` where it is none.
pub fn numbers(list: &str) -> Option<BTreeSet<u32>> {
    let mut set = BTreeSet::new();
    for part in list.trim().split(',').filter(|_| !list.trim().is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        // More than any machine has: not to be filled into memory.
        if first > last || last > 8192 {
            return None;
        }
        set.extend(first..=last);
    }
    Some(set)
}

fn blkio(r: &mut Resources, machine: &Machine, warnings: &mut Vec<String>) -> Result<()> {
    let support = &machine.support;
    drop_unless(
        support.blkio_weight,
        &mut r.blkio_weight,
        warnings,
        "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight \
         discarded.",
    );
    if r.blkio_weight > 0 && !(10..=1000).contains(&r.blkio_weight) {
        return refused("Range of blkio weight is from 10 to 1000");
    }
    for (value, what) in [(r.io_maximum_bandwidth, "bandwidth"), (r.io_maximum_iops, "IOPs")] {
        if value != 0 {
            return refused(format!(
                "invalid QoS settings: linux does not support configuration of maximum {what}"
            ));
        }
    }
    drop_unless(
        support.blkio_weight_device,
        &mut r.blkio_weight_device,
        warnings,
        "Your kernel does not support Block I/O weight_device or the cgroup is not mounted. \
         Weight-device discarded.",
    );
    for (limits, unit, way) in [
        (&mut r.blkio_device_read_bps, "BPS Block I/O read", "Block I/O BPS read"),
        (&mut r.blkio_device_write_bps, "BPS Block I/O write", "Block I/O BPS write"),
        (&mut r.blkio_device_read_iops, "IOPS Block read", "Block I/O IOPS read"),
        (&mut r.blkio_device_write_iops, "IOPS Block write", "Block I/O IOPS write"),
    ] {
        let text = format!(
            "Your kernel does not support {unit} limit or the cgroup is not mounted. {way} limit \
             discarded."
        );
        drop_unless(support.blkio_throttle, limits, warnings, &text);
    }
    Ok(())
}

/// The names of getrlimit(2) without `RLIMIT_`.
const ULIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

fn ulimits(r: &Resources) -> Result<()> {
    let mut seen = BTreeSet::new();
    for limit in &r.ulimits {
        let name = limit.name.to_ascii_lowercase();
        if !ULIMITS.contains(&name.as_str()) {
            return refused(format!("invalid ulimit type: {}", limit.name));
        }
        // -1 is the largest: the kernel counts without a sign.
        if limit.soft as u64 > limit.hard as u64 {
            return refused(format!(
                "ulimit soft limit must be less than or equal to hard limit: {} > {}",
                limit.soft, limit.hard
            ));
        }
        if !seen.insert(name) {
            return refused(format!("ulimit {} is given twice", limit.name));
        }
    }
    Ok(())
}
