//! `corten run`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::Args;
use corten_namespaces::Plan;
use corten_namespaces::config::Limit;
use corten_namespaces::error::Context;

use super::progress::{Shown, Stream};
use super::pull::Source;
use crate::engine::container::{PullPolicy, Request};
use crate::engine::env::Variable;
use crate::engine::pull::Event;
use crate::engine::spec::Options;
use crate::engine::volume::{self, Volume};
use crate::engine::{Engine, Error, Result};

#[derive(Debug, Args)]
pub(super) struct Run {
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
    /// Show the system calls instead of making them
    #[arg(long)]
    explain: bool,
    /// Name or id of the image
    image: String,
    /// The command and its arguments; the image's own otherwise
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Run {
    pub(super) fn execute(&self, open: impl FnOnce() -> Result<Engine>) -> Result<u8> {
        if self.explain {
            let plan = self.plan(open)?;
            super::print(&corten_namespaces::explain::render(&plan))?;
            return Ok(0);
        }
        let request = self.request()?;
        if self.interactive && self.tty && !std::io::stdin().is_terminal() {
            return Err(Error::invalid(
                "-it",
                "standard input is not a terminal: leave out -t, or use `script -qc …` to get one",
            ));
        }
        let exit = open()?.run(&request, &mut self.progress())?;
        Ok(exit.status())
    }

    /// The plan of system calls.
    pub(super) fn plan(&self, open: impl FnOnce() -> Result<Engine>) -> Result<Plan> {
        let request = self.request()?;
        open()?.explain(&request, &mut self.progress())
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
