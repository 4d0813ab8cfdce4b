//! `linux.resources` of config.json as chapter 2's limits.

use corten_cgroups::device::{Access, DeviceKind};
use corten_cgroups::limits as cg;
use corten_cgroups::{DeviceRule, Limits, Max};
use oci_spec::runtime as oci;

use crate::error::{Error, Result};

// ANCHOR: limits
/// Converts; the values themselves are checked by chapter 2.
///
/// # Errors
/// [`Error::Invalid`] with the field.
pub fn limits(resources: &oci::LinuxResources) -> Result<Limits> {
    let mut limits = Limits::default();
    if let Some(cpu) = resources.cpu() {
        limits.cpu = self::cpu(cpu);
    }
    if let Some(memory) = resources.memory() {
        limits.memory = self::memory(memory);
    }
    limits.pids = resources.pids().as_ref().map(|pids| pids_max(pids.limit()));
    if let Some(io) = resources.block_io() {
        limits.io = self::io(io);
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        let page_size = limit.page_size().clone();
        limits.hugetlb.push(cg::Hugetlb { page_size, limit: Max::from(limit.limit()) });
    }
    for (device, limit) in resources.rdma().iter().flatten() {
        let (handles, objects) = (limit.hca_handles(), limit.hca_objects());
        limits.rdma.push(cg::Rdma { device: device.clone(), handles, objects });
    }
    if let Some(network) = resources.network() {
        limits.network.class_id = network.class_id();
        let priorities = network.priorities().iter().flatten();
        limits.network.priorities = priorities.map(|p| (p.name().clone(), p.priority())).collect();
    }
    if let Some(devices) = resources.devices() {
        limits.devices = Some(devices.iter().map(device).collect::<Result<_>>()?);
    }
    limits.unified =
        resources.unified().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    Ok(limits)
}
// ANCHOR_END: limits

/// 0 is no limit, as runc has always read it: no container could start with none at all.
fn pids_max(limit: i64) -> Max {
    if limit <= 0 { Max::Unlimited } else { Max::from(limit) }
}

fn cpu(cpu: &oci::LinuxCpu) -> cg::Cpu {
    // Callers write 0 for what they do not set.
    let nonzero = |value: Option<u64>| value.filter(|value| *value != 0);
    let text = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
    cg::Cpu {
        share: nonzero(cpu.shares()).map(cg::CpuShare::Shares),
        quota: cpu.quota().filter(|quota| *quota != 0).map(Max::from),
        period: nonzero(cpu.period()),
        burst: cpu.burst(),
        idle: cpu.idle().map(|idle| idle != 0),
        realtime_runtime: cpu.realtime_runtime().filter(|runtime| *runtime != 0),
        realtime_period: nonzero(cpu.realtime_period()),
        cpus: text(cpu.cpus()),
        mems: text(cpu.mems()),
    }
}

fn memory(memory: &oci::LinuxMemory) -> cg::Memory {
    let max = |value: Option<i64>| value.filter(|value| *value != 0).map(Max::from);
    cg::Memory {
        limit: max(memory.limit()),
        reservation: max(memory.reservation()),
        swap: max(memory.swap()),
        kernel_tcp: max(memory.kernel_tcp()),
        kernel: max(memory.kernel()),
        swappiness: memory.swappiness(),
        disable_oom_killer: memory.disable_oom_killer().filter(|disable| *disable),
        oom_group: None,
        check_before_update: memory.check_before_update().unwrap_or(false),
    }
}

fn io(io: &oci::LinuxBlockIo) -> cg::Io {
    let throttles = |list: &Option<Vec<oci::LinuxThrottleDevice>>| -> Vec<cg::Throttle> {
        let throttle = |t: &oci::LinuxThrottleDevice| cg::Throttle {
            major: t.major(),
            minor: t.minor(),
            rate: t.rate(),
        };
        list.iter().flatten().map(throttle).collect()
    };
    let nonzero = |value: Option<u16>| value.filter(|value| *value != 0);
    let weight = |w: &oci::LinuxWeightDevice| cg::DeviceWeight {
        major: w.major(),
        minor: w.minor(),
        weight: w.weight(),
        leaf_weight: w.leaf_weight(),
    };
    cg::Io {
        weight: nonzero(io.weight()).map(cg::IoWeight::Blkio),
        leaf_weight: nonzero(io.leaf_weight()),
        weight_devices: io.weight_device().iter().flatten().map(weight).collect(),
        read_bps: throttles(io.throttle_read_bps_device()),
        write_bps: throttles(io.throttle_write_bps_device()),
        read_iops: throttles(io.throttle_read_iops_device()),
        write_iops: throttles(io.throttle_write_iops_device()),
    }
}

fn device(rule: &oci::LinuxDeviceCgroup) -> Result<DeviceRule> {
    let kind = match rule.typ() {
        None | Some(oci::LinuxDeviceType::A) => DeviceKind::All,
        Some(oci::LinuxDeviceType::B) => DeviceKind::Block,
        Some(oci::LinuxDeviceType::C | oci::LinuxDeviceType::U) => DeviceKind::Char,
        Some(oci::LinuxDeviceType::P) => {
            return Err(Error::invalid("linux.resources.devices: type p", "is no device"));
        }
    };
    // -1 is the older way to write that any number matches.
    let number = |number: Option<i64>| match number {
        None | Some(-1) => Ok(None),
        Some(number) => u32::try_from(number).map(Some).map_err(|_| {
            Error::invalid(format!("linux.resources.devices: number {number}"), "is out of range")
        }),
    };
    let access = match rule.access().as_deref() {
        None | Some("") => Access::ALL,
        Some(text) => text.parse()?,
    };
    let (major, minor) = (number(rule.major())?, number(rule.minor())?);
    Ok(DeviceRule { allow: rule.allow(), kind, major, minor, access })
}
