//! `run`.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::{directory, end, private};
use crate::detach;
use crate::error::{Error, Result};
use crate::front::Front;
use crate::launch::Program;
use crate::log::attributes::Subject;
use crate::log::{Driver, Options};
use crate::protocol::{Attach, Operation, Outcome};
use crate::settings::{Health, Log, Restart, Settings, Stop};

#[derive(Debug, Args)]
pub(super) struct Run {
    /// The directory of config.json
    #[arg(long, short, default_value = ".")]
    bundle: PathBuf,
    /// Return when the program runs
    #[arg(long, short)]
    detach: bool,
    /// Keep standard input open
    #[arg(long, short)]
    interactive: bool,
    /// Forget the container when it has ended
    #[arg(long)]
    rm: bool,
    /// Whether to restart it: no, always, unless-stopped, on-failure:N
    #[arg(long, default_value = "no", value_parser = restart)]
    restart: Restart,
    /// Where its output goes: json-file, local or none
    #[arg(long, default_value = "json-file")]
    log_driver: String,
    /// An option of the log driver
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    log_opt: Vec<(String, String)>,
    /// The signal that asks it to end
    #[arg(long, default_value = "SIGTERM")]
    stop_signal: String,
    /// Seconds until it is killed; -1 for never
    #[arg(long, default_value_t = 10, allow_negative_numbers = true)]
    stop_timeout: i64,
    /// A shell command that says whether it is well
    #[arg(long, value_name = "COMMAND")]
    health_cmd: Option<String>,
    /// Seconds from one health check to the next
    #[arg(long, default_value_t = 30.0)]
    health_interval: f64,
    /// The longest that a health check may take, in seconds
    #[arg(long, default_value_t = 30.0)]
    health_timeout: f64,
    /// Failures in a row that make it unhealthy
    #[arg(long, default_value_t = 3)]
    health_retries: u32,
    /// Seconds at first in which failures do not count
    #[arg(long, default_value_t = 0.0)]
    health_start_period: f64,
    /// The keys with which to leave it
    #[arg(long, default_value = "ctrl-p,ctrl-q")]
    detach_keys: String,
    /// The container's name
    #[arg(value_name = "CONTAINER")]
    id: String,
}

fn restart(text: &str) -> std::result::Result<Restart, String> {
    match text.split_once(':').unwrap_or((text, "0")) {
        ("no", _) => Ok(Restart::No),
        ("always", _) => Ok(Restart::Always),
        ("unless-stopped", _) => Ok(Restart::UnlessStopped),
        ("on-failure", maximum) => maximum
            .parse()
            .map(|maximum| Restart::OnFailure { maximum })
            .map_err(|_| format!("`{maximum}` is no number of restarts")),
        _ => Err("must be no, always, unless-stopped or on-failure[:N]".into()),
    }
}

fn pair(text: &str) -> std::result::Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Run {
    pub(super) fn execute(self, root: &Path) -> Result<u8> {
        let directory = directory(root, &self.id)?;
        private(root)?;
        private(&directory.join("record"))?;
        let settings = self.settings(root, &directory)?;
        settings.write(&directory)?;
        let bundle = corten_runtime::Bundle::open(&settings.bundle)?;
        let process = bundle.spec.process().as_ref();
        let terminal = process.and_then(|process| process.terminal()).unwrap_or(false);
        let (mut client, _child) = Program::own()?.launch(&directory, &self.id)?;
        if self.detach {
            client.start()?;
            println!("{}", self.id);
            return Ok(0);
        }
        let stdin = settings.stdin;
        let keys = terminal && stdin && std::io::stdin().is_terminal();
        let attach = Attach {
            stdin,
            stdout: true,
            stderr: true,
            wait: true,
            detach_keys: if keys { detach::parse(&self.detach_keys)? } else { Vec::new() },
        };
        let front = Front::new(terminal, stdin)?;
        let streams = client.attach(attach)?;
        // Asked before it can end: afterwards there may be nobody to ask.
        let ended = client.ask(Operation::Wait { next: false })?;
        client.start()?;
        front.run(&mut client, streams)?;
        if keys && !client.is_answered(&ended)? {
            return Ok(0);
        }
        let exit = match client.answer(ended)? {
            (Outcome::Exit(exit), _) => *exit,
            _ => end(root, &self.id, Ok(client))?,
        };
        if self.rm {
            std::fs::remove_dir_all(&directory)
                .map_err(|error| Error::path("remove", &directory, error))?;
        }
        Ok(exit.status)
    }

    fn log(&self, record: &Path) -> Result<Option<Log>> {
        let options: BTreeMap<String, String> = self.log_opt.iter().cloned().collect();
        let path = match Options::parse(&self.log_driver, &options)?.driver {
            Driver::None => return Ok(None),
            Driver::JsonFile => record.join("output.log"),
            Driver::Local => Driver::Local.path(record, &self.id),
        };
        // Without an engine there are no labels; annotations are what a bundle has.
        let bundle = corten_runtime::Bundle::open(&self.bundle)?;
        let labels = bundle.spec.annotations().clone().unwrap_or_default().into_iter().collect();
        let env = bundle.spec.process().as_ref().and_then(|process| process.env().clone());
        let subject = Subject {
            id: &self.id,
            name: &self.id,
            image: "",
            image_id: "",
            labels: &labels,
            env: &env.unwrap_or_default(),
        };
        let attributes = subject.attributes(&options)?;
        Ok(Some(Log { driver: self.log_driver.clone(), path, options, attributes }))
    }

    fn settings(&self, root: &Path, directory: &Path) -> Result<Settings> {
        let absolute =
            |path: &Path| path.canonicalize().map_err(|error| Error::path("resolve", path, error));
        let record = absolute(&directory.join("record"))?;
        let seconds = |value: f64| {
            Duration::try_from_secs_f64(value)
                .map_err(|_| Error::invalid(format!("{value} seconds"), "is no time"))
        };
        let health = match &self.health_cmd {
            None => None,
            Some(command) => Some(Health {
                command: vec!["/bin/sh".into(), "-c".into(), command.clone()],
                interval: seconds(self.health_interval)?,
                timeout: seconds(self.health_timeout)?,
                start_period: seconds(self.health_start_period)?,
                start_interval: seconds(self.health_interval.min(5.0))?,
                retries: self.health_retries,
            }),
        };
        let log = self.log(&record)?;
        Ok(Settings {
            id: self.id.clone(),
            bundle: absolute(&self.bundle)?,
            runtime_root: absolute(root)?.join(".runtime"),
            cgroups: crate::settings::Cgroups::default(),
            given_group: None,
            root: None,
            subpaths: Vec::new(),
            memory: None,
            journal: None,
            init: false,
            stdin: self.interactive,
            stdin_once: self.interactive && !self.detach,
            restart: self.restart,
            stop: Stop {
                signal: corten_runtime::kill::signal(&self.stop_signal)?,
                timeout: self.stop_timeout,
            },
            health,
            log,
            auto_remove: false,
            leashed: false,
            after: Vec::new(),
            restarts: 0,
            record,
        })
    }
}
