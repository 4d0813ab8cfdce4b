//! `linux.resources`.

use std::path::Path;

use nix::sys::stat;
use serde_json::{Map, Value, json};

use crate::engine::error::{Error, Result};
use crate::engine::options::host::{Resources, ThrottleDevice};

/// The period of `NanoCpus`, in microseconds.
const PERIOD: i64 = 100_000;

/// The limits. What is not asked for is left out, where dockerd writes zeros that its runtime
/// passes over.
///
/// # Errors
/// Where a disk is named that is not there.
pub fn resources(r: &Resources, device_rules: Vec<Value>) -> Result<Value> {
    let mut all = json!({"devices": device_rules});
    for (name, part) in [("memory", memory(r)), ("cpu", cpu(r)), ("blockIO", block(r)?)] {
        if !part.is_empty() {
            all[name] = Value::Object(part);
        }
    }
    if let Some(limit) = r.pids_limit {
        // Clients send 0 for no limit, too.
        all["pids"] = json!({"limit": if limit <= 0 { -1 } else { limit }});
    }
    Ok(all)
}

fn set(part: &mut Map<String, Value>, name: &str, value: impl Into<Value>, wanted: bool) {
    if wanted {
        part.insert(name.to_owned(), value.into());
    }
}

fn memory(r: &Resources) -> Map<String, Value> {
    let mut part = Map::new();
    set(&mut part, "limit", r.memory, r.memory > 0);
    set(&mut part, "reservation", r.memory_reservation, r.memory_reservation > 0);
    // -1 is left out, which is for no limit, too.
    set(&mut part, "swap", r.memory_swap, r.memory_swap > 0);
    set(&mut part, "kernelTCP", r.kernel_memory_tcp, r.kernel_memory_tcp != 0);
    let swappiness = r.memory_swappiness;
    set(&mut part, "swappiness", swappiness, swappiness.is_some());
    let disable = r.oom_kill_disable == Some(true);
    set(&mut part, "disableOOMKiller", disable, r.oom_kill_disable.is_some());
    part
}

fn cpu(r: &Resources) -> Map<String, Value> {
    let mut part = Map::new();
    set(&mut part, "shares", r.cpu_shares, r.cpu_shares > 0);
    set(&mut part, "cpus", r.cpuset_cpus.clone(), !r.cpuset_cpus.is_empty());
    set(&mut part, "mems", r.cpuset_mems.clone(), !r.cpuset_mems.is_empty());
    set(&mut part, "period", PERIOD, r.nano_cpus > 0);
    let quota = i128::from(r.nano_cpus) * i128::from(PERIOD) / 1_000_000_000;
    set(&mut part, "quota", i64::try_from(quota).unwrap_or(i64::MAX), r.nano_cpus > 0);
    set(&mut part, "period", r.cpu_period, r.cpu_period != 0);
    set(&mut part, "quota", r.cpu_quota, r.cpu_quota != 0);
    let (period, runtime) = (r.cpu_realtime_period, r.cpu_realtime_runtime);
    set(&mut part, "realtimePeriod", period, period != 0);
    set(&mut part, "realtimeRuntime", runtime, runtime != 0);
    part
}

fn block(r: &Resources) -> Result<Map<String, Value>> {
    let mut part = Map::new();
    set(&mut part, "weight", r.blkio_weight, r.blkio_weight > 0);
    let mut weights = Vec::new();
    for device in &r.blkio_weight_device {
        let (major, minor) = numbers(&device.path)?;
        weights.push(json!({"major": major, "minor": minor, "weight": device.weight}));
    }
    let wanted = !weights.is_empty();
    set(&mut part, "weightDevice", weights, wanted);
    for (name, devices) in [
        ("throttleReadBpsDevice", &r.blkio_device_read_bps),
        ("throttleWriteBpsDevice", &r.blkio_device_write_bps),
        ("throttleReadIOPSDevice", &r.blkio_device_read_iops),
        ("throttleWriteIOPSDevice", &r.blkio_device_write_iops),
    ] {
        let rates = devices.iter().map(throttle).collect::<Result<Vec<_>>>()?;
        let wanted = !rates.is_empty();
        set(&mut part, name, rates, wanted);
    }
    Ok(part)
}

fn throttle(device: &ThrottleDevice) -> Result<Value> {
    let (major, minor) = numbers(&device.path)?;
    Ok(json!({"major": major, "minor": minor, "rate": device.rate}))
}

fn numbers(path: &str) -> Result<(u64, u64)> {
    let found = stat::stat(Path::new(path))
        .map_err(|errno| Error::refused(format!("stat {path}: {}", errno.desc().to_lowercase())))?;
    Ok((stat::major(found.st_rdev), stat::minor(found.st_rdev)))
}
