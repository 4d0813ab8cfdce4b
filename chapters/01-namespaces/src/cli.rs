//! The command line of `corten-namespaces`.

mod inspect;
mod run;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use corten_namespaces::{Namespace, Result};

/// Namespaces, mounts and pid 1 by hand: chapter 1 of Corten as a program.
#[derive(Debug, Parser)]
#[command(name = "corten-namespaces", version, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a command in new namespaces.
    Run(Box<run::RunArgs>),
    /// Print the system calls that `run` would make, each with its section of the book.
    Explain(Box<run::RunArgs>),
    /// Run a command in the namespaces of a process.
    Enter(run::EnterArgs),
    /// List the namespaces of this machine, or of one process.
    Ls {
        /// The process; without it all that can be seen.
        pid: Option<libc::pid_t>,
    },
    /// Keep a namespace alive without a process: mount it on a file.
    Keep {
        /// A process in it.
        pid: libc::pid_t,
        /// Which one: mnt, pid, net, ipc, uts, user, cgroup or time.
        namespace: Namespace,
        /// The file to be made.
        path: PathBuf,
    },
    /// Undo `keep`.
    Release {
        /// The file.
        path: PathBuf,
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
            Command::Enter(arguments) => arguments.enter(),
            Command::Ls { pid } => inspect::ls(pid),
            Command::Keep { pid, namespace, path } => {
                corten_namespaces::namespace::persist(namespace, pid, &path).map(|()| 0)
            }
            Command::Release { path } => corten_namespaces::namespace::release(&path).map(|()| 0),
        }
    }
}
