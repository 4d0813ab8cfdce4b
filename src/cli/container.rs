//! `corten container`.

use clap::{Args, Subcommand};

use super::{confirmed, print, ps, table};
use crate::engine::{Engine, Result};

#[derive(Debug, Subcommand)]
pub(super) enum Container {
    /// Remove containers that do not run
    Prune(Prune),
    /// List containers
    #[command(alias = "list")]
    Ls(ps::Ps),
}

#[derive(Debug, Args)]
pub(super) struct Prune {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Those that fit: label=, label!=, until=TIME
    #[arg(long = "filter", value_name = "NAME=VALUE")]
    filters: Vec<String>,
}

impl Container {
    pub(super) fn execute(&self, engine: &Engine) -> Result<()> {
        match self {
            Container::Prune(prune) => prune.execute(engine),
            Container::Ls(ps) => ps.execute(engine),
        }
    }
}

impl Prune {
    fn execute(&self, engine: &Engine) -> Result<()> {
        let question = "This removes all containers that do not run.";
        if !self.force && !confirmed("container prune", question)? {
            return Ok(());
        }
        let (ids, bytes) = engine.prune_containers(&self.filters)?;
        let mut text = String::new();
        if !ids.is_empty() {
            text = format!("Deleted Containers:\n{}\n\n", ids.join("\n"));
        }
        print(&format!("{text}Total reclaimed space: {}\n", table::size(bytes)))
    }
}
