//! What a container may use of this machine.

use clap::Args;

use super::value::{bytes, fields, strict_pairs, ulimit};
use crate::cli::{Error, Result};
use crate::engine::options::HostConfig;
use crate::engine::options::host::{
    Device, DeviceRequest, Resources, ThrottleDevice, WeightDevice,
};

/// Limits that can be changed while a container runs.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(in crate::cli) struct LimitArgs {
    /// The most memory, as in 512m
    #[arg(short, long, value_name = "BYTES")]
    memory: Option<String>,
    /// Memory that it is pushed back to when the machine is short of it
    #[arg(long, value_name = "BYTES")]
    memory_reservation: Option<String>,
    /// Memory and swap together; -1 for no limit of swap
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    memory_swap: Option<String>,
    /// The most processors, as in 1.5
    #[arg(long, value_name = "N")]
    cpus: Option<f64>,
    /// Its share of the processors beside others; 1024 is usual
    #[arg(short, long, value_name = "N", default_value_t = 0)]
    cpu_shares: i64,
    /// Microseconds that --cpu-quota is for
    #[arg(long, value_name = "N", default_value_t = 0)]
    cpu_period: i64,
    /// Microseconds of processors in a period
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    cpu_quota: i64,
    /// Microseconds that --cpu-rt-runtime is for; cgroup v1 only
    #[arg(long, value_name = "N", default_value_t = 0)]
    cpu_rt_period: i64,
    /// Microseconds of real-time scheduling in a period; cgroup v1 only
    #[arg(long, value_name = "N", default_value_t = 0)]
    cpu_rt_runtime: i64,
    /// Processors that it may run on, as in 0-2,5
    #[arg(long, value_name = "LIST", default_value = "", hide_default_value = true)]
    cpuset_cpus: String,
    /// Memory nodes that it may use
    #[arg(long, value_name = "LIST", default_value = "", hide_default_value = true)]
    cpuset_mems: String,
    /// The most processes and threads; -1 for no limit
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pids_limit: Option<i64>,
    /// Its share of the disks, 10 to 1000
    #[arg(long, value_name = "N", default_value_t = 0)]
    blkio_weight: u16,
}

/// Limits, and devices, that a container has from the start or not at all.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits from the start")]
pub(super) struct FixedArgs {
    /// How eagerly its memory is swapped out, 0 to 100; cgroup v1 only
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    memory_swappiness: Option<i64>,
    /// Let it wait for memory instead of killing it; cgroup v1 only
    #[arg(long)]
    oom_kill_disable: bool,
    /// How likely the kernel kills it when memory is short, -1000 to 1000
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 0)]
    oom_score_adj: i64,
    /// Its share of one disk
    #[arg(long, value_name = "DEVICE:N")]
    blkio_weight_device: Vec<String>,
    /// The most bytes a second that it reads from a disk
    #[arg(long, value_name = "DEVICE:BYTES")]
    device_read_bps: Vec<String>,
    /// The most bytes a second that it writes to a disk
    #[arg(long, value_name = "DEVICE:BYTES")]
    device_write_bps: Vec<String>,
    /// The most reads a second from a disk
    #[arg(long, value_name = "DEVICE:N")]
    device_read_iops: Vec<String>,
    /// The most writes a second to a disk
    #[arg(long, value_name = "DEVICE:N")]
    device_write_iops: Vec<String>,
    /// A limit of the kernel on each process, as in nofile=1024:2048
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    ulimit: Vec<String>,
    /// The size of /dev/shm
    #[arg(long, value_name = "BYTES")]
    shm_size: Option<String>,
    /// The control group that its own is in
    #[arg(long, value_name = "PATH", default_value = "", hide_default_value = true)]
    cgroup_parent: String,
    /// A device of the host
    #[arg(long, value_name = "HOST[:CONTAINER[:rwm]]")]
    device: Vec<String>,
    /// GPUs: all, a number, or fields such as device=0,capabilities=utility; where a driver offers them
    #[arg(long, value_name = "REQUEST")]
    gpus: Vec<String>,
    /// Allow devices, as in `c 42:* rmw`
    #[arg(long, value_name = "RULE")]
    device_cgroup_rule: Vec<String>,
}

