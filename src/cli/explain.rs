//! `corten explain`.

use clap::Args;

use super::print;
use super::run::Run;
use crate::engine::{Engine, Result};

#[derive(Debug, Args)]
pub(super) struct Explain {
    #[command(flatten)]
    run: Run,
}

impl Explain {
    pub(super) fn execute(&self, open: impl FnOnce() -> Result<Engine>) -> Result<()> {
        let plan = self.run.plan(open)?;
        print(&corten_namespaces::explain::render(&plan))
    }
}
