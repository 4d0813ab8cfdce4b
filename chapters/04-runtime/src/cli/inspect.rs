//! state, list, ps.

use std::collections::BTreeSet;
use std::process::Command;

use clap::Args;
use corten_namespaces::error::Context;

use super::{Global, args::Named, say};
use crate::container::{Container, Status};
use crate::error::{Error, Result};
use crate::state;

/// JSON, or a table for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

fn print(value: &impl serde::Serialize, pretty: bool) {
    let text =
        if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    say(&text.unwrap_or_default());
}

/// `state`
pub fn state(global: &Global, named: &Named) -> Result<()> {
    let container = Container::load(&global.root(), &named.id()?)?;
    print(&container.report(container.status()), true);
    Ok(())
}

#[derive(Debug, Args)]
pub struct List {
    #[arg(long, short = 'f', default_value = "table")]
    format: Format,
    /// Names only
    #[arg(long, short = 'q')]
    quiet: bool,
}

impl List {
    pub fn run(&self, global: &Global) -> Result<()> {
        let root = global.root();
        let mut containers = Vec::new();
        for id in state::ids(&root)? {
            match Container::load(&root, &id) {
                Ok(container) => containers.push(container),
                // Deleted meanwhile.
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if self.quiet {
            containers.iter().for_each(|container| say(container.id()));
            return Ok(());
        }
        let status: Vec<Status> = containers.iter().map(Container::status).collect();
        let reports: Vec<_> = containers
            .iter()
            .zip(status)
            .map(|(container, status)| container.report(status))
            .collect();
        if self.format == Format::Json {
            print(&reports, false);
            return Ok(());
        }
        let width = reports.iter().map(|report| report.id.len()).max().unwrap_or(0).max(2);
        let bundle =
            |report: &crate::container::StateReport<'_>| report.bundle.display().to_string();
        let wide = reports.iter().map(|report| bundle(report).len()).max().unwrap_or(0).max(6);
        say(&format!(
            "{:width$}   {:<8}   {:<8}   {:wide$}   {:<32}   OWNER",
            "ID", "PID", "STATUS", "BUNDLE", "CREATED"
        ));
        for report in &reports {
            say(&format!(
                "{:width$}   {:<8}   {:<8}   {:wide$}   {:<32}   {}",
                report.id,
                report.pid,
                report.status,
                bundle(report),
                report.created,
                report.owner
            ));
        }
        Ok(())
    }
}

#[derive(Debug, Args)]
pub struct Ps {
    /// The container
    #[arg(value_name = "CONTAINER")]
    id: String,
    #[arg(long, short = 'f', default_value = "table")]
    format: Format,
    /// Options of ps(1)
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

impl Ps {
    pub fn run(&self, global: &Global) -> Result<()> {
        let container = Container::load(&global.root(), &self.id.parse()?)?;
        let pids: BTreeSet<libc::pid_t> = match container.cgroup() {
            Ok(Some(cgroup)) => cgroup.processes()?.into_iter().collect(),
            _ => container
                .state
                .init
                .filter(|init| init.is_alive())
                .map(|init| init.pid)
                .into_iter()
                .collect(),
        };
        if self.format == Format::Json {
            print(&pids, false);
            return Ok(());
        }
        let default = ["-ef".to_owned()];
        let options = if self.options.is_empty() { &default[..] } else { &self.options[..] };
        let output = Command::new("ps").args(options).output().on("run", "ps")?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Error::Helper { program: "ps", why });
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let mut lines = text.lines();
        let heading = lines.next().unwrap_or_default();
        let column =
            heading.split_whitespace().position(|name| name == "PID").ok_or_else(|| {
                Error::Helper { program: "ps", why: "its table has no column PID".into() }
            })?;
        say(heading);
        for line in lines {
            let pid = line.split_whitespace().nth(column).and_then(|pid| pid.parse().ok());
            if pid.is_some_and(|pid| pids.contains(&pid)) {
                say(line);
            }
        }
        Ok(())
    }
}
