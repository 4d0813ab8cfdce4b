//! The commands for containers, each of which is there with and without `container` before it; and those
//! that are there only with it.

use clap::{Args, Subcommand};
use corten_daemon::backend::Backend;
use corten_supervisor::protocol::Operation;

use super::ask::Ask;
use super::inspect::InspectContainers;
use super::{
    commit, cp, diff, export, lifecycle, making, port, print, ps, rm, run, stats, table, update,
};
use crate::cli::Result;
use crate::engine::Engine;

/// With and without `container`.
#[derive(Debug, Subcommand)]
pub(super) enum Any {
    /// Run a command in a new container
    #[command(disable_help_flag = true)]
    Run(Box<run::Run>),
    /// Make a container without starting it
    #[command(disable_help_flag = true)]
    Create(Box<making::Making>),
    /// Start containers
    Start(lifecycle::StartArgs),
    /// Ask containers to end, and kill them after a time
    Stop(lifecycle::StopArgs),
    /// Stop containers and start them again
    Restart(lifecycle::StopArgs),
    /// Send a signal to containers
    Kill(lifecycle::KillArgs),
    /// Change the limits or the restart policy of containers
    Update(update::Update),
    /// Freeze containers
    Pause(lifecycle::Many),
    /// Thaw containers
    Unpause(lifecycle::Many),
    /// Wait for containers to end, and print their exit status
    Wait(lifecycle::Many),
    /// Give a container another name
    Rename(lifecycle::RenameArgs),
    /// Attach to the streams of a container
    Attach(lifecycle::AttachArgs),
    /// Run another program in a container
    Exec(lifecycle::ExecArgs),
    /// Print the output of a container
    Logs(lifecycle::LogsArgs),
    /// Copy files between a container and the host
    Cp(cp::Cp),
    /// Show what a container has changed in its root
    Diff(diff::Diff),
    /// Write the files of a container into an archive
    Export(export::Export),
    /// Make an image of a container
    Commit(commit::Commit),
    /// Show where the ports of a container are published
    Port(port::PortArgs),
    /// Show what containers use
    Stats(stats::Stats),
    /// Show the processes of a container
    Top(stats::Top),
    /// Remove containers
    #[command(alias = "remove")]
    Rm(rm::Rm),
}

impl Any {
    /// Whether its exit status is that of a program.
    pub(super) fn runs(&self) -> bool {
        matches!(self, Any::Run(_) | Any::Exec(_) | Any::Create(_))
    }

    pub(super) fn execute(&self, open: impl FnOnce() -> Result<Engine>, debug: bool) -> Result<u8> {
        match self {
            Any::Run(run) => return run.execute(open),
            Any::Create(making) => making.create(open)?,
            Any::Start(start) => return start.execute(&open()?, debug),
            Any::Stop(stop) => return stop.execute(&open()?, debug, false),
            Any::Restart(stop) => return stop.execute(&open()?, debug, true),
            Any::Kill(kill) => return kill.execute(&open()?, debug),
            Any::Update(update) => return update.execute(&open()?, debug),
            Any::Pause(many) => return Ok(many.ask(&open()?, debug, &Operation::Pause)),
            Any::Unpause(many) => return Ok(many.ask(&open()?, debug, &Operation::Resume)),
            Any::Wait(many) => return Ok(many.wait(&open()?, debug)),
            Any::Rename(rename) => rename.execute(&open()?)?,
            Any::Attach(attach) => return attach.execute(&open()?),
            Any::Exec(exec) => return exec.execute(&open()?),
            Any::Logs(logs) => logs.execute(&open()?)?,
            Any::Cp(cp) => cp.execute(&open()?)?,
            Any::Diff(diff) => diff.execute(&open()?)?,
            Any::Export(export) => export.execute(&open()?)?,
            Any::Commit(commit) => commit.execute(&open()?)?,
            Any::Port(port) => port.execute(&open()?)?,
            Any::Stats(stats) => stats.execute(&open()?)?,
            Any::Top(top) => top.execute(&open()?)?,
            Any::Rm(rm) => return rm.execute(&open()?, debug),
        }
        Ok(0)
    }
}

