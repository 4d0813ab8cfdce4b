//! `corten builder`.

use std::time::Duration;

use clap::Subcommand;
use corten_builder::cache::Keep;
use corten_daemon::backend::{Backend, Filters};

use super::ask::Ask;
use super::print;
use crate::cli::{Error, Result};
use crate::engine::Engine;

#[derive(Debug, Subcommand)]
pub(super) enum Builder {
    /// Remove what is in the build cache
    Prune {
        #[command(flatten)]
        ask: Ask,
        /// Accepted for Docker's sake: all that no image needs goes in any case
        #[arg(short, long, hide = true)]
        all: bool,
        /// Keep so many bytes, the latest used first
        #[arg(long, value_name = "BYTES")]
        keep_storage: Option<String>,
        /// Keep what was used within this time: until=24h
        #[arg(long = "filter", value_name = "FILTER")]
        filters: Vec<String>,
    },
}

impl Builder {
    pub(super) fn execute(&self, engine: &Engine) -> Result<()> {
        let Builder::Prune { ask, all: _, keep_storage, filters } = self;
        let mut keep = Keep::default();
        if let Some(text) = keep_storage {
            let bad = |why| Error::invalid(format!("--keep-storage {text}"), why);
            keep.bytes = Some(corten_builder::dockerfile::size(text).map_err(bad)?);
        }
        for filter in filters {
            let bad = |why: String| Error::invalid(format!("--filter {filter}"), why);
            let text = filter
                .strip_prefix("until=")
                .ok_or_else(|| bad("is no filter: write until=24h".to_owned()))?;
            let time = corten_builder::dockerfile::duration(text).map_err(bad)?;
            keep.age = Some(Duration::from_nanos(time.unsigned_abs()));
        }
        if !ask.confirmed("builder prune", QUESTION)? {
            return Ok(());
        }
        let pruned = engine.prune_builds(keep)?;
        tell(&pruned.removed, pruned.freed)
    }

    /// The same of a daemon's cache.
    pub(super) fn remote(&self, engine: &dyn Backend) -> Result<()> {
        let Builder::Prune { ask, all, keep_storage, filters } = self;
        let bad = |why| Error::invalid("--keep-storage", why);
        let keep = keep_storage.as_deref().map(corten_builder::dockerfile::size);
        let keep = keep.transpose().map_err(bad)?;
        let filters: Filters = super::remote::filters(filters)?;
        if !ask.confirmed("builder prune", QUESTION)? {
            return Ok(());
        }
        let (removed, freed) = engine.prune_builds(*all, keep, &filters)?;
        tell(&removed, freed)
    }
}

const QUESTION: &str = "This will remove what is in the build cache.";

fn tell(removed: &[String], freed: u64) -> Result<()> {
    let keys: String = removed.iter().map(|key| format!("{key}\n")).collect();
    print(&format!("{keys}Total reclaimed space: {freed} B\n"))
}