impl LimitArgs {
    pub(in crate::cli) fn fill(&self, host: &mut HostConfig) -> Result<()> {
        let size = |option: &str, text: &Option<String>| match text {
            Some(text) => bytes(option, text, option == "--memory-swap"),
            None => Ok(0),
        };
        host.resources = Resources {
            memory: size("--memory", &self.memory)?,
            memory_reservation: size("--memory-reservation", &self.memory_reservation)?,
            memory_swap: size("--memory-swap", &self.memory_swap)?,
            nano_cpus: self.cpus.map_or(0, |cpus| (cpus * 1e9).round() as i64),
            cpu_shares: self.cpu_shares,
            cpu_period: self.cpu_period,
            cpu_quota: self.cpu_quota,
            cpu_realtime_period: self.cpu_rt_period,
            cpu_realtime_runtime: self.cpu_rt_runtime,
            cpuset_cpus: self.cpuset_cpus.clone(),
            cpuset_mems: self.cpuset_mems.clone(),
            pids_limit: self.pids_limit,
            blkio_weight: self.blkio_weight,
            ..std::mem::take(&mut host.resources)
        };
        Ok(())
    }
}

impl FixedArgs {
    pub(super) fn fill(&self, host: &mut HostConfig) -> Result<()> {
        let per_second = |option: &str, list: &[String]| -> Result<Vec<ThrottleDevice>> {
            list.iter().map(|text| throttle(option, text)).collect()
        };
        let weights = self.blkio_weight_device.iter().map(|text| weight(text));
        host.oom_score_adj = self.oom_score_adj;
        host.shm_size =
            self.shm_size.as_ref().map_or(Ok(0), |text| bytes("--shm-size", text, false))?;
        host.resources = Resources {
            memory_swappiness: self.memory_swappiness,
            oom_kill_disable: self.oom_kill_disable.then_some(true),
            blkio_weight_device: weights.collect::<Result<_>>()?,
            blkio_device_read_bps: per_second("--device-read-bps", &self.device_read_bps)?,
            blkio_device_write_bps: per_second("--device-write-bps", &self.device_write_bps)?,
            blkio_device_read_iops: per_second("--device-read-iops", &self.device_read_iops)?,
            blkio_device_write_iops: per_second("--device-write-iops", &self.device_write_iops)?,
            ulimits: self.ulimit.iter().map(|text| ulimit(text)).collect::<Result<_>>()?,
            cgroup_parent: self.cgroup_parent.clone(),
            devices: self.device.iter().map(|text| device(text)).collect::<Result<_>>()?,
            device_cgroup_rules: self.device_cgroup_rule.clone(),
            device_requests: self.gpus.iter().map(|text| gpus(text)).collect::<Result<_>>()?,
            ..std::mem::take(&mut host.resources)
        };
        Ok(())
    }
}

/// `DEVICE:RATE`; the rate of bytes may have a unit.
fn throttle(option: &str, text: &str) -> Result<ThrottleDevice> {
    let bad = |why| Error::invalid(format!("{option} {text}"), why);
    let (path, rate) = text.rsplit_once(':').ok_or_else(|| bad("must be DEVICE:RATE"))?;
    let rate = match option.ends_with("bps") {
        true => bytes(option, rate, false).ok().and_then(|rate| rate.try_into().ok()),
        false => rate.parse().ok(),
    };
    let rate = rate.ok_or_else(|| bad("has no rate after the colon"))?;
    Ok(ThrottleDevice { path: path.to_owned(), rate })
}

fn weight(text: &str) -> Result<WeightDevice> {
    let bad = || Error::invalid(format!("--blkio-weight-device {text}"), "must be DEVICE:WEIGHT");
    let (path, weight) = text.rsplit_once(':').ok_or_else(bad)?;
    Ok(WeightDevice { path: path.to_owned(), weight: weight.parse().map_err(|_| bad())? })
}

