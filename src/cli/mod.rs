//! The command line `corten`: one module per command.
//!
//! Each reads its arguments into checked types, calls the engine, or asks a daemon elsewhere (`remote`), and
//! prints both ways by the same columns. What goes wrong is
//! one line on standard error, `corten: …`; `--debug` adds what lay behind it.

mod ask;
mod build;
mod builder;
mod commit;
mod completion;
mod container;
mod context;
mod cp;
mod daemon;
mod diff;
mod doctor;
mod endpoint;
mod error;
mod events;
mod explain;
mod export;
mod finding;
mod format;
mod history;
mod home;
mod image;
mod images;
mod import;
mod info;
mod inspect;
mod lifecycle;
mod load;
mod login;
mod making;
mod network;
mod port;
mod ports;
mod progress;
mod ps;
mod pull;
mod push;
mod remote;
mod rm;
mod rmi;
mod run;
mod save;
mod search;
mod stats;
mod system;
mod table;
mod tag;
mod template;
mod update;
mod verbatim;
mod version;
mod volume;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, Parser, Subcommand};
use corten_namespaces::rootless::NAMESPACES;
use corten_namespaces::{Namespace, NamespaceSet};

pub(crate) use error::{Error, Result};

use crate::engine::Engine;
use home::Home;

/// The exit status of a command line that cannot be understood, as Docker has it.
const USAGE: u8 = 125;

/// A container engine that teaches how containers work, and works.
#[derive(Debug, Parser)]
#[command(name = "corten", version, max_term_width = 100)]
#[command(after_help = "Exit status: that of the container, 125 for an error of \
    Corten's, 126 and 127 for a command that cannot be executed or found.")]
struct Cli {
    /// Where images, layers and containers are: /var/lib/corten, where nothing else is said, and corten in
    /// XDG_DATA_HOME (~/.local/share) without root
    #[arg(long, global = true, env = "CORTEN_ROOT", value_name = "DIR")]
    root: Option<PathBuf>,
    /// Where supervisors are; /run/corten where the root is /var/lib/corten, without root corten in
    /// XDG_RUNTIME_DIR, and `run` in any other root
    #[arg(long, global = true, env = "CORTEN_STATE", value_name = "DIR")]
    state: Option<PathBuf>,
    /// Say what lay behind an error
    #[arg(long, global = true)]
    debug: bool,
    #[command(flatten)]
    endpoint: endpoint::Endpoint,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    OfContainers(container::Any),
    /// List containers
    Ps(ps::Ps),
    /// Show the system calls by which such a container is made, without making them; or those by which
    /// one was made
    #[command(disable_help_flag = true)]
    Explain(Box<explain::Explain>),
    /// Fetch an image from a registry
    Pull(pull::Pull),
    /// Send an image to a registry
    Push(push::Push),
    /// Find images in a registry that can search
    Search(search::Search),
    /// List images
    Images(images::Images),
    /// Manage images
    #[command(subcommand)]
    Image(image::Image),
    /// Give an image a further name
    Tag(tag::Tag),
    /// Show how an image came to be
    History(history::History),
    /// Show all that is known of containers, images or networks, as JSON
    Inspect(inspect::Inspect),
    /// Write images into an archive
    Save(save::Save),
    /// Read images from an archive
    Load(load::Load),
    /// Remove images
    Rmi(rmi::Rmi),
    /// Make an image of a tar archive
    Import(import::Import),
    /// Build an image of a Dockerfile
    Build(Box<build::Build>),
    /// Manage the build cache
    #[command(subcommand)]
    Builder(builder::Builder),
    /// Show what there is, and which storage driver is used and why
    Info(info::Info),
    /// Say what this machine has of what containers need
    Doctor(doctor::Doctor),
    /// Show what Corten takes of this machine
    #[command(subcommand)]
    System(system::System),
    /// Manage volumes
    #[command(subcommand)]
    Volume(volume::Volume),
    /// Manage networks
    #[command(subcommand)]
    Network(network::Network),
    /// Show what has happened, and what happens
    Events(events::Events),
    /// Manage containers
    #[command(subcommand)]
    Container(container::Container),
    /// Put a container in order that has ended: its supervisor asks for it
    #[command(hide = true)]
    Tidy {
        /// Its full id
        id: String,
    },
    /// Manage names of daemons elsewhere
    #[command(subcommand)]
    Context(context::Context),
    /// Serve the Docker Engine API, for docker and its like
    Daemon(Box<daemon::Daemon>),
    /// Log in to a registry
    Login(login::Login),
    /// Forget what was said to log in to a registry
    Logout(login::Logout),
    /// Show the version
    Version(version::Version),
    /// Print a script that completes words of this command line in a shell
    Completion(completion::Completion),
    /// Write manual pages into a directory
    #[command(hide = true)]
    Man(completion::Man),
}

