//! Commands for containers that are made: start, stop, restart, kill, pause, unpause, wait, rename,
//! attach, exec, logs.

mod remote;

use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;

use clap::Args;
use corten_supervisor::detach;
use corten_supervisor::front::{Front, Left};
use corten_supervisor::protocol::{Attach, Exec, Operation};
use corten_supervisor::reader::{self, Stream, Wanted};

pub(super) use remote::front;

use super::making::variables;
use super::{each, print};
use crate::cli::{Error, Result};
use crate::engine::Engine;
use crate::engine::life::Start;

#[derive(Debug, Args)]
pub(super) struct Many {
    /// Names or ids
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

impl Many {
    /// Does something to each, and prints its name.
    pub(super) fn each(&self, debug: bool, mut what: impl FnMut(&str) -> Result<()>) -> u8 {
        each(&self.containers, debug, |container| {
            what(container)?;
            print(&format!("{container}\n"))
        })
    }

    pub(super) fn ask(&self, engine: &Engine, debug: bool, operation: &Operation) -> u8 {
        self.each(debug, |container| Ok(engine.ask(container, operation.clone())?))
    }

    pub(super) fn wait(&self, engine: &Engine, debug: bool) -> u8 {
        each(&self.containers, debug, |container| print(&format!("{}\n", engine.wait(container)?)))
    }
}

/// Who gets the signals that are sent to whoever stands before a container.
#[derive(Debug, Args)]
pub(super) struct Proxy {
    /// Pass signals on to the container; with --sig-proxy=false they are for this program, and the
    /// container goes on without it
    #[arg(
        long = "sig-proxy",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value_t = true,
        default_missing_value = "true",
        action = clap::ArgAction::Set
    )]
    pass: bool,
}

impl Proxy {
    pub(super) fn passes(&self) -> bool {
        self.pass
    }
}

#[derive(Debug, Args)]
pub(super) struct StartArgs {
    /// Show its output, and pass signals on
    #[arg(short, long)]
    attach: bool,
    /// Pass standard input on
    #[arg(short, long)]
    interactive: bool,
    /// The keys with which to leave the container running
    #[arg(long, default_value = "ctrl-p,ctrl-q", value_name = "KEYS")]
    detach_keys: String,
    #[command(flatten)]
    proxy: Proxy,
    #[command(flatten)]
    many: Many,
}

impl StartArgs {
    pub(super) fn execute(&self, engine: &Engine, debug: bool) -> Result<u8> {
        if !self.attach && !self.interactive {
            let start = Start::default();
            tell_closed_ways(engine, &self.many.containers);
            return Ok(self.many.each(debug, |name| Ok(engine.start(name, &start).map(drop)?)));
        }
        let [name] = &self.many.containers[..] else {
            return Err(Error::invalid("start -a", "takes one container at a time"));
        };
        let config = engine.containers().find(name)?.0.config;
        tell_closed_ways(engine, &self.many.containers);
        let stdin = self.interactive && config.open_stdin;
        let keys = if stdin && config.tty { detach::parse(&self.detach_keys)? } else { vec![] };
        let attach = Attach { stdin, stdout: true, stderr: true, wait: true, detach_keys: keys };
        let front = Front::new(config.tty, stdin)?.passing_signals(self.proxy.passes());
        let window = corten_namespaces::terminal::size(std::io::stdin().as_fd());
        match engine.start(name, &Start { attach: Some(attach), window })? {
            Some(started) => Ok(engine.accompany(started, &front)?.unwrap_or(0)),
            None => Err(Error::invalid(name, "is running: use `corten attach`")),
        }
    }
}

/// Says once what keeps containers that are started from other machines.
fn tell_closed_ways(engine: &Engine, containers: &[String]) {
    let known = containers.iter().filter_map(|name| engine.containers().find(name).ok());
    let networks: Vec<String> = known.flat_map(|(record, _)| record.networks.into_keys()).collect();
    engine.closed_ways(&networks).iter().for_each(|closed| super::warn(closed));
}

#[derive(Debug, Args)]
pub(super) struct StopArgs {
    /// Seconds until it is killed; -1 for never; its own setting otherwise
    #[arg(short, long, visible_alias = "time", allow_negative_numbers = true)]
    timeout: Option<i64>,
    /// The signal that asks it to end; its own setting otherwise
    #[arg(short, long)]
    signal: Option<String>,
    #[command(flatten)]
    many: Many,
}

impl StopArgs {
    pub(super) fn execute(&self, engine: &Engine, debug: bool, restart: bool) -> Result<u8> {
        let signal = self.signal.as_deref().map(corten_runtime::kill::signal).transpose()?;
        if restart {
            tell_closed_ways(engine, &self.many.containers);
        }
        Ok(self.many.each(debug, |name| {
            engine.stop(name, signal, self.timeout)?;
            if restart {
                engine.start(name, &Start::default())?;
            }
            Ok(())
        }))
    }
}

#[derive(Debug, Args)]
pub(super) struct KillArgs {
    /// The signal, by name or number
    #[arg(short, long, default_value = "SIGKILL")]
    signal: String,
    #[command(flatten)]
    many: Many,
}

impl KillArgs {
    pub(super) fn execute(&self, engine: &Engine, debug: bool) -> Result<u8> {
        let number = corten_runtime::kill::signal(&self.signal)?;
        Ok(self.many.ask(engine, debug, &Operation::Signal { number, all: false }))
    }
}

#[derive(Debug, Args)]
pub(super) struct RenameArgs {
    /// The container
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// Its new name
    #[arg(value_name = "NAME")]
    name: String,
}

