//! The command line of `corten-cgroups`.

mod change;
mod inspect;
mod limit;
mod run;
mod show;
mod top;

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};
use corten_cgroups::{Cgroup, Hierarchy, Placement, Result};

/// Control groups by hand: chapter 2 of Corten as a program.
#[derive(Debug, Parser)]
#[command(name = "corten-cgroups", version, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// GROUP is a path: from the top of each hierarchy with a leading `/`, otherwise below the caller's
/// own group.
#[derive(Debug, Subcommand)]
enum Command {
    /// Run a command in a new group with limits; the group is removed afterwards.
    Run(Box<run::RunArgs>),
    /// Print the directories and writes that `run` would make.
    Explain(Box<run::ExplainArgs>),
    /// Change limits of a group.
    Set(Box<change::SetArgs>),
    /// Print what a group uses and has used.
    Stat {
        /// The group.
        group: PathBuf,
    },
    /// Watch the groups below a group.
    Top(top::TopArgs),
    /// Stop all processes of a group.
    Freeze {
        /// The group.
        group: PathBuf,
    },
    /// Let them run again.
    Thaw {
        /// The group.
        group: PathBuf,
    },
    /// Kill all processes of a group and remove it.
    Kill {
        /// The group.
        group: PathBuf,
    },
    /// List the hierarchies of this machine, or the groups below a group.
    Ls {
        /// The group.
        group: Option<PathBuf>,
    },
}

impl Cli {
    /// Does what was asked and gives the exit status.
    ///
    /// # Errors
    /// What `main` prints in one line.
    pub fn execute(self) -> Result<u8> {
        match self.command {
            Command::Run(arguments) => arguments.run(),
            Command::Explain(arguments) => arguments.explain(),
            Command::Set(arguments) => arguments.set(),
            Command::Stat { group } => inspect::stat(&group),
            Command::Top(arguments) => arguments.top(),
            Command::Freeze { group } => open(&group)?.freeze().map(|()| 0),
            Command::Thaw { group } => open(&group)?.thaw().map(|()| 0),
            Command::Kill { group } => change::kill(&group),
            Command::Ls { group } => inspect::ls(group.as_deref()),
        }
    }
}

fn open(group: &Path) -> Result<Cgroup> {
    let placement = Placement::parse(Some(group), "")?;
    Cgroup::open(&Hierarchy::detect()?, &placement)
}
