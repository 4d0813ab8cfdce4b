//! What a container uses, in the shape of `docker stats`.

use std::time::Duration;

use corten_cgroups::stats::Io;
use corten_cgroups::{Max, Stats as Figures};
use corten_daemon::Outcome;
use corten_daemon::backend::Stats;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::Api;
use crate::engine::clock;
use crate::engine::record::Record;
use crate::engine::stats::Traffic;

/// How often it is looked.
const PERIOD: Duration = Duration::from_secs(1);

impl Api {
    pub(super) fn stats_of(&self, name: &str, stream: bool, one_shot: bool) -> Outcome<Stats> {
        let record = self.find(name)?;
        let (tell, told) = mpsc::channel(1);
        self.0.runtime.spawn(self.clone().measure(record, stream, one_shot, tell));
        Ok(told)
    }

    async fn measure(
        self,
        record: Record,
        stream: bool,
        one_shot: bool,
        tell: mpsc::Sender<Value>,
    ) {
        let mut before = json!({});
        let mut read = clock::at(0);
        let mut first = true;
        let mut clock = tokio::time::interval(PERIOD);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = clock.tick() => {}
                () = tell.closed() => return,
            }
            let (api, id) = (self.clone(), record.id.clone());
            let looked = tokio::task::spawn_blocking(move || {
                let record = api.find(&id)?;
                let alive = api.engine().containers().shims.is_alive(&record.id);
                Ok::<_, corten_daemon::Failure>(match alive {
                    true => (api.look(&record), record),
                    false => (None, record),
                })
            });
            // Removed: there is no more to tell.
            let Ok(Ok((value, record))) = looked.await else { return };
            let measured = value.is_some();
            let mut value = value.unwrap_or_else(nothing);
            value["name"] = json!(format!("/{}", record.shown_name()));
            value["id"] = json!(record.id);
            value["os_type"] = json!("linux");
            value["preread"] = json!(read);
            value["precpu_stats"] =
                if before == json!({}) { nothing()["precpu_stats"].take() } else { before };
            before = if measured { value["cpu_stats"].clone() } else { json!({}) };
            read = value["read"].as_str().unwrap_or_default().to_owned();
            // Without a stream the second look is the answer: only then the processor's share is known.
            let is_answer = stream || one_shot || !first || !measured;
            first = false;
            if is_answer && (tell.send(value).await.is_err() || !stream) {
                return;
            }
        }
    }

    fn look(&self, record: &Record) -> Option<Value> {
        let stats = self.engine().sample(record).ok()?.stats;
        let pid =
            self.engine().containers().shims.status(&record.id).map_or(0, |status| status.pid);
        let mut value = shown(&stats);
        if record.host_config.network_mode != "none" {
            value["networks"] = links(pid);
        }
        Some(value)
    }
}

/// What does not run uses nothing.
fn nothing() -> Value {
    let cpu = json!({"cpu_usage": {"total_usage": 0, "usage_in_kernelmode": 0,
        "usage_in_usermode": 0}, "throttling_data": {"periods": 0, "throttled_periods": 0,
        "throttled_time": 0}});
    json!({"read": clock::at(0), "preread": clock::at(0), "pids_stats": {},
        "blkio_stats": io(&Figures::default()), "num_procs": 0, "storage_stats": {},
        "cpu_stats": cpu, "precpu_stats": cpu, "memory_stats": {}})
}

fn shown(stats: &Figures) -> Value {
    json!({
        "read": clock::now(),
        "pids_stats": pids(stats),
        "blkio_stats": io(stats),
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": cpu(stats),
        "memory_stats": memory(stats),
    })
}

fn pids(stats: &Figures) -> Value {
    let Some(pids) = stats.pids else { return json!({}) };
    let limit = match pids.limit {
        Some(Max::At(limit)) => limit,
        _ => u64::MAX,
    };
    json!({"current": pids.current, "limit": limit})
}

fn io(stats: &Figures) -> Value {
    let list = |read: fn(&Io) -> u64, written: fn(&Io) -> u64| {
        let rows = stats.io.iter().flat_map(|((major, minor), io)| {
            [("read", read(io)), ("write", written(io))].map(
                |(op, value)| json!({"major": major, "minor": minor, "op": op, "value": value}),
            )
        });
        Value::Array(rows.collect())
    };
    json!({
        "io_service_bytes_recursive": list(|io| io.read_bytes, |io| io.written_bytes),
        "io_serviced_recursive": list(|io| io.reads, |io| io.writes),
        "io_queue_recursive": [], "io_service_time_recursive": [],
        "io_wait_time_recursive": [], "io_merged_recursive": [],
        "io_time_recursive": [], "sectors_recursive": [],
    })
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn cpu(stats: &Figures) -> Value {
    let cpu = stats.cpu.clone().unwrap_or_default();
    let mut usage = json!({"total_usage": nanos(cpu.usage),
        "usage_in_kernelmode": nanos(cpu.system), "usage_in_usermode": nanos(cpu.user)});
    if !cpu.per_cpu.is_empty() {
        let each: Vec<u64> = cpu.per_cpu.iter().copied().map(nanos).collect();
        usage["percpu_usage"] = json!(each);
    }
    let online = std::thread::available_parallelism().map_or(1, usize::from);
    json!({"cpu_usage": usage, "system_cpu_usage": machine(), "online_cpus": online,
        "throttling_data": {"periods": cpu.periods, "throttled_periods": cpu.throttled_periods,
            "throttled_time": nanos(cpu.throttled)}})
}

/// Nanoseconds of all processors (proc_stat(5)): jiffies are hundredths of seconds for programs.
fn machine() -> u64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let jiffies = line.split_whitespace().skip(1).take(7).filter_map(|n| n.parse::<u64>().ok());
    jiffies.sum::<u64>() * 10_000_000
}

fn memory(stats: &Figures) -> Value {
    let Some(memory) = &stats.memory else { return json!({}) };
    let total = machine_memory();
    let limit = match memory.limit {
        // v1 has a number that no machine reaches for no limit.
        Some(Max::At(limit)) if total == 0 || limit < total => limit,
        _ => total,
    };
    let mut value = json!({"usage": memory.usage, "stats": memory.details, "limit": limit});
    if let Some(peak) = memory.peak {
        value["max_usage"] = json!(peak);
    }
    if memory.limit_hits > 0 {
        value["failcnt"] = json!(memory.limit_hits);
    }
    value
}

/// Bytes of this machine's memory (proc_meminfo(5)).
pub(super) fn machine_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// The links that a process sees, but for the loopback (proc_pid_net(5)).
fn links(pid: i32) -> Value {
    let link = |traffic: Traffic| {
        let Traffic { link, bytes, packets, errors, dropped } = traffic;
        let figures = json!({
            "rx_bytes": bytes[0], "rx_packets": packets[0], "rx_errors": errors[0], "rx_dropped": dropped[0],
            "tx_bytes": bytes[1], "tx_packets": packets[1], "tx_errors": errors[1], "tx_dropped": dropped[1],
        });
        (link, figures)
    };
    Value::Object(Traffic::of(pid).into_iter().map(link).collect::<Map<_, _>>())
}
