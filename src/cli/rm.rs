//! `corten rm`.

use clap::Args;
use corten_daemon::backend::Backend;

use super::{each, print};
use crate::cli::Result;
use crate::engine::Engine;

#[derive(Debug, Args)]
pub(super) struct Rm {
    /// Kill a container that runs
    #[arg(short, long)]
    force: bool,
    /// Remove its volumes that have no name, too
    #[arg(short, long)]
    volumes: bool,
    /// Names or ids
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

impl Rm {
    pub(super) fn execute(&self, engine: &Engine, debug: bool) -> Result<u8> {
        Ok(each(&self.containers, debug, |container| {
            engine.remove_container(container, self.force, self.volumes)?;
            print(&format!("{container}\n"))
        }))
    }

    /// The same of a daemon's containers.
    pub(super) fn remote(&self, engine: &dyn Backend, debug: bool) -> Result<u8> {
        Ok(each(&self.containers, debug, |container| {
            engine.remove(container, self.force, self.volumes, false)?;
            print(&format!("{container}\n"))
        }))
    }
}
