//! `corten rm`.

use clap::Args;

use super::{each, print};
use crate::engine::{Engine, Result};

#[derive(Debug, Args)]
pub(super) struct Rm {
    /// Kill a container that runs
    #[arg(short, long)]
    force: bool,
    /// Names or ids
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

impl Rm {
    pub(super) fn execute(&self, engine: &Engine, debug: bool) -> Result<u8> {
        Ok(each(&self.containers, debug, |container| {
            engine.remove_container(container, self.force)?;
            print(&format!("{container}\n"))
        }))
    }
}
