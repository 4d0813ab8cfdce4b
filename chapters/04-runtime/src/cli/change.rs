//! update, events, mounts.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use corten_namespaces::error::Context;
use serde_json::{Map, Value, json};

use super::Global;
use crate::container::Container;
use crate::error::{Error, Result};
use crate::{cgroup, events, live, update};

#[derive(Debug, Args)]
pub struct Update {
    /// The container
    #[arg(value_name = "CONTAINER")]
    id: String,
    /// A file with the resources as in config.json; `-` is standard input
    #[arg(long, short = 'r')]
    resources: Option<PathBuf>,
    /// The part of a busy disk, 10 to 1000
    #[arg(long)]
    blkio_weight: Option<u16>,
    /// The period of the CPU quota, in microseconds
    #[arg(long)]
    cpu_period: Option<u64>,
    /// Microseconds of CPU time per period
    #[arg(long, allow_negative_numbers = true)]
    cpu_quota: Option<i64>,
    /// Microseconds that may be saved up
    #[arg(long)]
    cpu_burst: Option<u64>,
    /// The part of a busy CPU
    #[arg(long, alias = "cpu-shares")]
    cpu_share: Option<u64>,
    /// The period of real-time scheduling
    #[arg(long)]
    cpu_rt_period: Option<u64>,
    /// Microseconds of real-time scheduling per period
    #[arg(long, allow_negative_numbers = true)]
    cpu_rt_runtime: Option<i64>,
    /// The processors
    #[arg(long)]
    cpuset_cpus: Option<String>,
    /// The memory nodes
    #[arg(long)]
    cpuset_mems: Option<String>,
    /// Accepted and passed over: kernels have it no more
    #[arg(long)]
    kernel_memory: Option<String>,
    /// Buffers of TCP sockets
    #[arg(long)]
    kernel_memory_tcp: Option<String>,
    /// Memory, in bytes or with k, m, g
    #[arg(long, allow_negative_numbers = true)]
    memory: Option<String>,
    /// What is left when memory is short
    #[arg(long, allow_negative_numbers = true)]
    memory_reservation: Option<String>,
    /// Memory and swap together
    #[arg(long, allow_negative_numbers = true)]
    memory_swap: Option<String>,
    /// Processes
    #[arg(long, allow_negative_numbers = true)]
    pids_limit: Option<i64>,
    /// 1: runs only when nothing else wants to
    #[arg(long)]
    cpu_idle: Option<i64>,
}

impl Update {
    pub fn run(&self, global: &Global) -> Result<()> {
        let (container, _lock) = Container::locked(&global.root(), &self.id.parse()?)?;
        let value = match &self.resources {
            Some(path) => read(path)?,
            None => self.value()?,
        };
        let json = |source| Error::Json { path: "resources".into(), source };
        let resources = crate::json::convert(&value).map_err(json)?;
        update::update(&container, &cgroup::limits(&resources)?)
    }

