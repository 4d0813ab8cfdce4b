//! runc's command line. Options may stand before and after the container's name, but for `exec`,
//! whose command begins after it.

mod args;
mod change;
mod criu;
mod exec;
mod inspect;
mod life;
mod spec;
mod terminal;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::cgroup::Manager;
use crate::error::{Error, Result};
use crate::log::{Format, Log};
use crate::{OCI_VERSION, shield};

pub use args::Global;

/// An OCI runtime.
#[derive(Debug, Parser)]
#[command(name = "corten-runtime", disable_version_flag = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    /// Prints the version.
    #[arg(long, short = 'v')]
    version: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Creates a container from a bundle; `start` lets its program run
    Create(life::Create),
    /// Starts a created container
    Start(args::Named),
    /// Creates and starts a container, waits for its end and deletes it
    Run(life::Run),
    /// Prints the state of a container
    State(args::Named),
    /// Sends a signal to a container
    Kill(life::Kill),
    /// Removes what is left of a container
    Delete(life::Delete),
    /// Freezes all processes of a container
    Pause(args::Named),
    /// Lets the processes of a frozen container go on
    Resume(args::Named),
    /// Runs another process in a container
    Exec(exec::Exec),
    /// Lists the containers below --root
    List(inspect::List),
    /// Shows the processes of a container
    Ps(inspect::Ps),
    /// Changes the limits of a container
    Update(Box<change::Update>),
    /// Prints what a container uses, and when something in it was killed for lack of memory
    Events(change::Events),
    /// Changes the mounts of a running container
    Mounts(change::Mounts),
    /// Writes the processes of a container to files
    Checkpoint(criu::Checkpoint),
    /// Makes a container out of such files
    Restore(criu::Restore),
    /// Writes a config.json to begin with
    Spec(spec::Spec),
    /// Prints what this runtime can do, as JSON
    Features,
    /// Prints the version
    Version,
}

/// Parses the command line and does what it says.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // Before anything else, because it begins anew.
    let enters = |argument: &OsString| {
        argument.to_str().is_some_and(|word| ["create", "run", "exec", "restore"].contains(&word))
    };
    if arguments.iter().skip(1).any(enters)
        && let Err(error) = shield::up()
    {
        eprintln!("corten-runtime: error: {error}");
        return ExitCode::FAILURE;
    }
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    if cli.version {
        version();
        return ExitCode::SUCCESS;
    }
    let global = cli.global;
    let log = match Log::open(global.log.as_deref(), global.log_format, global.debug) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("corten-runtime: error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = match cli.command {
        Some(command) => dispatch(command, &global, &log),
        None => Err(Error::invalid("the command", "is missing: see corten-runtime --help")),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            log.error(&error.to_string());
            ExitCode::from(error.exit_code())
        }
    }
}

fn dispatch(command: Command, global: &Global, log: &Log) -> Result<u8> {
    let zero = |done: Result<()>| done.map(|()| 0);
    match command {
        Command::Create(create) => zero(create.run(global, log)),
        Command::Start(named) => zero(crate::start::start(&global.root(), &named.id()?)),
        Command::Run(run) => run.run(global, log),
        Command::State(named) => zero(inspect::state(global, &named)),
        Command::Kill(kill) => zero(kill.run(global)),
        Command::Delete(delete) => zero(delete.run(global)),
        Command::Pause(named) => zero(life::pause(global, &named, true)),
        Command::Resume(named) => zero(life::pause(global, &named, false)),
        Command::Exec(exec) => exec.run(global, log),
        Command::List(list) => zero(list.run(global)),
        Command::Ps(ps) => zero(ps.run(global)),
        Command::Update(update) => zero(update.run(global)),
        Command::Events(events) => zero(events.run(global)),
        Command::Mounts(mounts) => zero(mounts.run(global)),
        Command::Checkpoint(checkpoint) => zero(checkpoint.run(global)),
        Command::Restore(restore) => restore.run(global, log),
        Command::Spec(spec) => zero(spec.run()),
        Command::Features => zero(spec::features()),
        Command::Version => {
            version();
            Ok(0)
        }
    }
}

/// Writes a line to standard output. Whoever reads it may have gone, which is no failure.
fn say(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Docker parses these lines.
fn version() {
    let commit = option_env!("CORTEN_COMMIT").unwrap_or("unknown");
    let version = env!("CARGO_PKG_VERSION");
    say(&format!("corten-runtime version {version}\ncommit: {commit}\nspec: {OCI_VERSION}"));
}

impl Global {
    /// The state directory of all containers.
    pub fn root(&self) -> PathBuf {
        if let Some(root) = &self.root {
            return root.clone();
        }
        if nix::unistd::geteuid().is_root() {
            return PathBuf::from("/run/corten-runtime");
        }
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let runtime = runtime.unwrap_or_else(|| {
            Path::new("/tmp").join(format!("corten-{}", nix::unistd::geteuid()))
        });
        runtime.join("corten-runtime")
    }

    /// How control groups are made.
    pub fn manager(&self) -> Manager {
        match self.cgroup_manager {
            Some(manager) => manager,
            None if self.systemd_cgroup => Manager::Systemd,
            None => Manager::Cgroupfs,
        }
    }
}

/// How this program writes its log, for messages outside of [`main`].
pub(crate) type LogFormat = Format;

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_options_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }
}
