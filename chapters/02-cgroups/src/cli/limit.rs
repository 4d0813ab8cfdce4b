//! Limits as arguments.

use std::str::FromStr;

use clap::Args;
use corten_cgroups::limits::{Cpu, CpuShare, Io, IoWeight, Memory, Throttle, bytes, cpus};
use corten_cgroups::{DeviceRule, Error, Limits, Max, Result};

/// The limits of `run`, `explain` and `set`.
#[derive(Debug, Args)]
pub struct LimitArgs {
    /// At most this much memory: 64m, 1.5g, max.
    #[arg(short, long, value_name = "SIZE", value_parser = bytes)]
    memory: Option<Max>,
    /// At most this much memory and swap together.
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    memory_swap: Option<Max>,
    /// Memory that is left to the group as long as others have some to give.
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    memory_reservation: Option<Max>,
    /// Kill all processes of the group with the first (v2).
    #[arg(long)]
    oom_group: bool,
    /// So many processors: 0.5, 2.
    #[arg(long, value_name = "COUNT", value_parser = cpus)]
    cpus: Option<Cpu>,
    /// The part of the processor under contention, in v1's scale: 2 to 262144, 1024 is usual.
    #[arg(long, value_name = "SHARES", conflicts_with = "cpu_weight")]
    cpu_shares: Option<u64>,
    /// The same in v2's scale: 1 to 10000, 100 is usual.
    #[arg(long, value_name = "WEIGHT")]
    cpu_weight: Option<u64>,
    /// Microseconds that may be saved up and spent above --cpus.
    #[arg(long, value_name = "MICROSECONDS", requires = "cpus")]
    cpu_burst: Option<u64>,
    /// Run only when nothing else wants to.
    #[arg(long)]
    cpu_idle: bool,
    /// The processors that it may run on: 0-3,7.
    #[arg(long, value_name = "LIST")]
    cpuset: Option<String>,
    /// At most so many processes and threads, or max.
    #[arg(short, long, value_name = "COUNT", value_parser = bytes)]
    pids: Option<Max>,
    /// The part of a busy disk, 10 to 1000.
    #[arg(long, value_name = "WEIGHT")]
    io_weight: Option<u16>,
    /// Bytes per second read from a device; may be repeated.
    #[arg(long, value_name = "MAJOR:MINOR=SIZE")]
    read_bps: Vec<Rate>,
    /// Bytes per second written to a device.
    #[arg(long, value_name = "MAJOR:MINOR=SIZE")]
    write_bps: Vec<Rate>,
    /// Reads per second from a device.
    #[arg(long, value_name = "MAJOR:MINOR=COUNT")]
    read_iops: Vec<Rate>,
    /// Writes per second to a device.
    #[arg(long, value_name = "MAJOR:MINOR=COUNT")]
    write_iops: Vec<Rate>,
    /// A rule for devices: +c 1:3 rwm allows, -b 8:* rw denies, `container` stands for Docker's
    /// rules. The last one that matches decides, and none means no.
    #[arg(long, value_name = "RULE", allow_hyphen_values = true)]
    device: Vec<String>,
    /// A file of v2 and its value: memory.high=32M.
    #[arg(long, value_name = "FILE=VALUE")]
    unified: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
struct Rate(Throttle);

impl FromStr for Rate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Rate> {
        let bad = || Error::invalid(format!("rate `{text}`"), "is not MAJOR:MINOR=SIZE");
        let (device, rate) = text.split_once('=').ok_or_else(bad)?;
        let (major, minor) = device.split_once(':').ok_or_else(bad)?;
        let (major, minor) = (major.parse().map_err(|_| bad())?, minor.parse().map_err(|_| bad())?);
        // 0 takes a limit away.
        let rate = if let Max::At(rate) = bytes(rate)? { rate } else { 0 };
        Ok(Rate(Throttle { major, minor, rate }))
    }
}

impl LimitArgs {
    /// The limits, not yet checked against each other.
    pub fn limits(self) -> Result<Limits> {
        let shares = self.cpu_shares.map(CpuShare::Shares);
        let throttles = |rates: Vec<Rate>| rates.into_iter().map(|rate| rate.0).collect();
        let unified = |text: String| match text.split_once('=') {
            Some((file, value)) => Ok((file.to_owned(), value.to_owned())),
            None => Err(Error::invalid(format!("unified `{text}`"), "is not FILE=VALUE")),
        };
        Ok(Limits {
            cpu: Cpu {
                share: shares.or(self.cpu_weight.map(CpuShare::Weight)),
                burst: self.cpu_burst,
                idle: self.cpu_idle.then_some(true),
                cpus: self.cpuset,
                ..self.cpus.unwrap_or_default()
            },
            memory: Memory {
                limit: self.memory,
                swap: self.memory_swap,
                reservation: self.memory_reservation,
                oom_group: self.oom_group.then_some(true),
                ..Memory::default()
            },
            pids: self.pids,
            io: Io {
                weight: self.io_weight.map(IoWeight::Blkio),
                read_bps: throttles(self.read_bps),
                write_bps: throttles(self.write_bps),
                read_iops: throttles(self.read_iops),
                write_iops: throttles(self.write_iops),
                ..Io::default()
            },
            devices: rules(&self.device)?,
            unified: self.unified.into_iter().map(unified).collect::<Result<_>>()?,
            ..Limits::default()
        })
    }
}

fn rules(texts: &[String]) -> Result<Option<Vec<DeviceRule>>> {
    let mut rules = Vec::new();
    for text in texts {
        match text.as_str() {
            "container" => rules.extend(DeviceRule::CONTAINER),
            rule => rules.push(rule.parse()?),
        }
    }
    Ok((!texts.is_empty()).then_some(rules))
}
