//! `corten rm`.

use clap::Args;
use corten_daemon::backend::Backend;

use super::{each, print};
use crate::cli::{Error, Result};
use crate::engine::Engine;
use crate::engine::networks::links;

#[derive(Debug, Args)]
pub(super) struct Rm {
    /// Kill a container that runs
    #[arg(short, long)]
    force: bool,
    /// Remove its volumes that have no name, too
    #[arg(short, long)]
    volumes: bool,
    /// Remove only a link: CONTAINER/ALIAS
    #[arg(short, long)]
    link: bool,
    /// Names or ids
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

impl Rm {
    pub(super) fn execute(&self, engine: &Engine, debug: bool) -> Result<u8> {
        Ok(each(&self.containers, debug, |container| {
            if self.link {
                let why = format!("{container}: a link is named CONTAINER/ALIAS");
                let link = links::named(container).ok_or_else(|| Error::invalid("--link", why));
                let (container, alias) = link?;
                engine.unlink(container, alias)?;
            } else {
                engine.remove_container(container, self.force, self.volumes)?;
            }
            print(&format!("{container}\n"))
        }))
    }

    /// The same of a daemon's containers.
    pub(super) fn remote(&self, engine: &dyn Backend, debug: bool) -> Result<u8> {
        Ok(each(&self.containers, debug, |container| {
            engine.remove(container, self.force, self.volumes, self.link)?;
            print(&format!("{container}\n"))
        }))
    }
}