impl Command {
    /// The namespaces of a user's that it is carried out in. What speaks to registries only stays in the host's
    /// network, where more can be reached.
    fn namespaces(&self) -> NamespaceSet {
        match self {
            Command::Pull(_) | Command::Push(_) => NAMESPACES.without(Namespace::Net),
            _ => NAMESPACES,
        }
    }
}

impl Cli {
    /// The daemon elsewhere that the command is for; `None` for the engine of this machine, and for what
    /// needs no engine.
    fn elsewhere(&self) -> Result<Option<endpoint::Target>> {
        match &self.command {
            Command::Daemon(_) if self.endpoint.is_named() => {
                let why = "names a daemon to speak to: where to listen is said behind `daemon`";
                Err(Error::invalid("-H", why))
            }
            // A supervisor asks for that, in whatever environment it was started.
            Command::Tidy { .. } | Command::Daemon(_) => Ok(None),
            Command::Login(_) | Command::Logout(_) | Command::Context(_) => Ok(None),
            Command::Completion(_) | Command::Man(_) => Ok(None),
            Command::System(system::System::DialStdio) => Ok(None),
            _ => self.endpoint.target(self.root.is_some() || self.state.is_some()),
        }
    }
}

/// Runs the command line `args` (with the program's name first) and returns the exit status.
pub fn main(args: impl IntoIterator<Item = OsString>) -> u8 {
    if completion::answer() {
        return 0;
    }
    let cli = match Cli::try_parse_from(verbatim::verbatim(Cli::command(), args)) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match dispatch(&cli) {
        Ok(status) => status,
        Err(error) => {
            report(&error, cli.debug);
            if let Error::OnlyHere { .. } = error {
                return USAGE;
            }
            let runs = match &cli.command {
                Command::OfContainers(any) => any.runs(),
                Command::Container(container) => container.runs(),
                command => matches!(command, Command::Explain(_)),
            };
            if runs { error.exit_code() } else { 1 }
        }
    }
}

