//! `corten ps`.

use clap::Args;
use corten_daemon::backend::{Backend, List};
use serde_json::{Value, json};

use super::format::{Columns, Format};
use super::ports::{self, Port};
use super::remote::{filters, format_labels, rfc3339, short, text, whole_name};
use super::{print, table};
use crate::cli::Result;
use crate::engine::record::Record;
use crate::engine::view::View;
use crate::engine::{Engine, clock, shape};

#[derive(Debug, Args)]
pub(super) struct Ps {
    /// Containers that have ended, too
    #[arg(short, long)]
    all: bool,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
    /// Print ids and commands in full
    #[arg(long)]
    no_trunc: bool,
    /// The newest so many, also those that have ended
    #[arg(short = 'n', long, value_name = "N")]
    last: Option<usize>,
    /// The newest, also where it has ended
    #[arg(short, long, conflicts_with = "last")]
    latest: bool,
    /// Those that fit: name=, label=, status=, health=, exited=, ancestor=, volume= …
    #[arg(short, long = "filter", value_name = "NAME=VALUE")]
    filters: Vec<String>,
    #[command(flatten)]
    format: Format,
    /// Show how much each has written
    #[arg(short, long)]
    size: bool,
}

const COLUMNS: Columns = Columns {
    titles: &[
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("CreatedAt", "CREATED AT"),
        ("RunningFor", "CREATED"),
        ("State", "STATE"),
        ("Status", "STATUS"),
        ("Ports", "PORTS"),
        ("Networks", "NETWORKS"),
        ("Names", "NAMES"),
        ("Labels", "LABELS"),
        ("Mounts", "MOUNTS"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Size", "SIZE"),
    ],
    usual: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}",
};

/// The same with `--size`.
const WITH_SIZE: Columns = Columns {
    usual: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}\t{{.Size}}",
    ..COLUMNS
};

/// What a container has written, and all that it has: `12B (virtual 1.2MB)`.
fn written(engine: &Engine, record: &Record) -> String {
    let (written, below) = engine.sizes(record);
    format!("{} (virtual {})", table::size(written), table::size(written + below))
}

impl Ps {
    pub(super) fn execute(&self, engine: &Engine) -> Result<()> {
        let last = if self.latest { Some(1) } else { self.last };
        let mut views = engine.views(self.all || last.is_some(), &self.filters)?;
        views.truncate(last.unwrap_or(usize::MAX));
        if self.quiet {
            return print(
                &views.iter().map(|view| format!("{}\n", self.id(view))).collect::<String>(),
            );
        }
        let ports: Vec<String> =
            views.iter().map(|view| shown_ports(engine, view)).collect::<Result<_>>()?;
        let size = self.size || self.format.mentions("Size")?;
        let rows: Vec<Value> = views
            .iter()
            .zip(ports)
            .map(|(view, ports)| {
                let mut row = self.row(view, ports);
                if size {
                    row["Size"] = written(engine, &view.record).into();
                }
                row
            })
            .collect();
        print(&self.format.list(if self.size { WITH_SIZE } else { COLUMNS }, &rows)?)
    }

    fn id<'a>(&self, view: &'a View) -> &'a str {
        if self.no_trunc { &view.record.id } else { view.record.short() }
    }

    /// Under the names of `docker ps --format json`.
    fn row(&self, view: &View, ports: String) -> Value {
        let record = &view.record;
        let labels = record.config.labels.iter().map(|(name, value)| format!("{name}={value}"));
        let mounts = shape::shown_mounts(record).map(|point| match point.name.is_empty() {
            true => point.source.clone(),
            false => point.name.clone(),
        });
        let volumes = record.mount_points.iter().filter(|point| !point.name.is_empty());
        json!({
            "ID": self.id(view),
            "Image": record.config.image,
            "Command": command(&record.config.command(), self.no_trunc),
            "CreatedAt": record.created,
            "RunningFor": clock::ago(&record.created),
            "State": view.word(),
            "Status": view.line(),
            "Ports": ports,
            "Networks": networks(record),
            "Names": record.shown_name(),
            "Labels": labels.collect::<Vec<_>>().join(","),
            "Mounts": mounts.collect::<Vec<_>>().join(","),
            "LocalVolumes": volumes.count().to_string(),
            "Size": "",
        })
    }
}

