//! What the containers of RUN may use of this machine.

use clap::Args;
use serde_json::{Map, Value, json};

use crate::cli::Result;
use crate::cli::making::value::{bytes, ulimit};

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits of RUN")]
pub(super) struct Limits {
    /// The most memory, as in 512m
    #[arg(short, long, value_name = "BYTES")]
    memory: Option<String>,
    /// Memory and swap together; -1 for no limit of swap
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    memory_swap: Option<String>,
    /// Its share of the processors beside others; 1024 is usual
    #[arg(short, long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    cpu_shares: i64,
    /// Microseconds that --cpu-quota is for
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    cpu_period: i64,
    /// Microseconds of processors in a period
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true,
        allow_negative_numbers = true
    )]
    cpu_quota: i64,
    /// Processors that it may run on, as in 0-2,5
    #[arg(long, value_name = "LIST", default_value = "", hide_default_value = true)]
    cpuset_cpus: String,
    /// Memory nodes that it may use
    #[arg(long, value_name = "LIST", default_value = "", hide_default_value = true)]
    cpuset_mems: String,
    /// The size of /dev/shm
    #[arg(long, value_name = "BYTES")]
    shm_size: Option<String>,
    /// A limit of the kernel on each process, as in nofile=1024:2048
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]")]
    ulimits: Vec<String>,
    /// The control group that its own is in
    #[arg(long, value_name = "PATH", default_value = "", hide_default_value = true)]
    cgroup_parent: String,
}

impl Limits {
    /// What of it is set, by the names of a `HostConfig`.
    pub(super) fn host_config(&self) -> Result<Map<String, Value>> {
        let size = |option: &str, text: &Option<String>| match text {
            Some(text) => bytes(option, text, option == "--memory-swap"),
            None => Ok(0),
        };
        let numbers = [
            ("Memory", size("--memory", &self.memory)?),
            ("MemorySwap", size("--memory-swap", &self.memory_swap)?),
            ("ShmSize", size("--shm-size", &self.shm_size)?),
            ("CpuShares", self.cpu_shares),
            ("CpuPeriod", self.cpu_period),
            ("CpuQuota", self.cpu_quota),
        ];
        let texts = [
            ("CpusetCpus", &self.cpuset_cpus),
            ("CpusetMems", &self.cpuset_mems),
            ("CgroupParent", &self.cgroup_parent),
        ];
        let numbers = numbers.into_iter().filter(|(_, number)| *number != 0);
        let texts = texts.into_iter().filter(|(_, text)| !text.is_empty());
        let mut host: Map<String, Value> = numbers
            .map(|(name, number)| (name.to_owned(), json!(number)))
            .chain(texts.map(|(name, text)| (name.to_owned(), json!(text))))
            .collect();
        let limits = self.ulimits.iter().map(|text| ulimit(text)).collect::<Result<Vec<_>>>()?;
        if !limits.is_empty() {
            host.insert("Ulimits".to_owned(), json!(limits));
        }
        Ok(host)
    }
}