fn dispatch(cli: &Cli) -> Result<u8> {
    if let Some(target) = cli.elsewhere()? {
        return remote::dispatch(&cli.command, &target, cli.debug);
    }
    let home = Home::of_caller()?;
    let open_at = |root: &Path, state: &Path| {
        home.enter(cli.command.namespaces(), root)?;
        let engine = Engine::open(root, state)?;
        let engine = match std::env::current_exe() {
            Ok(program) => engine.tidied_by(program),
            Err(_) => engine,
        };
        for problem in &engine.containers().problems {
            let _ = writeln!(std::io::stderr(), "corten: warning: after a crash: {problem}");
        }
        Ok(engine)
    };
    let root = cli.root.clone().unwrap_or_else(|| home.root().to_owned());
    let open = || open_at(&root, &home.state(&root, cli.state.as_deref()));
    match &cli.command {
        Command::OfContainers(any) => return any.execute(open, cli.debug),
        Command::Explain(explain) => explain.execute(open)?,
        Command::Pull(pull) => pull.execute(&open()?)?,
        Command::Push(push) => push.execute(&open()?)?,
        Command::Search(search) => search.execute()?,
        Command::Images(images) => images.execute(&open()?)?,
        Command::Image(image) => return image.execute(&open()?, cli.debug),
        Command::Tag(tag) => tag.execute(&open()?)?,
        Command::History(history) => history.execute(&open()?)?,
        Command::Inspect(inspect) => return inspect.execute(&open()?, cli.debug),
        Command::Save(save) => save.execute(&open()?)?,
        Command::Load(load) => load.execute(&open()?)?,
        Command::Rmi(rmi) => return rmi.execute(&open()?, cli.debug),
        Command::Import(import) => import.execute(&open()?)?,
        Command::Build(build) => build.execute(&open()?, cli.debug)?,
        Command::Builder(builder) => builder.execute(&open()?)?,
        Command::Info(info) => info.execute(&open()?)?,
        Command::Doctor(doctor) => return doctor.execute(&root, open),
        Command::System(system::System::DialStdio) => return cli.endpoint.relay(),
        Command::Context(context) => return context.execute(&cli.endpoint, cli.debug),
        Command::System(system) => return system.execute(&open()?, cli.debug),
        Command::Network(network) => return network.execute(&open()?, cli.debug),
        Command::Volume(volume) => return volume.execute(&open()?, cli.debug),
        Command::Ps(ps) => ps.execute(&open()?)?,
        Command::Events(events) => events.execute(&open()?)?,
        Command::Container(container) => return container.execute(open, cli.debug),
        // Opening makes directories: not where all is gone by now.
        Command::Tidy { id } if !Engine::is_left(&root, id) => {}
        Command::Tidy { id } => open()?.tidy(id)?,
        Command::Daemon(daemon) => {
            let config = daemon.config()?;
            // What the command line says goes before the file.
            let root = cli.root.as_ref().or(config.root.as_ref()).unwrap_or(&root);
            let state = cli.state.as_ref().or(config.state.as_ref()).map(Path::new);
            let state = home.state(root, state);
            daemon.execute(&config, &home.host(), open_at(root, &state)?)?;
        }
        Command::Login(login) => login.execute()?,
        Command::Logout(logout) => logout.execute()?,
        Command::Version(version) => version.execute()?,
        Command::Completion(completion) => completion.execute()?,
        Command::Man(man) => man.execute()?,
    }
    Ok(0)
}

/// Prints what clap says: help as it is, a mistake as one line.
fn usage(error: &clap::Error) -> u8 {
    if !error.use_stderr() {
        let _ = error.print();
        return 0;
    }
    let text = error.render().to_string();
    // A mistake is the first paragraph; usage and hints follow. Without a command, it is the help.
    let Some(mistake) = text.strip_prefix("error: ") else {
        let _ = error.print();
        return USAGE;
    };
    let paragraph = mistake.split("\n\n").next().unwrap_or(mistake);
    let line: Vec<_> = paragraph.split_whitespace().collect();
    let _ = writeln!(std::io::stderr(), "corten: {} (see --help)", line.join(" "));
    USAGE
}

/// One line for the user; with `debug`, every error that lay behind it.
fn report(error: &Error, debug: bool) {
    // With standard error closed there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "corten: {error}");
    if debug {
        let _ = writeln!(std::io::stderr(), "  {error:?}");
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            let _ = writeln!(std::io::stderr(), "  because: {cause} ({cause:?})");
            source = cause.source();
        }
    }
}

/// What the user should know, though nothing has failed.
fn warn(text: &str) {
    let _ = writeln!(std::io::stderr(), "corten: warning: {text}");
}

/// Does `act` for each of `items`; one that fails is reported and does not stop the others.
fn each(items: &[String], debug: bool, mut act: impl FnMut(&str) -> Result<()>) -> u8 {
    let mut status = 0;
    for item in items {
        if let Err(error) = act(item) {
            report(&error, debug);
            status = 1;
        }
    }
    status
}

/// Writes to standard output. Who reads only the beginning (`corten images | head -1`) is right.
fn print(text: &str) -> Result<()> {
    print_bytes(text.as_bytes())
}

/// The same for what need not be text: names of files.
fn print_bytes(bytes: &[u8]) -> Result<()> {
    use corten_namespaces::error::Context;
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other.during("write to standard output")?),
    }
}
