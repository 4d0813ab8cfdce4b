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

use clap::{Args, FromArgMatches, Subcommand};

use crate::cgroup::Manager;
use crate::error::{Error, Result};
use crate::log::{Format, Log};
use crate::{OCI_VERSION, shield};

pub use args::Global;

// What stands before the command.
#[derive(Debug, Args)]
struct Options {
    #[command(flatten)]
    global: Global,
    /// Prints the version
    #[arg(long, short = 'v')]
    version: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(life::Create),
    Start(args::Named),
    Run(life::Run),
    State(args::Named),
    Kill(life::Kill),
    Delete(life::Delete),
    Pause(args::Named),
    Resume(args::Named),
    Exec(exec::Exec),
    List(inspect::List),
    Ps(inspect::Ps),
    Update(Box<change::Update>),
    Events(change::Events),
    Mounts(change::Mounts),
    Checkpoint(criu::Checkpoint),
    Restore(criu::Restore),
    Spec(spec::Spec),
    Features,
    Version,
}

/// A command's name, what it does, and the function that adds its options.
type Verb = (&'static str, &'static str, fn(clap::Command) -> clap::Command);

const VERBS: [Verb; 19] = [
    (
        "create",
        "Creates a container from a bundle; `start` lets its program run",
        life::Create::augment_args,
    ),
    ("start", "Starts a created container", args::Named::augment_args),
    (
        "run",
        "Creates and starts a container, waits for its end and deletes it",
        life::Run::augment_args,
    ),
    ("state", "Prints the state of a container", args::Named::augment_args),
    ("kill", "Sends a signal to a container", life::Kill::augment_args),
    ("delete", "Removes what is left of a container", life::Delete::augment_args),
    ("pause", "Freezes all processes of a container", args::Named::augment_args),
    ("resume", "Lets the processes of a frozen container go on", args::Named::augment_args),
    ("exec", "Runs another process in a container", exec::Exec::augment_args),
    ("list", "Lists the containers below --root", inspect::List::augment_args),
    ("ps", "Shows the processes of a container", inspect::Ps::augment_args),
    ("update", "Changes the limits of a container", change::Update::augment_args),
    (
        "events",
        "Prints what a container uses, and kills for lack of memory",
        change::Events::augment_args,
    ),
    ("mounts", "Changes the mounts of a running container", change::Mounts::augment_args),
    ("checkpoint", "Writes the processes of a container to files", criu::Checkpoint::augment_args),
    ("restore", "Makes a container out of such files", criu::Restore::augment_args),
    ("spec", "Writes a config.json to begin with", spec::Spec::augment_args),
    ("features", "Prints what this runtime can do, as JSON", |command| command),
    ("version", "Prints the version", |command| command),
];

/// The command line. A command's options are made only when it is the one: all of them together
/// are 150, and making those takes as long as creating a container's mounts.
fn command_line() -> clap::Command {
    let line = Options::augment_args(clap::Command::new("corten-runtime"))
        .about("An OCI runtime")
        .disable_version_flag(true)
        .arg_required_else_help(true);
    let verb = |(name, about, options): Verb| clap::Command::new(name).about(about).defer(options);
    line.subcommands(VERBS.map(verb))
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
    let (options, command) = match parse(&arguments) {
        Ok(parsed) => parsed,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    if options.version {
        version();
        return ExitCode::SUCCESS;
    }
    let global = options.global;
    let log = match Log::open(global.log.as_deref(), global.log_format, global.debug) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("corten-runtime: error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = match command {
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

fn parse(arguments: &[OsString]) -> clap::error::Result<(Options, Option<Command>)> {
    let matches = command_line().try_get_matches_from(arguments)?;
    let options = Options::from_arg_matches(&matches)?;
    let command = matches.subcommand_name().map(|_| Command::from_arg_matches(&matches));
    Ok((options, command.transpose()?))
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
    use super::*;

    #[test]
    fn the_options_do_not_contradict_each_other() {
        command_line().debug_assert();
        for (name, _, options) in VERBS {
            options(clap::Command::new(name)).debug_assert();
        }
    }

    #[test]
    fn options_stand_before_and_behind() {
        let parse = |line: &str| {
            let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            parse(&arguments).unwrap()
        };
        for line in [
            "corten-runtime --root /r --log /l create --bundle /b --pid-file /p x",
            "corten-runtime create x --bundle /b --pid-file /p --root /r --log /l",
        ] {
            let (options, command) = parse(line);
            assert_eq!(options.global.root.as_deref(), Some(Path::new("/r")), "{line}");
            assert_eq!(options.global.log.as_deref(), Some(Path::new("/l")), "{line}");
            assert!(matches!(command, Some(Command::Create(_))));
        }
        let (_, command) = parse("corten-runtime exec -t x sh -c -t");
        assert!(matches!(command, Some(Command::Exec(_))));
    }
}
