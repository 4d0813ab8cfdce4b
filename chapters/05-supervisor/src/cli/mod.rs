//! The command line: bundles under supervision, without an engine.
//!
//! ```text
//! ROOT/ID/settings.json   what the shim was told
//! ROOT/ID/control.sock    where it listens
//! ROOT/ID/lock            held while it lives; its number
//! ROOT/ID/record/         its container's last end, and its log
//! ROOT/.runtime/          chapter 4's state
//! ```

mod run;
mod show;

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::client::Client;
use crate::detach;
use crate::error::{Error, Result};
use crate::front::Front;
use crate::protocol::{Attach, Exec, Operation};
use crate::record::{Exit, Phase};
use crate::settings::{self, Settings};

/// Runs containers under supervision: one small process stands beside each.
#[derive(Debug, Parser)]
#[command(name = "corten-supervisor", version)]
struct Cli {
    /// The directory of all supervisors
    #[arg(long, global = true, default_value = "/run/corten-supervisor")]
    root: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a bundle
    Run(run::Run),
    /// Lists the containers
    #[command(visible_alias = "ls")]
    List,
    /// Prints what a container is doing, as JSON
    Status(One),
    /// Prints what happens to a container, one JSON document per line, until it ends
    Events(One),
    /// Attaches to a container's streams
    Attach(AttachArgs),
    /// Prints a container's output
    Logs(show::Logs),
    /// Runs another program in a container
    Exec(ExecArgs),
    /// Asks a container to end, and kills it after a time
    Stop(StopArgs),
    /// Sends a signal
    Kill(KillArgs),
    /// Freezes a container
    Pause(One),
    /// Thaws a container
    Resume(One),
    /// Waits for a container's end and prints its exit status
    Wait(One),
    /// Removes what is left of a container that has ended
    #[command(visible_alias = "rm")]
    Remove(One),
}

#[derive(Debug, Args)]
struct One {
    /// The container
    #[arg(value_name = "CONTAINER")]
    id: String,
}

#[derive(Debug, Args)]
struct AttachArgs {
    #[command(flatten)]
    one: One,
    /// Do not pass standard input on
    #[arg(long)]
    no_stdin: bool,
    /// The keys with which to leave
    #[arg(long, default_value = "ctrl-p,ctrl-q")]
    detach_keys: String,
}

#[derive(Debug, Args)]
struct ExecArgs {
    /// Pass standard input on
    #[arg(short, long)]
    interactive: bool,
    /// Give the program a terminal
    #[arg(short, long)]
    tty: bool,
    /// Do not wait for its end
    #[arg(short, long)]
    detach: bool,
    #[command(flatten)]
    one: One,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

#[derive(Debug, Args)]
struct StopArgs {
    #[command(flatten)]
    one: One,
    /// Seconds until it is killed; -1 for never
    #[arg(short, long, allow_negative_numbers = true)]
    timeout: Option<i64>,
    /// The signal that asks it to end
    #[arg(short, long)]
    signal: Option<String>,
}

#[derive(Debug, Args)]
struct KillArgs {
    #[command(flatten)]
    one: One,
    /// The signal, by name or number
    #[arg(default_value = "SIGKILL")]
    signal: String,
    /// To all processes of the container
    #[arg(short, long)]
    all: bool,
}

/// The program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command.execute(&cli.root) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("corten-supervisor: {error}");
            ExitCode::from(error.failure().status.unwrap_or(125))
        }
    }
}

