//! `events`: what a container uses, and that something was killed for lack of memory; in runc's
//! form, which its callers parse.

use std::io::Write as _;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use corten_cgroups::{Max, OomEvent, Stats};
use corten_namespaces::error::Context;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use serde_json::{Map, Value, json};

use crate::container::{Container, Status};
use crate::error::Result;

// ANCHOR: data
/// The statistics as runc lays them out.
pub fn data(stats: &Stats) -> Value {
    let nanoseconds = |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
    let mut data = Map::new();
    if let Some(cpu) = &stats.cpu {
        let each: Vec<u64> = cpu.per_cpu.iter().copied().map(nanoseconds).collect();
        data.insert(
            "cpu".into(),
            json!({
                "usage": {
                    "total": nanoseconds(cpu.usage),
                    "percpu": each,
                    "kernel": nanoseconds(cpu.system),
                    "user": nanoseconds(cpu.user),
                },
                "throttling": {
                    "periods": cpu.periods,
                    "throttledPeriods": cpu.throttled_periods,
                    "throttledTime": nanoseconds(cpu.throttled),
                },
            }),
        );
    }
    if let Some(memory) = &stats.memory {
        let swap = memory.swap.map(|swap| swap + memory.usage);
        let inactive = ["total_inactive_file", "inactive_file"];
        let cache = memory.details.get("cache").or_else(|| memory.details.get("file"));
        data.insert(
            "memory".into(),
            json!({
                "cache": cache.copied().unwrap_or(0),
                "usage": {"limit": max(memory.limit), "usage": memory.usage,
                    "max": memory.peak.unwrap_or(0), "failcnt": memory.limit_hits},
                "swap": {"limit": max(memory.swap_limit), "usage": swap.unwrap_or(0), "failcnt": 0},
                "kernel": {"limit": 0, "usage": memory.kernel.unwrap_or(0), "failcnt": 0},
                "kernelTCP": {"limit": 0, "usage": memory.kernel_tcp.unwrap_or(0), "failcnt": 0},
                "raw": memory.details,
                "inactive": inactive.iter().find_map(|name| memory.details.get(*name)),
            }),
        );
    }
    if let Some(pids) = &stats.pids {
        let limit = max(pids.limit);
        data.insert("pids".into(), json!({"current": pids.current, "limit": limit}));
    }
    data.insert("blkio".into(), blkio(stats));
    let hugetlb: Map<String, Value> = stats
        .hugetlb
        .iter()
        .map(|(size, h)| {
            let peak = h.peak.unwrap_or(0);
            (size.clone(), json!({"usage": h.usage, "max": peak, "failcnt": h.limit_hits}))
        })
        .collect();
    data.insert("hugetlb".into(), Value::Object(hugetlb));
    data.insert("intel_rdt".into(), json!({}));
    data.insert("network_interfaces".into(), Value::Null);
    Value::Object(data)
}
// ANCHOR_END: data

/// 0 stands for no limit.
fn max(limit: Option<Max>) -> u64 {
    match limit {
        Some(Max::At(limit)) => limit,
        _ => 0,
    }
}

fn blkio(stats: &Stats) -> Value {
    let (mut bytes, mut operations) = (Vec::new(), Vec::new());
    for ((major, minor), io) in &stats.io {
        for (op, size, count) in
            [("Read", io.read_bytes, io.reads), ("Write", io.written_bytes, io.writes)]
        {
            bytes.push(json!({"major": major, "minor": minor, "op": op, "value": size}));
            operations.push(json!({"major": major, "minor": minor, "op": op, "value": count}));
        }
    }
    json!({"ioServiceBytesRecursive": bytes, "ioServicedRecursive": operations})
}

fn print(kind: &str, id: &str, data: Option<Value>) -> bool {
    let mut event = json!({"type": kind, "id": id});
    if let Some(data) = data {
        event["data"] = data;
    }
    // Whoever reads may have gone.
    writeln!(std::io::stdout(), "{event}").is_ok()
}

/// Prints the statistics once.
///
/// # Errors
/// Where the container has stopped, or has no control groups.
pub fn once(container: &Container) -> Result<()> {
    let status = container.status();
    if status == Status::Stopped {
        return Err(container.wrong_status("read the statistics of", status, ""));
    }
    let Some(cgroup) = container.cgroup()? else {
        return Err(container.wrong_status(
            "read the statistics of",
            status,
            ", without a control group",
        ));
    };
    print("stats", container.id(), Some(data(&cgroup.stats()?)));
    Ok(())
}

// ANCHOR: follow
/// Prints the statistics every `interval`, and an event for each OOM kill, until the container ends.
///
/// # Errors
/// As [`once`].
pub fn follow(container: &Container, interval: Duration) -> Result<()> {
    once(container)?;
    let init = container.init("follow")?;
    let Some(cgroup) = container.cgroup()? else { return Ok(()) };
    let mut oom = cgroup.inner().oom_events().ok();
    let pidfd = corten_namespaces::sys::pidfd_open(init.pid).during("watch the container")?;
    let mut next = Instant::now() + interval;
    loop {
        let left = next.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut fds = vec![PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        if let Some(oom) = &oom {
            fds.push(PollFd::new(oom.as_fd(), oom.interest()));
        }
        match nix::poll::poll(&mut fds, timeout) {
            Err(nix::errno::Errno::EINTR) => continue,
            other => other.during("wait for events")?,
        };
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        if ready.get(1) == Some(&true)
            && let Some(events) = &mut oom
            && let OomEvent::Killed(1..) = events.take()?
            && !print("oom", container.id(), None)
        {
            return Ok(());
        }
        if ready.first() == Some(&true) {
            return Ok(());
        }
        if Instant::now() >= next {
            next += interval;
            if !print("stats", container.id(), Some(data(&cgroup.stats()?))) {
                return Ok(());
            }
        }
    }
}
// ANCHOR_END: follow
