//! `corten update`.

use clap::Args;
use corten_daemon::backend::Backend;
use serde_json::json;

use super::each;
use super::making::{LimitArgs, restart};
use crate::cli::Result;
use crate::engine::Engine;
use crate::engine::options::HostConfig;
use crate::engine::update::Update as Wanted;

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
        let update = self.wanted()?;
        Ok(each(&self.containers, debug, |name| {
            for warning in engine.update(name, &update)? {
                use std::io::Write;
                let _ = writeln!(std::io::stderr(), "WARNING: {warning}");
            }
            super::print(&format!("{name}\n"))
        }))
    }

    fn wanted(&self) -> Result<Wanted> {
        let mut host = HostConfig::default();
        self.limits.fill(&mut host)?;
        let restart = self.restart.as_deref().map(restart).transpose()?;
        Ok(Wanted { resources: host.resources, restart })
    }

    /// The same of a daemon's containers.
    pub(super) fn remote(&self, engine: &dyn Backend, debug: bool) -> Result<u8> {
        let Wanted { resources, restart } = self.wanted()?;
        let mut body = json!(resources);
        body["RestartPolicy"] = restart.map_or_else(|| json!({}), |policy| json!(policy));
        Ok(each(&self.containers, debug, |name| {
            for warning in engine.update(name, &body)? {
                use std::io::Write;
                let _ = writeln!(std::io::stderr(), "WARNING: {warning}");
            }
            super::print(&format!("{name}\n"))
        }))
    }
}
