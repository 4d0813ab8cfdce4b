//! A container to be made: what `run`, `create` and `explain` have in common.
//!
//! Each group of options fills its part of Docker's `Config` and `HostConfig`; whether that makes
//! sense is for the engine to check, which other clients ask, too.

mod files;
mod limits;
mod mount;
mod network;
mod remote;
mod rights;
mod supervise;
pub(super) mod value;

use std::path::{Path, PathBuf};

use clap::{ArgAction, Args, ValueEnum};
use corten_namespaces::error::Context;
pub(super) use limits::LimitArgs;
pub(super) use supervise::restart;
pub(super) use value::variables;

use super::progress::{Shown, Stream};
use super::pull::Source;
use crate::cli::{Error, Result};
use crate::engine::Engine;
use crate::engine::container::{PullPolicy, Request};
use crate::engine::options::config::Words;
use crate::engine::options::{Config, HostConfig};
use crate::engine::pull::Event;

/// A stream that one attaches to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StreamName {
    Stdin,
    Stdout,
    Stderr,
}

/// To which streams somebody attaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Streams {
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
}

impl Streams {
    /// To all output, and perhaps to the input.
    pub(super) fn to_all(stdin: bool) -> Streams {
        Streams { stdin, stdout: true, stderr: true }
    }
}

#[derive(Debug, Args)]
pub(super) struct Making {
    // -h is the host name.
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    /// Remove the container when it ends
    #[arg(long)]
    rm: bool,
    /// Pass standard input on
    #[arg(short, long)]
    pub(super) interactive: bool,
    /// Give the container a terminal
    #[arg(short, long)]
    pub(super) tty: bool,
    /// Attach only to these streams: stdin, stdout, stderr
    #[arg(short, long, value_enum, ignore_case = true, value_name = "STREAM")]
    attach: Vec<StreamName>,
    /// Show nothing of a pull
    #[arg(short, long)]
    quiet: bool,
    /// Set an environment variable; NAME alone takes the caller's value
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read environment variables from a file, one per line
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// The working directory
    #[arg(short, long, value_name = "DIR", default_value = "", hide_default_value = true)]
    workdir: String,
    /// The user and group, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]", default_value = "", hide_default_value = true)]
    user: String,
    /// A name for the container
    #[arg(long)]
    name: Option<String>,
    /// A label of the container
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    label: Vec<String>,
    /// Read labels from a file, one per line
    #[arg(long, value_name = "FILE")]
    label_file: Vec<PathBuf>,
    /// Write the container's id to a file, which must not be there
    #[arg(long, value_name = "FILE")]
    cidfile: Option<PathBuf>,
    /// Run this in the place of the image's entrypoint; "" for none
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,
    /// Run a small init as the first process: it collects orphans and passes signals on
    #[arg(long)]
    init: bool,
    /// When to fetch the image
    #[arg(long, value_enum, default_value_t)]
    pull: PullPolicy,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    files: files::FileArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    fixed: limits::FixedArgs,
    #[command(flatten)]
    rights: rights::RightArgs,
    #[command(flatten)]
    network: network::NetworkArgs,
    #[command(flatten)]
    supervision: supervise::Supervise,
    /// Name or id of the image
    #[arg(help_heading = "Arguments")]
    image: String,
    /// The command and its arguments; the image's own otherwise
    #[arg(help_heading = "Arguments", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Making {
    /// The image, where nothing else is said.
    pub(super) fn only_a_name(&self) -> Option<&str> {
        self.command.is_empty().then_some(self.image.as_str())
    }

    /// The streams that whoever makes it attaches to.
    pub(super) fn attached(&self) -> Streams {
        let wants = |name| self.attach.contains(&name);
        match self.attach.is_empty() {
            true => Streams::to_all(self.interactive),
            false => Streams {
                stdin: self.interactive && wants(StreamName::Stdin),
                stdout: wants(StreamName::Stdout),
                stderr: wants(StreamName::Stderr),
            },
        }
    }

    /// That nobody asks for streams of a container that he leaves.
    pub(super) fn check_detached(&self) -> Result<()> {
        match self.attach.is_empty() {
            true => Ok(()),
            false => Err(Error::refused("conflicting options: -a and -d")),
        }
    }

    /// Whether it is removed when it ends.
    pub(super) fn is_removed(&self) -> bool {
        self.rm
    }

