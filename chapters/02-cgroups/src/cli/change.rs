//! `set` and `kill`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use corten_cgroups::Result;

use super::limit::LimitArgs;

/// Arguments of `set`.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// The group.
    group: PathBuf,
    #[command(flatten)]
    limits: LimitArgs,
}

impl SetArgs {
    /// Changes the limits that were named.
    pub fn set(self) -> Result<u8> {
        let limits = self.limits.limits()?;
        super::open(&self.group)?.apply(&limits).map(|()| 0)
    }
}

/// Kills all processes and removes the group.
pub fn kill(group: &Path) -> Result<u8> {
    let cgroup = super::open(group)?;
    cgroup.kill()?;
    cgroup.remove(Duration::from_secs(10)).map(|()| 0)
}
