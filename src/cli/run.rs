//! `corten run`.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;
use corten_daemon::backend::{Backend, Condition};
use corten_supervisor::protocol::Attach;

use super::lifecycle::{Proxy, front};
use super::making::{Making, Streams};
use super::remote;
use crate::cli::{Error, Result};
use crate::engine::Engine;

#[derive(Debug, Args)]
pub(super) struct Run {
    /// Return when the container runs
    #[arg(short, long)]
    detach: bool,
    /// The keys with which to leave the container running
    #[arg(long, default_value = "ctrl-p,ctrl-q", value_name = "KEYS")]
    detach_keys: String,
    #[command(flatten)]
    proxy: Proxy,
    /// Show the plan and, when all is over, each system call by which the container was made
    #[arg(long)]
    explain: bool,
    /// The same into a file: a page that plays it (.html), JSON (.json) or text
    #[arg(long, value_name = "FILE")]
    explain_to: Option<PathBuf>,
    #[command(flatten)]
    making: Making,
}

impl Run {
    pub(super) fn execute(&self, open: impl FnOnce() -> Result<Engine>) -> Result<u8> {
        let making = &self.making;
        if (self.explain || self.explain_to.is_some()) && !super::explain::is_traced() {
            return super::explain::run(making, self.explain_to.as_deref(), open);
        }
        let request = making.request(!self.detach)?;
        let keys = corten_supervisor::detach::parse(&self.detach_keys)?;
        if self.detach {
            making.check_detached()?;
            let started = open()?.run_detached(&request, &mut making.progress()?)?;
            super::print(&format!("{}\n", started.record.id))?;
            return Ok(0);
        }
        self.check_terminal()?;
        let Streams { stdin, stdout, stderr } = making.attached();
        let attach = Attach {
            stdin,
            stdout,
            stderr,
            wait: true,
            detach_keys: if stdin && making.tty { keys } else { Vec::new() },
        };
        let pass = self.proxy.passes();
        let status = open()?.run(&request, attach, pass, &mut making.progress()?)?;
        Ok(status.unwrap_or(0))
    }

    /// The same for a daemon; `None` for what only this machine can show.
    pub(super) fn remote(&self, engine: &dyn Backend) -> Result<Option<u8>> {
        let making = &self.making;
        if self.explain || self.explain_to.is_some() {
            return Ok(None);
        }
        if self.detach {
            making.check_detached()?;
            let id = making.remote_make(engine, false)?;
            engine.start(&id)?;
            super::print(&format!("{id}\n"))?;
            return Ok(Some(0));
        }
        self.check_terminal()?;
        let wanted = making.attached();
        // From here on a signal is passed to the container.
        let front = front(making.tty, wanted.stdin, &self.detach_keys)?;
        let front = front.passing_signals(self.proxy.passes());
        let id = making.remote_make(engine, true)?;
        let keys = making.tty.then_some(self.detach_keys.as_str());
        let streams = remote::attach(engine, &id, wanted, keys)?;
        let removed = making.is_removed();
        let end =
            engine.wait(&id, if removed { Condition::Removed } else { Condition::NextExit })?;
        engine.start(&id)?;
        Ok(Some(remote::accompany(engine, &id, &front, streams, end)?.unwrap_or(0)))
    }

    fn check_terminal(&self) -> Result<()> {
        if self.making.interactive && self.making.tty && !std::io::stdin().is_terminal() {
            return Err(Error::invalid(
                "-it",
                "standard input is not a terminal: leave out -t, or use `script -qc …` to get one",
            ));
        }
        Ok(())
    }
}