    /// Makes the container only.
    pub(super) fn create(&self, open: impl FnOnce() -> Result<Engine>) -> Result<()> {
        let request = self.request(true)?;
        let id = open()?.create(&request, &mut self.progress()?)?;
        super::print(&format!("{id}\n"))
    }

    /// What the engine is asked for. A container whose maker stands before it has its standard input
    /// closed when the maker leaves.
    pub(super) fn request(&self, attached: bool) -> Result<Request> {
        let Streams { stdin, stdout, stderr } = self.attached();
        let mut config = Config {
            attach_stdin: attached && stdin,
            attach_stdout: attached && stdout,
            attach_stderr: attached && stderr,
            tty: self.tty,
            open_stdin: self.interactive,
            stdin_once: attached && stdin && self.interactive,
            user: self.user.clone(),
            working_dir: self.workdir.clone(),
            env: variables(&self.env_file, &self.env)?.iter().map(ToString::to_string).collect(),
            labels: value::pairs(&self.labels()?),
            cmd: Words((!self.command.is_empty()).then(|| self.command.clone())),
            entrypoint: Words(self.entrypoint.clone().map(|word| vec![word])),
            ..Config::default()
        };
        let mut host_config = HostConfig {
            auto_remove: self.rm,
            init: self.init.then_some(true),
            ..HostConfig::default()
        };
        self.limits.fill(&mut host_config)?;
        self.fixed.fill(&mut host_config)?;
        self.rights.fill(&mut host_config)?;
        self.files.fill(&mut config, &mut host_config)?;
        let networks = self.network.fill(&mut config, &mut host_config)?;
        self.supervision.fill(&mut config, &mut host_config)?;
        Ok(Request {
            image: self.image.clone(),
            name: self.name.clone(),
            policy: self.pull,
            pull: self.source.options()?,
            config,
            host_config,
            networks,
            late_networks: false,
        })
    }

    /// Shows a pull on standard error, once there is one, and notes the id of what is made.
    pub(super) fn progress(&self) -> Result<impl FnMut(Event<'_>)> {
        let mut shown = None;
        let image = self.image.clone();
        let missing = self.pull == PullPolicy::Missing;
        let (quiet, mut note) = (self.quiet, self.cidfile.as_deref().map(IdFile::new).transpose()?);
        Ok(move |event: Event<'_>| {
            if let (Event::Created(id), Some(note)) = (&event, &mut note) {
                note.write(id);
            }
            // What is not to be had is told in any case.
            if quiet && !matches!(event, Event::Warning(_)) {
                return;
            }
            let is_pull = matches!(event, Event::Pull(_));
            if !is_pull && shown.is_none() && matches!(event, Event::Created(_)) {
                return;
            }
            let shown = shown.get_or_insert_with(|| {
                let shown = Shown::new(Stream::Error);
                if missing && is_pull {
                    shown.line(&format!("Unable to find image '{image}' locally"));
                }
                shown
            });
            shown.event(event);
        })
    }

    fn labels(&self) -> Result<Vec<String>> {
        let mut labels = Vec::new();
        for path in &self.label_file {
            let text = std::fs::read_to_string(path).on("read", Path::new(path))?;
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            labels.extend(lines.filter(|line| !line.starts_with('#')).map(str::to_owned));
        }
        labels.extend(self.label.iter().cloned());
        match labels.iter().find(|label| label.starts_with('=') || label.is_empty()) {
            Some(label) => Err(Error::invalid(format!("label `{label}`"), "has no name")),
            None => Ok(labels),
        }
    }
}

/// The file of `--cidfile`. It is made first: one that is there belongs to another container. Where
/// none is made it is gone again.
struct IdFile {
    path: PathBuf,
    file: std::fs::File,
    is_written: bool,
}

impl IdFile {
    fn new(path: &Path) -> Result<IdFile> {
        let file = std::fs::File::create_new(path).on("make the file of --cidfile", path)?;
        Ok(IdFile { path: path.to_owned(), file, is_written: false })
    }

    fn write(&mut self, id: &str) {
        use std::io::Write;
        self.is_written = true;
        if let Err(error) = self.file.write_all(id.as_bytes()) {
            let _ = writeln!(std::io::stderr(), "corten: write {}: {error}", self.path.display());
        }
    }
}

impl Drop for IdFile {
    fn drop(&mut self) {
        if !self.is_written {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
