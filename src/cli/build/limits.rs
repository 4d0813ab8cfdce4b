//! What the containers of RUN may use of this machine.

use clap::Args;
use corten_daemon::backend::BuildRequest;
use serde_json::json;

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
    /// Puts them into a build's request.
    pub(super) fn fill(&self, wanted: &mut BuildRequest) -> Result<()> {
        let size = |option: &str, text: &Option<String>| match text {
            Some(text) => bytes(option, text, option == "--memory-swap"),
            None => Ok(0),
        };
        wanted.memory = size("--memory", &self.memory)?;
        wanted.memory_swap = size("--memory-swap", &self.memory_swap)?;
        wanted.shm_size = size("--shm-size", &self.shm_size)?;
        wanted.cpu_shares = self.cpu_shares;
        wanted.cpu_period = self.cpu_period;
        wanted.cpu_quota = self.cpu_quota;
        wanted.cpuset_cpus.clone_from(&self.cpuset_cpus);
        wanted.cpuset_mems.clone_from(&self.cpuset_mems);
        wanted.cgroup_parent.clone_from(&self.cgroup_parent);
        let limits = self.ulimits.iter().map(|text| ulimit(text)).collect::<Result<Vec<_>>>()?;
        if !limits.is_empty() {
            wanted.ulimits = json!(limits);
        }
        Ok(())
    }
}
