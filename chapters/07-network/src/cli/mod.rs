//! The command line of `corten-network`.

mod attach;
mod create;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use create::CreateArgs;

use crate::error::Result;
use crate::networks::Networks;

/// Networks for containers, by hand: chapter 7 of Corten as a program.
#[derive(Debug, Parser)]
#[command(name = "corten-network", version, disable_help_subcommand = true)]
struct Cli {
    /// Where networks are written down
    #[arg(long, default_value = "/var/lib/corten", env = "CORTEN_ROOT")]
    root: PathBuf,
    /// Where is written down what ends with the machine
    #[arg(long, default_value = "/run/corten", env = "CORTEN_STATE")]
    state: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a network
    Create(CreateArgs),
    /// List the networks
    Ls(show::LsArgs),
    /// Remove networks that no container is on
    Rm {
        /// Their names or ids
        #[arg(required = true)]
        networks: Vec<String>,
    },
    /// Show networks with their containers, as JSON
    Inspect {
        /// Their names or ids
        #[arg(required = true)]
        networks: Vec<String>,
    },
    /// Make a network namespace that lasts without a process
    Namespace {
        /// The file to be made
        path: PathBuf,
    },
    /// Connect a process, or a namespace, to a network
    Attach(attach::AttachArgs),
    /// Print what `attach` would do
    Explain(attach::AttachArgs),
    /// Publish further ports of what is connected
    Publish(attach::PublishArgs),
    /// Disconnect it
    Detach(attach::DetachArgs),
    /// Disconnect it from all networks, and keep its namespace no longer
    Release {
        /// A process, or the path of a namespace
        target: attach::Target,
    },
    /// Undo what killed processes have left, and end what is connected and has gone
    Repair,
}

/// The program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // --help and --version come as errors, too, and go to standard output.
            let status = if error.use_stderr() { 125 } else { 0 };
            let _ = error.print();
            return ExitCode::from(status);
        }
    };
    match cli.execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("corten-network: {error}");
            ExitCode::from(1)
        }
    }
}

impl Cli {
    fn execute(self) -> Result<()> {
        if let Command::Namespace { path } = &self.command {
            crate::Namespace::create(path)?;
            return Ok(());
        }
        let networks = Networks::open(&self.root, &self.state)?;
        match self.command {
            Command::Create(arguments) => arguments.execute(&networks),
            Command::Ls(arguments) => arguments.execute(&networks),
            Command::Rm { networks: names } => names.iter().try_for_each(|name| {
                println!("{}", networks.remove(name)?.name);
                Ok(())
            }),
            Command::Inspect { networks: names } => show::inspect(&networks, &names),
            Command::Namespace { .. } => Ok(()),
            Command::Attach(arguments) => arguments.attach(&networks),
            Command::Explain(arguments) => arguments.explain(&networks),
            Command::Publish(arguments) => arguments.execute(&networks),
            Command::Detach(arguments) => arguments.execute(&networks),
            Command::Release { target } => networks.release(&target.container()).map(drop),
            Command::Repair => networks.repair(attach::is_alive),
        }
    }
}