impl RenameArgs {
    pub(super) fn execute(&self, engine: &Engine) -> Result<()> {
        Ok(engine.rename(&self.container, &self.name)?)
    }
}

#[derive(Debug, Args)]
pub(super) struct AttachArgs {
    /// Do not pass standard input on
    #[arg(long)]
    no_stdin: bool,
    /// The keys with which to leave the container running
    #[arg(long, default_value = "ctrl-p,ctrl-q", value_name = "KEYS")]
    detach_keys: String,
    #[command(flatten)]
    proxy: Proxy,
    /// The container
    #[arg(value_name = "CONTAINER")]
    container: String,
}

impl AttachArgs {
    pub(super) fn execute(&self, engine: &Engine) -> Result<u8> {
        let (record, mut client) = engine.supervisor(&self.container)?;
        let stdin = record.config.open_stdin && !self.no_stdin;
        let keys = if record.config.tty { detach::parse(&self.detach_keys)? } else { vec![] };
        let attach = Attach { stdin, stdout: true, stderr: true, wait: true, detach_keys: keys };
        let front = Front::new(record.config.tty, stdin)?.passing_signals(self.proxy.passes());
        let ended = client.ask(Operation::Wait { next: false })?;
        let streams = Some(client.attach(attach)?);
        let started = crate::engine::life::Started { record, client, streams, ended };
        Ok(engine.accompany(started, &front)?.unwrap_or(0))
    }
}

#[derive(Debug, Args)]
pub(super) struct ExecArgs {
    /// Do not wait for its end
    #[arg(short, long)]
    detach: bool,
    /// Pass standard input on
    #[arg(short, long)]
    interactive: bool,
    /// Give the program a terminal
    #[arg(short, long)]
    tty: bool,
    /// Set an environment variable; NAME alone takes the caller's value
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read environment variables from a file, one per line
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// The keys with which to leave the program running
    #[arg(long, default_value = "ctrl-p,ctrl-q", value_name = "KEYS")]
    detach_keys: String,
    /// The working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// The user and group, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Allow all that this machine allows
    #[arg(long)]
    privileged: bool,
    /// The container
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl ExecArgs {
    pub(super) fn execute(&self, engine: &Engine) -> Result<u8> {
        self.check()?;
        let request = crate::engine::exec::Request {
            command: self.command.clone(),
            env: self.variables()?,
            cwd: self.workdir.clone(),
            user: self.user.clone(),
            terminal: self.tty,
            privileged: self.privileged,
        };
        // Looked for here: when streams end, the supervisor does not say whether the program has ended, too.
        let front = front(self.tty, self.interactive, &self.detach_keys)?;
        let (process, mut client) = engine.exec_process(&self.container, &request)?;
        let attach = (!self.detach).then_some(Attach {
            stdin: self.interactive,
            stdout: true,
            stderr: true,
            wait: true,
            detach_keys: Vec::new(),
        });
        let (exec, _, streams) = client.exec(Exec { process, attach, detach: self.detach })?;
        let Some(streams) = streams else { return Ok(0) };
        if front.of_exec(exec).run(&mut client, streams)? == Left::Detached {
            return Ok(0);
        }
        Ok(client.wait_exec(exec)?)
    }

    fn variables(&self) -> Result<Vec<String>> {
        Ok(variables(&self.env_file, &self.env)?.iter().map(ToString::to_string).collect())
    }

    fn check(&self) -> Result<()> {
        if self.interactive && self.tty && !std::io::stdin().is_terminal() {
            let why = "standard input is not a terminal: leave out -t";
            return Err(Error::invalid("-it", why));
        }
        detach::parse(&self.detach_keys)?;
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(super) struct LogsArgs {
    /// Go on with what comes, until the container has ended
    #[arg(short, long)]
    follow: bool,
    /// The last so many lines only; all otherwise
    #[arg(short = 'n', long, value_name = "N", default_value = "all")]
    tail: String,
    /// From this time on (as in 2026-11-25T18:00:00Z, seconds since 1970, or 10m for so long ago)
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,
    /// Until this time
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<String>,
    /// Show when each line was written
    #[arg(short, long)]
    timestamps: bool,
    /// Show the labels and variables that the container's log has with each line (--log-opt labels=…)
    #[arg(long)]
    details: bool,
    /// The container
    #[arg(value_name = "CONTAINER")]
    container: String,
}

impl LogsArgs {
    pub(super) fn execute(&self, engine: &Engine) -> Result<()> {
        let tail = self.tail()?;
        let now = corten_supervisor::record::now();
        let moment = |text: &Option<String>| {
            text.as_deref().map(|text| reader::moment(text, now)).transpose()
        };
        let (since, until) = (moment(&self.since)?, moment(&self.until)?);
        let wanted = Wanted { tail, since, until, follow: self.follow };
        Ok(engine.logs(&self.container, wanted, &mut |entry| {
            let mut text = entry.before(self.timestamps, self.details).into_bytes();
            text.extend_from_slice(&entry.log);
            let written = match entry.stream {
                Stream::Stderr => std::io::stderr().write_all(&text),
                Stream::Stdout => std::io::stdout().write_all(&text),
            };
            // Whoever reads us has seen enough.
            written.is_ok()
        })?)
    }

    fn tail(&self) -> Result<Option<usize>> {
        match self.tail.as_str() {
            "all" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                Error::invalid(format!("--tail {text}"), "must be a number of lines, or all")
            }),
        }
    }
}
