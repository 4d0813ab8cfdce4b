//! `corten explain`.

use std::fmt::Write;

use clap::Args;

use super::making::Making;
use super::print;
use crate::engine::{Engine, Result};

#[derive(Debug, Args)]
pub(super) struct Explain {
    #[command(flatten)]
    making: Making,
}

impl Explain {
    pub(super) fn execute(&self, open: impl FnOnce() -> Result<Engine>) -> Result<()> {
        explain(&self.making, open)
    }
}

/// Prints what running such a container would do, one numbered line a step.
pub(super) fn explain(making: &Making, open: impl FnOnce() -> Result<Engine>) -> Result<()> {
    let explained = open()?.explain(&making.request(true)?, &mut making.progress()?)?;
    let lines = explained.before.into_iter().map(|line| format!("engine  {line}"));
    let mut text = String::new();
    for (number, line) in lines.chain(explained.plan.lines()).enumerate() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:>3} {line}", number + 1);
    }
    print(&text)
}
