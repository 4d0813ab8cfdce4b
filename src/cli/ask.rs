//! Questions before something is removed.

use std::io::{IsTerminal, Write};

use clap::Args;

use super::print;
use crate::cli::{Error, Result};

/// `-f`, in the place of an answer.
#[derive(Debug, Args)]
pub(super) struct Ask {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

impl Ask {
    /// Whether the user says yes to `question`, or has said so before; `command` is what cannot ask
    /// without a terminal.
    pub(super) fn confirmed(&self, command: &str, question: &str) -> Result<bool> {
        if self.force {
            return Ok(true);
        }
        if !std::io::stdin().is_terminal() {
            return Err(Error::invalid(command, "there is no terminal to ask on: use -f"));
        }
        print(&format!("{question} Go on? [y/N] "))?;
        let _ = std::io::stdout().flush();
        let mut answer = String::new();
        // Whoever hangs up has not said yes.
        let _ = std::io::stdin().read_line(&mut answer);
        Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
    }
}