impl Command {
    fn execute(self, root: &Path) -> Result<u8> {
        let client = |one: &One| Client::connect(&directory(root, &one.id)?, &one.id);
        match self {
            Command::Run(run) => return run.execute(root),
            Command::List => show::list(root)?,
            Command::Status(one) => show::status(root, &one.id)?,
            Command::Events(one) => show::events(client(&one)?)?,
            Command::Logs(logs) => logs.execute(root)?,
            Command::Attach(attach) => return attach.execute(root),
            Command::Exec(exec) => return exec.execute(root),
            Command::Stop(StopArgs { one, timeout, signal }) => {
                let signal = signal.as_deref().map(corten_runtime::kill::signal).transpose()?;
                client(&one)?.stop(signal, timeout)?;
            }
            Command::Kill(KillArgs { one, signal, all }) => {
                let number = corten_runtime::kill::signal(&signal)?;
                client(&one)?.perform(Operation::Signal { number, all })?;
            }
            Command::Pause(one) => client(&one)?.perform(Operation::Pause)?,
            Command::Resume(one) => client(&one)?.perform(Operation::Resume)?,
            Command::Wait(one) => println!("{}", end(root, &one.id, client(&one))?.status),
            Command::Remove(one) => remove(root, &one.id)?,
        }
        Ok(0)
    }
}

/// The directory of one supervisor. A name is one component, and none that is ours.
fn directory(root: &Path, id: &str) -> Result<PathBuf> {
    let id: corten_runtime::ContainerId = id.parse()?;
    Ok(root.join(id.as_str()))
}

/// How a container ends, or has ended.
fn end(root: &Path, id: &str, client: Result<Client>) -> Result<Exit> {
    let ended = match client {
        Ok(mut client) => client.wait(false),
        Err(error) => Err(error),
    };
    match ended {
        // It has ended between, or before.
        Err(Error::NoSupervisor { .. } | Error::Gone { .. }) => {
            let record = directory(root, id)?.join("record");
            Exit::read(&record)?.ok_or_else(|| Error::NoSupervisor { id: id.to_owned() })
        }
        other => other,
    }
}

/// Makes a directory that only its owner can enter.
fn private(path: &Path) -> Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(path);
    made.map_err(|error| Error::path("make", path, error))
}

fn remove(root: &Path, id: &str) -> Result<()> {
    let directory = directory(root, id)?;
    if Client::connect(&directory, id).is_ok() {
        let (operation, state) = ("remove", "is running: stop it first");
        return Err(Error::State { operation, state });
    }
    let settings = Settings::read(&directory)?;
    // What a shim has left that was killed.
    corten_runtime::delete::delete(&settings.runtime_root, &id.parse()?, true)?;
    std::fs::remove_dir_all(&directory).map_err(|error| Error::path("remove", &directory, error))
}

impl AttachArgs {
    fn execute(&self, root: &Path) -> Result<u8> {
        let mut client = Client::connect(&directory(root, &self.one.id)?, &self.one.id)?;
        let terminal = client.status()?.terminal;
        let attach = Attach {
            stdin: !self.no_stdin,
            stdout: true,
            stderr: true,
            wait: true,
            detach_keys: if terminal { detach::parse(&self.detach_keys)? } else { vec![] },
        };
        let front = Front::new(terminal, attach.stdin)?;
        let streams = client.attach(attach)?;
        front.run(&mut client, streams)?;
        // Left, or ended?
        match client.status() {
            Ok(status) if status.phase != Phase::Exited => Ok(0),
            _ => Ok(end(root, &self.one.id, Ok(client))?.status),
        }
    }
}

impl ExecArgs {
    fn execute(&self, root: &Path) -> Result<u8> {
        let directory = directory(root, &self.one.id)?;
        let settings = Settings::read(&directory)?;
        let mut client = Client::connect(&directory, &self.one.id)?;
        let bundle = corten_runtime::Bundle::open(&settings.bundle)?;
        let mut process = bundle.spec.process().clone().unwrap_or_default();
        process.set_args(Some(self.command.clone())).set_terminal(Some(self.tty));
        let process = serde_json::to_value(&process)
            .map_err(|source| Error::Json { path: settings::FILE.into(), source })?;
        let attach = (!self.detach).then_some(Attach {
            stdin: self.interactive,
            stdout: true,
            stderr: true,
            wait: true,
            detach_keys: Vec::new(),
        });
        let front = Front::new(self.tty, self.interactive)?;
        let request = Exec { process, attach, detach: self.detach };
        let (exec, _, streams) = client.exec(request)?;
        let Some(streams) = streams else { return Ok(0) };
        front.of_exec(exec).run(&mut client, streams)?;
        client.wait_exec(exec)
    }
}
