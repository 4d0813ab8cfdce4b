//! What containers use, and their processes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use corten_cgroups::{Max, Stats};
use corten_namespaces::Namespace;
use corten_runtime::Container;

use super::Engine;
use super::error::{Error, Result};
use super::record::Record;

/// What a container used up to one moment.
#[derive(Debug, Clone)]
pub struct Sample {
    /// When.
    pub taken: Instant,
    /// The figures of its control groups.
    pub stats: Stats,
}

/// What people want to know of it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Usage {
    /// Processors, in hundredths: 150.0 is one and a half.
    pub cpu: f64,
    /// Bytes of memory, without files that nobody has used lately.
    pub memory: u64,
    /// The most that it may have: its limit, or what the machine has.
    pub memory_limit: u64,
    /// Bytes read from disks.
    pub read: u64,
    /// Bytes written to disks.
    pub written: u64,
    /// Processes and threads.
    pub pids: u64,
}

/// What has gone through one link of a container (proc_pid_net(5), `net/dev`). Receiving goes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traffic {
    /// The link, as the container calls it.
    pub link: String,
    /// Bytes.
    pub bytes: [u64; 2],
    /// Packets.
    pub packets: [u64; 2],
    /// Packets that were damaged.
    pub errors: [u64; 2],
    /// Packets that there was no room for.
    pub dropped: [u64; 2],
}

impl Traffic {
    /// Of all links but the loopback of a process's network namespace; none where it is gone.
    pub fn of(pid: i32) -> Vec<Traffic> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
        text.lines().filter_map(Traffic::parse).filter(|traffic| traffic.link != "lo").collect()
    }

    fn parse(line: &str) -> Option<Traffic> {
        let (link, rest) = line.split_once(':')?;
        let numbers: Vec<u64> = rest.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        // Eight of receiving, then as many of sending.
        let pair = |at: usize| Some([*numbers.get(at)?, *numbers.get(at + 8)?]);
        Some(Traffic {
            link: link.trim().to_owned(),
            bytes: pair(0)?,
            packets: pair(1)?,
            errors: pair(2)?,
            dropped: pair(3)?,
        })
    }
}

impl Engine {
    /// Looks at what a container has used.
    ///
    /// # Errors
    /// [`Error::NotRunning`]; what the control groups answer.
    pub fn sample(&self, record: &Record) -> Result<Sample> {
        let cgroup = self.running(record)?.cgroup()?;
        let cgroup = cgroup.ok_or_else(|| no_groups(record))?;
        let stats = cgroup.inner().stats().map_err(corten_runtime::Error::from)?;
        Ok(Sample { taken: Instant::now(), stats })
    }

    /// The processes of a container, as the host counts.
    ///
    /// # Errors
    /// As [`Engine::sample`].
    pub fn processes(&self, record: &Record) -> Result<BTreeSet<i32>> {
        let container = self.running(record)?;
        let Some(cgroup) = container.cgroup()? else {
            return in_namespace(container.init("look at")?.pid).ok_or_else(|| no_groups(record));
        };
        Ok(cgroup.inner().processes().map_err(corten_runtime::Error::from)?)
    }

    /// Chapter 4's word of a container that runs.
    fn running(&self, record: &Record) -> Result<Container> {
        let id = record.id.parse()?;
        Container::load(&self.containers.shims.runtime_root(), &id)
            .map_err(|_| Error::NotRunning { id: record.short().to_owned() })
    }
}

/// The processes in the same pid namespace as `pid`; `None` where that is ours, too.
fn in_namespace(pid: i32) -> Option<BTreeSet<i32>> {
    let own = Namespace::Pid.of(std::process::id() as i32).ok()?;
    let wanted = Namespace::Pid.of(pid).ok().filter(|theirs| *theirs != own)?;
    let numbers = std::fs::read_dir("/proc").ok()?.flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Some(numbers.filter(|pid| Namespace::Pid.of(*pid).is_ok_and(|it| it == wanted)).collect())
}

fn no_groups(record: &Record) -> Error {
    Error::invalid(
        format!("container {}", record.short()),
        "has no control group that counts: without root it has one where it is started in a group that is yours \
         (corten doctor)",
    )
}

impl Usage {
    /// From two looks at a container, or one: then nothing is known of its processors.
    pub fn between(before: Option<&Sample>, now: &Sample) -> Usage {
        let cpu =
            |sample: &Sample| sample.stats.cpu.as_ref().map_or(Duration::ZERO, |cpu| cpu.usage);
        let share = before.map_or(0.0, |before| {
            let wall = now.taken.duration_since(before.taken).as_secs_f64();
            let used = cpu(now).saturating_sub(cpu(before)).as_secs_f64();
            if wall > 0.0 { 100.0 * used / wall } else { 0.0 }
        });
        let memory = now.stats.memory.as_ref();
        let limit = memory.and_then(|memory| match memory.limit {
            Some(Max::At(bytes)) => Some(bytes),
            _ => None,
        });
        let io = now.stats.io.values();
        Usage {
            cpu: share,
            memory: memory.map_or(0, |memory| memory.working_set),
            // v1 has a number that no machine reaches for no limit.
            memory_limit: limit.unwrap_or(u64::MAX).min(total_memory()),
            read: io.clone().map(|disk| disk.read_bytes).sum(),
            written: io.map(|disk| disk.written_bytes).sum(),
            pids: now.stats.pids.map_or(0, |pids| pids.current),
        }
    }
}

/// Bytes of memory that this machine has (proc_meminfo(5)).
fn total_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

impl Engine {
    /// The lines that ps(1) of the host prints with `arguments` of a container's processes, below the
    /// header. It runs outside of the container: nothing in there is believed.
    ///
    /// # Errors
    /// As [`Engine::processes`]; where ps fails, or prints no column `PID`.
    pub fn top(&self, record: &Record, arguments: &[String]) -> Result<Vec<String>> {
        let processes = self.processes(record)?;
        let failed = |why: String| Error::invalid(format!("ps {}", arguments.join(" ")), why);
        let output = std::process::Command::new("ps").args(arguments).output();
        let output = output.map_err(|error| failed(format!("{error}: install procps")))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(failed(text.lines().next().unwrap_or("failed").to_owned()));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let mut lines = text.lines();
        let header = lines.next().unwrap_or_default();
        let column = header.split_whitespace().position(|title| title == "PID");
        let column =
            column.ok_or_else(|| failed("Couldn't find PID field in ps output".to_owned()))?;
        let is_its = |line: &&str| {
            let pid = line.split_whitespace().nth(column).and_then(|pid| pid.parse().ok());
            pid.is_some_and(|pid: i32| processes.contains(&pid))
        };
        Ok(std::iter::once(header).chain(lines.filter(is_its)).map(str::to_owned).collect())
    }
}