/// `HOST[:CONTAINER[:PERMISSIONS]]`; the second may be the permissions, too.
fn device(text: &str) -> Result<Device> {
    let bad = || Error::invalid(format!("--device {text}"), "must be HOST[:CONTAINER[:rwm]]");
    let is_permissions = |text: &str| !text.is_empty() && text.chars().all(|c| "rwm".contains(c));
    let (host, inside, permissions) = match text.split(':').collect::<Vec<_>>()[..] {
        [host] => (host, host, "rwm"),
        [host, permissions] if is_permissions(permissions) => (host, host, permissions),
        [host, inside] => (host, inside, "rwm"),
        [host, inside, permissions] if is_permissions(permissions) => (host, inside, permissions),
        _ => return Err(bad()),
    };
    if host.is_empty() || inside.is_empty() {
        return Err(bad());
    }
    Ok(Device {
        path_on_host: host.to_owned(),
        path_in_container: inside.to_owned(),
        cgroup_permissions: permissions.to_owned(),
    })
}

/// `all`, how many, or `driver=…,count=…,device=…,capabilities=…,options=…`.
fn gpus(text: &str) -> Result<DeviceRequest> {
    let bad = |why: &str| Error::invalid(format!("--gpus {text}"), why);
    let number = |text: &str| match text {
        "all" => Ok(-1),
        text => text.parse().map_err(|_| bad("has a count that is neither a number nor all")),
    };
    let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    let mut request = DeviceRequest::default();
    let mut capabilities = vec!["gpu".to_owned()];
    let mut counted = false;
    for field in fields(text) {
        match field.split_once('=') {
            None | Some(("count", _)) => {
                request.count = number(field.strip_prefix("count=").unwrap_or(&field))?;
                counted = true;
            }
            Some(("driver", value)) => request.driver = value.to_owned(),
            Some(("device", value)) => request.device_ids = list(value),
            Some(("capabilities", value)) => capabilities.extend(list(value)),
            Some(("options", value)) => {
                request.options = strict_pairs("--gpus options", &list(value))?;
            }
            Some(_) => {
                return Err(bad(
                    "has a field that is none of driver, count, device, capabilities, options",
                ));
            }
        }
    }
    if !counted && request.device_ids.is_empty() {
        request.count = 1;
    }
    request.capabilities = vec![capabilities];
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_a_path_inside_and_permissions() {
        let parts = |text| {
            let Device { path_on_host, path_in_container, cgroup_permissions } =
                device(text).unwrap();
            (path_on_host, path_in_container, cgroup_permissions)
        };
        let own = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(parts("/dev/a"), own("/dev/a", "/dev/a", "rwm"));
        assert_eq!(parts("/dev/a:r"), own("/dev/a", "/dev/a", "r"));
        assert_eq!(parts("/dev/a:/dev/b"), own("/dev/a", "/dev/b", "rwm"));
        assert_eq!(parts("/dev/a:/dev/b:rw"), own("/dev/a", "/dev/b", "rw"));
        for bad in ["", "/dev/a:/dev/b:x", ":/dev/a", "/dev/a:/dev/b:r:w"] {
            assert!(device(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn gpus_are_counted_or_named() {
        let parts = |text| {
            let DeviceRequest { count, device_ids, capabilities, driver, .. } = gpus(text).unwrap();
            (count, device_ids.join("+"), capabilities[0].join("+"), driver)
        };
        let own = |count: i64, ids: &str, capabilities: &str, driver: &str| {
            (count, ids.to_owned(), capabilities.to_owned(), driver.to_owned())
        };
        assert_eq!(parts("all"), own(-1, "", "gpu", ""));
        assert_eq!(parts("2"), own(2, "", "gpu", ""));
        assert_eq!(parts("driver=nvidia"), own(1, "", "gpu", "nvidia"));
        let named = "\"device=0,1\",capabilities=utility";
        assert_eq!(parts(named), own(0, "0+1", "gpu+utility", ""));
        for bad in ["some", "count=x", "speed=1"] {
            assert!(gpus(bad).is_err(), "{bad}");
        }
    }
}
