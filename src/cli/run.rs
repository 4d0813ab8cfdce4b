//! `corten run`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::Args;
use corten_namespaces::Plan;
use corten_namespaces::config::Limit;
use corten_namespaces::error::Context;

use corten_supervisor::protocol::Attach;

use super::progress::{Shown, Stream};
use super::pull::Source;
use super::supervise::Supervise;
use crate::engine::container::{PullPolicy, Request};
use crate::engine::env::Variable;
use crate::engine::pull::Event;
use crate::engine::spec::Options;
use crate::engine::volume::{self, Volume};
use crate::engine::{Engine, Error, Result};

#[derive(Debug, Args)]
pub(super) struct Run {
    /// Return when the container runs
    #[arg(short, long)]
    detach: bool,
    /// The keys with which to leave the container running
    #[arg(long, default_value = "ctrl-p,ctrl-q", value_name = "KEYS")]
    detach_keys: String,
    /// Show the system calls instead of making them
    #[arg(long)]
    explain: bool,
    #[command(flatten)]
    making: Making,
}

/// What `run` and `create` have in common: a container to be made.
#[derive(Debug, Args)]
pub(super) struct Making {
    /// Remove the container when it ends
    #[arg(long)]
    rm: bool,
    /// Pass standard input on
    #[arg(short, long)]
    interactive: bool,
    /// Give the container a terminal
    #[arg(short, long)]
    tty: bool,
    /// Set an environment variable; NAME alone takes the caller's value
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read environment variables from a file, one per line
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// The working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// The user and group, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// The host name; the beginning of the container's id otherwise
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// Mount a file or directory of the host
    #[arg(short, long = "volume", value_name = "SRC:DST[:ro]")]
    volume: Vec<String>,
    /// Mount a file system in memory
    #[arg(long, value_name = "DST[:OPTIONS]")]
    tmpfs: Vec<String>,
    /// A name for the container
    #[arg(long)]
    name: Option<String>,
    /// Run this in the place of the image's entrypoint; "" for none
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,
    /// Run a small init as the first process: it collects orphans and passes signals on
    #[arg(long)]
    init: bool,
    /// Make the container's root read-only
    #[arg(long)]
    read_only: bool,
    /// Set a resource limit, as in nofile=1024:2048
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    ulimit: Vec<String>,
    /// When to fetch the image
    #[arg(long, value_enum, default_value_t)]
    pull: PullPolicy,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    supervision: Supervise,
    /// Name or id of the image
    image: String,
    /// The command and its arguments; the image's own otherwise
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Run {
    pub(super) fn execute(&self, open: impl FnOnce() -> Result<Engine>) -> Result<u8> {
        let making = &self.making;
        if self.explain {
            let plan = self.plan(open)?;
            super::print(&corten_namespaces::explain::render(&plan))?;
            return Ok(0);
        }
        let request = making.request()?;
        let keys = corten_supervisor::detach::parse(&self.detach_keys)?;
        if self.detach {
            let started = open()?.run_detached(&request, &mut making.progress())?;
            super::print(&format!("{}\n", started.record.id))?;
            return Ok(0);
        }
        if making.interactive && making.tty && !std::io::stdin().is_terminal() {
            return Err(Error::invalid(
                "-it",
                "standard input is not a terminal: leave out -t, or use `script -qc …` to get one",
            ));
        }
        let attach = Attach {
            stdin: making.interactive,
            stdout: true,
            stderr: true,
            wait: true,
            detach_keys: if making.interactive && making.tty { keys } else { Vec::new() },
        };
        let status = open()?.run(&request, attach, &mut making.progress())?;
        Ok(status.unwrap_or(0))
    }

    /// The plan of system calls.
    pub(super) fn plan(&self, open: impl FnOnce() -> Result<Engine>) -> Result<Plan> {
        let request = self.making.request()?;
        open()?.explain(&request, &mut self.making.progress())
    }
}

impl Making {
    /// Makes the container only.
    pub(super) fn create(&self, open: impl FnOnce() -> Result<Engine>) -> Result<()> {
        let id = open()?.create(&self.request()?, &mut self.progress())?;
        super::print(&format!("{id}\n"))
    }

    /// Shows a pull on standard error, once there is one.
    fn progress(&self) -> impl FnMut(Event<'_>) {
        let mut shown = None;
        let image = self.image.clone();
        let missing = self.pull == PullPolicy::Missing;
        move |event| {
            let shown = shown.get_or_insert_with(|| {
                let shown = Shown::new(Stream::Error);
                if missing {
                    shown.line(&format!("Unable to find image '{image}' locally"));
                }
                shown
            });
            shown.event(event);
        }
    }

    fn request(&self) -> Result<Request> {
        let binds = self.volume.iter().map(|text| Volume::parse_bind(text));
        let volumes = binds.chain(self.tmpfs.iter().map(|text| Volume::parse_tmpfs(text)));
        let volumes = volume::ordered(volumes.collect::<Result<_>>()?)?;
        let limits: std::result::Result<Vec<Limit>, _> =
            self.ulimit.iter().map(|text| text.parse()).collect();
        Ok(Request {
            image: self.image.clone(),
            name: self.name.clone(),
            auto_remove: self.rm,
            policy: self.pull,
            pull: self.source.options()?,
            options: Options {
                command: self.command.clone(),
                entrypoint: self.entrypoint.clone(),
                env: self.variables()?,
                cwd: self.workdir.clone(),
                user: self.user.clone(),
                hostname: self.hostname.clone(),
                volumes,
                stdin: self.interactive,
                terminal: self.tty,
                init: self.init,
                read_only: self.read_only,
                limits: limits?,
            },
            supervision: self.supervision.parse()?,
        })
    }

    /// The files' first, because what stands on the command line is meant to win.
    fn variables(&self) -> Result<Vec<Variable>> {
        let lookup = |name: &str| std::env::var(name).ok();
        let mut variables = Vec::new();
        for path in &self.env_file {
            let text = std::fs::read_to_string(path).on("read", Path::new(path))?;
            variables.extend(Variable::parse_file(&path.display().to_string(), &text, lookup)?);
        }
        for text in &self.env {
            variables.push(Variable::parse(text, lookup)?);
        }
        Ok(variables)
    }
}
