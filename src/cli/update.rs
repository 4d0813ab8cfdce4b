//! `corten update`.

use clap::Args;

use super::each;
use super::making::{LimitArgs, restart};
use crate::engine::options::HostConfig;
use crate::engine::update::Update as Wanted;
use crate::engine::{Engine, Result};

#[derive(Debug, Args)]
pub(super) struct Update {
    #[command(flatten)]
    limits: LimitArgs,
    /// Start the container again when it has ended: no, always, unless-stopped, on-failure:N
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    /// Names or ids
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

impl Update {
    pub(super) fn execute(&self, engine: &Engine, debug: bool) -> Result<u8> {
        let mut host = HostConfig::default();
        self.limits.fill(&mut host)?;
        let update = Wanted {
            resources: host.resources,
            restart: self.restart.as_deref().map(restart).transpose()?,
        };
        Ok(each(&self.containers, debug, |name| {
            for warning in engine.update(name, &update)? {
                use std::io::Write;
                let _ = writeln!(std::io::stderr(), "WARNING: {warning}");
            }
            super::print(&format!("{name}\n"))
        }))
    }
}
