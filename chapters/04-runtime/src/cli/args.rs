//! Options that all commands share.

use std::path::PathBuf;

use clap::Args;

use crate::cgroup::Manager;
use crate::error::Result;
use crate::id::ContainerId;

use super::LogFormat;

// Options of the program itself. No documentation comments here: clap shows them as a command's.
#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct Global {
    /// Where the state of containers is kept
    #[arg(long, global = true)]
    pub root: Option<PathBuf>,
    /// A file for messages, beside standard error
    #[arg(long, global = true)]
    pub log: Option<PathBuf>,
    /// How messages are written
    #[arg(long, global = true, default_value = "text")]
    pub log_format: LogFormat,
    /// More messages
    #[arg(long, global = true)]
    pub debug: bool,
    /// Lets systemd make the control groups
    #[arg(long, global = true)]
    pub systemd_cgroup: bool,
    /// Accepted for runc's callers: what an unprivileged user may not do is seen when it is tried
    #[arg(id = "global_rootless", long = "rootless", default_value = "auto")]
    pub rootless: String,
    /// How control groups are made
    #[arg(long, global = true)]
    pub cgroup_manager: Option<Manager>,
    /// The criu program, for checkpoint and restore
    #[arg(long, global = true, default_value = "criu")]
    pub criu: PathBuf,
}

// A container's name alone.
#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct Named {
    /// The container
    #[arg(value_name = "CONTAINER")]
    id: String,
}

impl Named {
    /// The name, checked.
    ///
    /// # Errors
    /// Where it is no name.
    pub fn id(&self) -> Result<ContainerId> {
        self.id.parse()
    }
}