impl Ps {
    /// The same of a daemon's containers.
    pub(super) fn remote(&self, engine: &dyn Backend) -> Result<()> {
        let last = if self.latest { Some(1) } else { self.last };
        let size = self.size || (!self.quiet && self.format.mentions("Size")?);
        let list = engine.list(&List {
            all: self.all || last.is_some(),
            limit: last,
            size,
            filters: filters(&self.filters)?,
            version: None,
        })?;
        let list = super::remote::array(&list)?;
        if self.quiet {
            let ids = list.iter().map(|one| short(text(one, "Id"), self.no_trunc) + "\n");
            return print(&ids.collect::<String>());
        }
        let rows: Vec<Value> = list.iter().map(|one| self.remote_row(one, size)).collect();
        print(&self.format.list(if self.size { WITH_SIZE } else { COLUMNS }, &rows)?)
    }

    fn remote_row(&self, one: &Value, size: bool) -> Value {
        let mounts = one["Mounts"].as_array().map_or(&[][..], Vec::as_slice);
        let mount = |mount: &Value| match text(mount, "Name") {
            "" => text(mount, "Source").to_owned(),
            name => name.to_owned(),
        };
        let networks = one["NetworkSettings"]["Networks"].as_object().into_iter().flatten();
        let created = rfc3339(&one["Created"]);
        let written = one["SizeRw"].as_u64().unwrap_or(0);
        let whole = one["SizeRootFs"].as_u64().unwrap_or(0);
        json!({
            "ID": short(text(one, "Id"), self.no_trunc),
            "Image": text(one, "Image"),
            "Command": command(&[text(one, "Command").to_owned()], self.no_trunc),
            "RunningFor": clock::ago(&created),
            "CreatedAt": created,
            "State": text(one, "State"),
            "Status": text(one, "Status"),
            "Ports": ports::display(remote_ports(&one["Ports"])),
            "Networks": networks.map(|(name, _)| name.clone()).collect::<Vec<_>>().join(","),
            "Names": whole_name(one),
            "Labels": format_labels(&one["Labels"]),
            "Mounts": mounts.iter().map(mount).collect::<Vec<_>>().join(","),
            "LocalVolumes": mounts.iter().filter(|m| !text(m, "Name").is_empty()).count().to_string(),
            "Size": match size {
                true => format!("{} (virtual {})", table::size(written), table::size(whole)),
                false => String::new(),
            },
        })
    }
}

fn remote_ports(ports: &Value) -> Vec<Port> {
    let number = |value: &Value| value.as_u64().and_then(|port| u16::try_from(port).ok());
    let port = |one: &Value| {
        let host = number(&one["PublicPort"]).filter(|port| *port != 0);
        Some(Port {
            container: number(&one["PrivatePort"])?,
            host: host.map(|port| (text(one, "IP").to_owned(), port)),
            protocol: text(one, "Type").to_owned(),
        })
    };
    ports.as_array().into_iter().flatten().filter_map(port).collect()
}

/// The names of a container's networks, or its mode.
fn networks(record: &Record) -> String {
    match record.host_config.network_mode.as_str() {
        mode @ ("host" | "none") => mode.to_owned(),
        _ => record.networks.keys().cloned().collect::<Vec<_>>().join(","),
    }
}

/// The ports that a container serves, and where they are published: `0.0.0.0:8080->80/tcp`.
fn shown_ports(engine: &Engine, view: &View) -> Result<String> {
    if view.record.config.exposed_ports.is_empty() || view.status.is_none() {
        return Ok(String::new());
    }
    let endpoints = engine.endpoints(&view.record)?;
    let published = endpoints.iter().flat_map(|endpoint| &endpoint.ports);
    let mut all: Vec<Port> = published
        .map(|p| Port::published(p.host, p.host_port, p.container_port, p.protocol.to_string()))
        .collect();
    for exposed in view.record.config.exposed_ports.keys().filter_map(|port| Port::exposed(port)) {
        let is_published = |port: &Port| {
            (port.container, &port.protocol) == (exposed.container, &exposed.protocol)
        };
        if !all.iter().any(is_published) {
            all.push(exposed);
        }
    }
    Ok(ports::display(all))
}

/// The command in quotes. What could move the cursor is escaped; it came from an image.
fn command(args: &[String], full: bool) -> String {
    let mut text: String = args.join(" ").escape_debug().collect();
    if !full && text.chars().count() > 20 {
        text = text.chars().take(19).chain(['…']).collect();
    }
    format!("\"{text}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_cut_and_cannot_move_the_cursor() {
        let args = |list: &[&str]| list.iter().map(|&s| s.to_owned()).collect::<Vec<_>>();
        assert_eq!(command(&args(&["sh", "-c", "ls"]), false), "\"sh -c ls\"");
        assert_eq!(command(&args(&["echo", "\x1b[2J"]), false), "\"echo \\u{1b}[2J\"");
        let long = command(&args(&["0123456789012345678901"]), false);
        assert_eq!(long, "\"0123456789012345678…\"");
    }
}