impl Any {
    /// The same of a daemon's containers; `None` for what only this machine has.
    pub(super) fn remote(&self, engine: &dyn Backend, debug: bool) -> Result<Option<u8>> {
        match self {
            Any::Run(run) => return run.remote(engine),
            Any::Create(making) => making.remote_create(engine)?,
            Any::Start(start) => return start.remote(engine, debug).map(Some),
            Any::Stop(stop) => return Ok(Some(stop.remote(engine, debug, false))),
            Any::Restart(stop) => return Ok(Some(stop.remote(engine, debug, true))),
            Any::Kill(kill) => return Ok(Some(kill.remote(engine, debug))),
            Any::Update(update) => return update.remote(engine, debug).map(Some),
            Any::Pause(many) => {
                return Ok(Some(many.each(debug, |name| Ok(engine.pause(name)?))));
            }
            Any::Unpause(many) => {
                return Ok(Some(many.each(debug, |name| Ok(engine.unpause(name)?))));
            }
            Any::Wait(many) => return Ok(Some(many.remote_wait(engine, debug))),
            Any::Rename(rename) => rename.remote(engine)?,
            Any::Attach(attach) => return attach.remote(engine).map(Some),
            Any::Exec(exec) => return exec.remote(engine).map(Some),
            Any::Logs(logs) => logs.remote(engine)?,
            Any::Cp(cp) => cp.remote(engine)?,
            Any::Diff(diff) => diff.remote(engine)?,
            Any::Export(export) => export.remote(engine)?,
            Any::Commit(commit) => commit.remote(engine)?,
            Any::Port(port) => port.remote(engine)?,
            Any::Stats(stats) => stats.remote(engine)?,
            Any::Top(top) => top.remote(engine)?,
            Any::Rm(rm) => return rm.remote(engine, debug).map(Some),
        }
        Ok(Some(0))
    }
}

/// With it only.
#[derive(Debug, Subcommand)]
pub(super) enum Container {
    #[command(flatten)]
    Any(Any),
    /// List containers
    #[command(visible_aliases = ["list", "ps"])]
    Ls(ps::Ps),
    /// Show all that is known of containers, as JSON
    Inspect(InspectContainers),
    /// Remove containers that do not run
    Prune(Prune),
}

#[derive(Debug, Args)]
pub(super) struct Prune {
    #[command(flatten)]
    ask: Ask,
    /// Those that fit: label=, label!=, until=TIME
    #[arg(long = "filter", value_name = "NAME=VALUE")]
    filters: Vec<String>,
}

impl Container {
    /// Whether its exit status is that of a program.
    pub(super) fn runs(&self) -> bool {
        matches!(self, Container::Any(any) if any.runs())
    }

    pub(super) fn execute(&self, open: impl FnOnce() -> Result<Engine>, debug: bool) -> Result<u8> {
        match self {
            Container::Any(any) => return any.execute(open, debug),
            Container::Ls(ps) => ps.execute(&open()?)?,
            Container::Inspect(inspect) => return inspect.execute(&open()?, debug),
            Container::Prune(prune) => prune.execute(&open()?)?,
        }
        Ok(0)
    }
}

impl Container {
    /// As [`Any::remote`].
    pub(super) fn remote(&self, engine: &dyn Backend, debug: bool) -> Result<Option<u8>> {
        match self {
            Container::Any(any) => return any.remote(engine, debug),
            Container::Ls(ps) => ps.remote(engine)?,
            Container::Inspect(inspect) => return inspect.remote(engine, debug).map(Some),
            Container::Prune(prune) => prune.remote(engine)?,
        }
        Ok(Some(0))
    }
}

impl Prune {
    pub(super) fn execute(&self, engine: &Engine) -> Result<()> {
        if !self.confirmed()? {
            return Ok(());
        }
        Prune::tell(engine.prune_containers(&self.filters)?)
    }

    fn remote(&self, engine: &dyn Backend) -> Result<()> {
        if !self.confirmed()? {
            return Ok(());
        }
        Prune::tell(engine.prune_containers(&super::remote::filters(&self.filters)?)?)
    }

    fn confirmed(&self) -> Result<bool> {
        self.ask.confirmed("container prune", "This removes all containers that do not run.")
    }

    fn tell((ids, bytes): (Vec<String>, u64)) -> Result<()> {
        let mut text = String::new();
        if !ids.is_empty() {
            text = format!("Deleted Containers:\n{}\n\n", ids.join("\n"));
        }
        print(&format!("{text}Total reclaimed space: {}\n", table::size(bytes)))
    }
}