    fn value(&self) -> Result<Value> {
        let bytes = |text: &Option<String>| -> Result<Value> {
            let Some(text) = text else { return Ok(Value::Null) };
            Ok(match corten_cgroups::limits::bytes(text)? {
                corten_cgroups::Max::At(bytes) => json!(bytes),
                corten_cgroups::Max::Unlimited => json!(-1),
            })
        };
        let part = |fields: Vec<(&str, Value)>| -> Value {
            let set = fields.into_iter().filter(|(_, value)| !value.is_null());
            let part: Map<String, Value> =
                set.map(|(name, value)| (name.to_owned(), value)).collect();
            if part.is_empty() { Value::Null } else { Value::Object(part) }
        };
        let cpu = part(vec![
            ("shares", json!(self.cpu_share)),
            ("quota", json!(self.cpu_quota)),
            ("period", json!(self.cpu_period)),
            ("burst", json!(self.cpu_burst)),
            ("idle", json!(self.cpu_idle)),
            ("realtimePeriod", json!(self.cpu_rt_period)),
            ("realtimeRuntime", json!(self.cpu_rt_runtime)),
            ("cpus", json!(self.cpuset_cpus)),
            ("mems", json!(self.cpuset_mems)),
        ]);
        let memory = part(vec![
            ("limit", bytes(&self.memory)?),
            ("reservation", bytes(&self.memory_reservation)?),
            ("swap", bytes(&self.memory_swap)?),
            ("kernelTCP", bytes(&self.kernel_memory_tcp)?),
        ]);
        let value = part(vec![
            ("cpu", cpu),
            ("memory", memory),
            ("pids", part(vec![("limit", json!(self.pids_limit))])),
            ("blockIO", part(vec![("weight", json!(self.blkio_weight))])),
        ]);
        if value.is_null() && self.kernel_memory.is_none() {
            return Err(Error::invalid("update", "says nothing to be changed"));
        }
        Ok(if value.is_null() { json!({}) } else { value })
    }
}

fn read(path: &PathBuf) -> Result<Value> {
    let text = if path.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin()).during("read standard input")?
    } else {
        std::fs::read_to_string(path).on("read", path)?
    };
    crate::json::parse(&text).map_err(|source| Error::Json { path: path.clone(), source })
}

#[derive(Debug, Args)]
pub struct Events {
    /// The container
    #[arg(value_name = "CONTAINER")]
    id: String,
    /// How long from one to the next: `5s`
    #[arg(long, default_value = "5s")]
    interval: String,
    /// Once
    #[arg(long)]
    stats: bool,
}

impl Events {
    pub fn run(&self, global: &Global) -> Result<()> {
        let container = Container::load(&global.root(), &self.id.parse()?)?;
        if self.stats {
            return events::once(&container);
        }
        events::follow(&container, duration(&self.interval)?)
    }
}

/// `5s`, `500ms`, `1m`; a number alone is in seconds.
fn duration(text: &str) -> Result<Duration> {
    let bad = || Error::invalid(format!("--interval {text}"), "is no time, as in 5s or 500ms");
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| bad())?;
    let milliseconds = match unit {
        "ms" => Some(number),
        "" | "s" => number.checked_mul(1000),
        "m" => number.checked_mul(60_000),
        _ => None,
    };
    milliseconds.filter(|ms| *ms > 0).map(Duration::from_millis).ok_or_else(bad)
}

#[derive(Debug, Args)]
pub struct Mounts {
    #[command(subcommand)]
    command: MountsCommand,
}

#[derive(Debug, Subcommand)]
enum MountsCommand {
    /// Mounts what a file lists, as config.json does
    Add {
        /// The container
        #[arg(value_name = "CONTAINER")]
        id: String,
        /// A list of mounts
        file: PathBuf,
    },
    /// Unmounts what a file lists
    Remove {
        /// The container
        #[arg(value_name = "CONTAINER")]
        id: String,
        /// A list of mounts
        file: PathBuf,
    },
}

impl Mounts {
    pub fn run(&self, global: &Global) -> Result<()> {
        let (MountsCommand::Add { id, file } | MountsCommand::Remove { id, file }) = &self.command;
        let (container, _lock) = Container::locked(&global.root(), &id.parse()?)?;
        let list = live::read(file)?;
        match &self.command {
            MountsCommand::Add { .. } => live::add(&container, &list),
            MountsCommand::Remove { .. } => {
                let paths: Vec<PathBuf> =
                    list.iter().map(|mount| mount.destination().clone()).collect();
                live::remove(&container, &paths)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(duration("5s").unwrap(), Duration::from_secs(5));
        assert_eq!(duration("250ms").unwrap(), Duration::from_millis(250));
        assert_eq!(duration("2").unwrap(), Duration::from_secs(2));
        for bad in ["", "s", "0s", "5h", "-1s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
