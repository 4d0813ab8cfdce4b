//! What can be seen: list, status, events, logs.

use std::io::Write;
use std::path::Path;

use clap::Args;

use super::directory;
use crate::client::Client;
use crate::error::{Context, Error, Result};
use crate::log::Options;
use crate::protocol::Operation;
use crate::reader::{self, Stream, Wanted};
use crate::record::{Exit, Phase, Status};
use crate::settings::Settings;

/// One line per container.
pub(super) fn list(root: &Path) -> Result<()> {
    let entries = match std::fs::read_dir(root) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        other => other.map_err(|error| Error::path("read", root, error))?.flatten().collect(),
    };
    let mut ids: Vec<String> = entries
        .iter()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.'))
        .collect();
    ids.sort();
    let mut text = format!("{:<20} {:<12} {:>8} {:>8}\n", "CONTAINER", "STATUS", "PID", "SHIM");
    for id in ids {
        let status = look(root, &id)?;
        let what = serde_json::to_value(status.phase).unwrap_or_default();
        let what = match &status.exit {
            Some(exit) if status.phase == Phase::Exited => format!("exited ({})", exit.status),
            _ => what.as_str().unwrap_or_default().to_owned(),
        };
        let number = |pid: i32| if pid == 0 { "-".to_owned() } else { pid.to_string() };
        let (pid, shim) = (number(status.pid), number(status.supervisor));
        text.push_str(&format!("{id:<20} {what:<12} {pid:>8} {shim:>8}\n"));
    }
    print(&text)
}

pub(super) fn status(root: &Path, id: &str) -> Result<()> {
    let status = look(root, id)?;
    let text = serde_json::to_string_pretty(&status).map_err(Error::Packet)?;
    print(&format!("{text}\n"))
}

/// What a container is doing, by its supervisor, or what it has left where that has ended.
fn look(root: &Path, id: &str) -> Result<Status> {
    let directory = directory(root, id)?;
    let asked = Client::connect(&directory, id).and_then(|mut client| client.status());
    match asked {
        Err(Error::NoSupervisor { .. } | Error::Gone { .. }) if directory.exists() => {
            let settings = Settings::read(&directory)?;
            let exit = Exit::read(&settings.record)?;
            Ok(Status { id: id.to_owned(), phase: Phase::Exited, exit, ..Status::default() })
        }
        other => other,
    }
}

pub(super) fn events(mut client: Client) -> Result<()> {
    client.perform(Operation::Events)?;
    while let Some(event) = client.next_event()? {
        let text = serde_json::to_string(&event).map_err(Error::Packet)?;
        print(&format!("{text}\n"))?;
    }
    Ok(())
}

#[derive(Debug, Args)]
pub(super) struct Logs {
    /// Go on with what comes, until the container has ended
    #[arg(short, long)]
    follow: bool,
    /// The last so many lines only
    #[arg(short = 'n', long, value_name = "N")]
    tail: Option<usize>,
    /// From this time on (as in 2026-11-25T18:00:00Z, seconds since 1970, or 10m for so long ago)
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,
    /// Until this time
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<String>,
    /// Show when each line was written
    #[arg(short, long)]
    timestamps: bool,
    /// The container
    #[arg(value_name = "CONTAINER")]
    id: String,
}

impl Logs {
    pub(super) fn execute(&self, root: &Path) -> Result<()> {
        let directory = directory(root, &self.id)?;
        let settings = Settings::read(&directory)?;
        let Some(log) = settings.log else {
            return Err(Error::invalid("the container", "keeps no log: it was started with none"));
        };
        let driver = Options::parse(&log.driver, &log.options)?.driver;
        let now = crate::record::now();
        let moment = |text: &Option<String>| {
            text.as_deref().map(|text| reader::moment(text, now)).transpose()
        };
        let (since, until) = (moment(&self.since)?, moment(&self.until)?);
        let wanted = Wanted { tail: self.tail, since, until, follow: self.follow };
        let is_written = || Client::connect(&directory, &self.id).is_ok();
        reader::read(driver, &log.path, wanted, &is_written, &mut |entry| {
            let mut text = entry.log;
            if self.timestamps {
                text.splice(0..0, format!("{} ", reader::fixed_time(entry.time)).into_bytes());
            }
            let written = match entry.stream {
                Stream::Stderr => std::io::stderr().write_all(&text),
                Stream::Stdout => std::io::stdout().write_all(&text),
            };
            match written {
                // Whoever reads us has seen enough.
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
                other => other.map(|()| true).during("print the log"),
            }
        })
    }
}

fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever reads us has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other.during("print"),
    }
}
