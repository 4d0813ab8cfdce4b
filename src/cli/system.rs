//! `corten system`.

use clap::{Args, Subcommand};
use corten_daemon::backend::{Backend, UsageWanted};
use corten_daemon::version::NEWEST;
use serde_json::{Value, json};

use super::ask::Ask;
use super::format::{Columns, Format};
use super::{events, image, info, print, remote, table};
use crate::cli::{Error, Result};
use crate::daemon::usage::Sum;
use crate::engine::usage::DiskUsage;
use crate::engine::volumes::filter::{Filters, For};
use crate::engine::{Engine, clock, filter};

#[derive(Debug, Subcommand)]
pub(super) enum System {
    /// Show what images and containers take on the disk
    Df(Df),
    /// Show what there is, and which storage driver is used and why
    Info(info::Info),
    /// Show what has happened, and what happens
    Events(events::Events),
    /// Remove containers that do not run, networks and images that nothing uses
    Prune(Prune),
    /// Start the containers that shall always run: for a unit that runs at boot
    Restore,
    /// Connect standard input and output to the daemon: what a client runs here by ssh
    DialStdio,
}

#[derive(Debug, Args)]
pub(super) struct Df {
    /// Show each image, with what it shares
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    format: Format,
}

impl Df {
    fn check(&self) -> Result<()> {
        match self.verbose && !self.format.is_table() {
            true => Err(Error::refused("the verbose and the format options conflict")),
            false => Ok(()),
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct Prune {
    /// Remove images with names, too, that no container uses
    #[arg(short, long)]
    all: bool,
    /// Those that fit only: label=, label!=, until=TIME
    #[arg(long = "filter", value_name = "NAME=VALUE")]
    filters: Vec<String>,
    #[command(flatten)]
    ask: Ask,
    /// Remove volumes without a name that no container uses, too
    #[arg(long)]
    volumes: bool,
}

impl Prune {
    fn execute(&self, engine: &Engine) -> Result<()> {
        if !self.confirmed()? {
            return Ok(());
        }
        let mut text = String::new();
        let mut tell = |title: &str, names: &[String]| text += &deleted(title, names);
        let of_images = filter::Filters::parse(&self.filters, &filter::OF_PRUNE)?;
        let (containers, mut freed) = engine.prune_containers(&self.filters)?;
        tell("Containers", &containers);
        tell("Networks", &engine.prune_networks(&self.filters)?);
        if self.volumes {
            let filters = Filters::parse(&self.filters, For::Prune)?;
            let (names, bytes) = engine.volumes().prune(&filters)?;
            tell("Volumes", &names);
            freed += bytes;
        }
        let images = engine.prune_images_that(self.all, of_images)?;
        let untagged =
            images.removed.untagged.iter().map(|name| format!("untagged: {}", name.familiar()));
        let deleted = images.removed.deleted.iter().map(|digest| format!("deleted: {digest}"));
        tell("Images", &untagged.chain(deleted).collect::<Vec<_>>());
        freed += images.freed;
        print(&format!("{text}Total reclaimed space: {}\n", table::size(freed)))
    }

    /// Whether the person means it. A volume does not say how old it is.
    fn confirmed(&self) -> Result<bool> {
        if self.volumes && self.filters.iter().any(|filter| filter.starts_with("until=")) {
            let why = "the \"until\" filter is not supported with \"--volumes\"";
            return Err(Error::refused(why));
        }
        let volumes = if self.volumes { ", volumes without a name" } else { "" };
        let images =
            if self.all { "all images that no container uses" } else { "images without a name" };
        let question = format!(
            "This removes all containers that do not run, all networks that no container is on{volumes} \
             and {images}."
        );
        self.ask.confirmed("system prune", &question)
    }

    fn remote(&self, engine: &dyn Backend) -> Result<()> {
        if !self.confirmed()? {
            return Ok(());
        }
        let wanted = remote::filters(&self.filters)?;
        let (containers, mut freed) = engine.prune_containers(&wanted)?;
        let mut text = deleted("Containers", &containers);
        text += &deleted("Networks", &engine.prune_networks(&wanted)?);
        if self.volumes {
            let (names, bytes) = engine.prune_volumes(&wanted, NEWEST)?;
            text += &deleted("Volumes", &names);
            freed += bytes;
        }
        let of_images = image::of_images(&self.filters, self.all)?;
        let (images, bytes) = engine.prune_images(&of_images)?;
        let lines = remote::removed(&images, ["untagged: ", "deleted: "]).concat();
        let lines: Vec<String> = lines.lines().map(str::to_owned).collect();
        text += &deleted("Images", &lines);
        freed += bytes;
        print(&format!("{text}Total reclaimed space: {}\n", table::size(freed)))
    }
}

fn deleted(title: &str, names: &[String]) -> String {
    if names.is_empty() {
        String::new()
    } else {
        format!("Deleted {title}:\n{}\n\n", names.join("\n"))
    }
}

impl System {
    pub(super) fn execute(&self, engine: &Engine, debug: bool) -> Result<u8> {
        match self {
            System::Df(df) => {
                df.check()?;
                let usage = engine.disk_usage()?;
                print(&match df.verbose {
                    true => verbose(&usage),
                    false => df.format.list(SUMMARY, &summary(engine, &usage)?)?,
                })?;
                Ok(0)
            }
            System::Info(info) => info.execute(engine).map(|()| 0),
            System::Events(events) => events.execute(engine).map(|()| 0),
            System::Prune(prune) => prune.execute(engine).map(|()| 0),
            // Nothing of the engine: it is done before there is one.
            System::DialStdio => Ok(0),
            System::Restore => {
                let (mut text, mut status) = (String::new(), 0);
                for (id, started) in engine.restore()? {
                    match started {
                        Ok(()) => text += &format!("{id}\n"),
                        Err(error) => {
                            super::report(&error.into(), debug);
                            status = 1;
                        }
                    }
                }
                print(&text)?;
                Ok(status)
            }
        }
    }
}

impl System {
    /// The same of a daemon; `None` for what only this machine has.
    pub(super) fn remote(&self, engine: &dyn Backend) -> Result<Option<u8>> {
        match self {
            System::Df(df) => {
                // The items are what both forms of the answer have.
                let wanted = UsageWanted { verbose: Some(true), ..UsageWanted::default() };
                df.check()?;
                let usage = engine.disk_usage(&wanted, NEWEST)?;
                print(&match df.verbose {
                    true => remote_images(&usage),
                    false => df.format.list(SUMMARY, &remote_summary(&usage))?,
                })?;
            }
            System::Info(info) => info.remote(engine)?,
            System::Events(events) => events.remote(engine)?,
            System::Prune(prune) => prune.remote(engine)?,
            System::Restore | System::DialStdio => return Ok(None),
        }
        Ok(Some(0))
    }
}

/// A list of things, by its name in answers before version 1.52 and by that of the sum with its items.
fn listed<'a>(usage: &'a Value, names: [&str; 2]) -> &'a [Value] {
    let old = usage[names[0]].as_array();
    let list = old.or_else(|| usage[names[1]]["Items"].as_array());
    list.map_or(&[], Vec::as_slice)
}

const OF_IMAGES: [&str; 2] = ["Images", "ImageUsage"];

/// Bytes; what is not known is -1 in answers.
fn bytes(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

const SUMMARY: Columns = Columns {
    titles: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ],
    usual: "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
};

fn sum_row(what: &str, sum: Sum) -> Value {
    let Sum { total, active, size, reclaimable: free } = sum;
    json!({"Type": what, "TotalCount": total.to_string(), "Active": active.to_string(),
        "Size": table::size(size), "Reclaimable": reclaimable(free, size)})
}

fn remote_summary(usage: &Value) -> [Value; 4] {
    let layers = usage["LayersSize"].as_u64();
    let layers = layers.unwrap_or_else(|| bytes(&usage["ImageUsage"]["TotalSize"]));
    [
        sum_row("Images", Sum::of_images(listed(usage, OF_IMAGES), layers)),
        sum_row("Containers", Sum::of_containers(listed(usage, ["Containers", "ContainerUsage"]))),
        sum_row("Local Volumes", Sum::of_volumes(listed(usage, ["Volumes", "VolumeUsage"]))),
        sum_row("Build Cache", Sum::of_builds(listed(usage, ["BuildCache", "BuildCacheUsage"]))),
    ]
}

fn remote_images(usage: &Value) -> String {
    let mut rows = Vec::new();
    for image in listed(usage, OF_IMAGES) {
        let first = image["RepoTags"][0].as_str().unwrap_or("<none>:<none>");
        let (name, tag) = first.rsplit_once(':').unwrap_or((first, "<none>"));
        let (size, shared) = (bytes(&image["Size"]), bytes(&image["SharedSize"]));
        rows.push(vec![
            name.to_owned(),
            tag.to_owned(),
            remote::short(remote::text(image, "Id"), false),
            clock::ago(&remote::rfc3339(&image["Created"])),
            table::size(size),
            table::size(shared),
            table::size(size.saturating_sub(shared)),
            bytes(&image["Containers"]).to_string(),
        ]);
    }
    table::render(&IMAGES, &rows)
}

/// With the percentage that Docker prints.
fn reclaimable(part: u64, whole: u64) -> String {
    match (part * 100).checked_div(whole) {
        Some(percent) => format!("{} ({percent}%)", table::size(part)),
        None => table::size(part),
    }
}

/// The same of this machine's engine, and the blobs, which a daemon does not tell of.
fn summary(engine: &Engine, usage: &DiskUsage) -> Result<[Value; 5]> {
    let images = Sum {
        total: usage.images.len(),
        active: usage.images.iter().filter(|image| image.containers > 0).count(),
        size: usage.layers,
        reclaimable: usage.reclaimable,
    };
    let (total, active, size, reclaimable) = usage.containers;
    let containers = Sum { total, active, size, reclaimable };
    let (blobs, blob_bytes) = usage.blobs;
    Ok([
        sum_row("Images", images),
        sum_row("Containers", containers),
        sum_row("Local Volumes", Sum::of_volumes(&engine.volume_usage()?)),
        sum_row("Build Cache", Sum::of_builds(&engine.build_usage()?)),
        json!({"Type": "Blobs", "TotalCount": blobs.to_string(), "Active": "-",
            "Size": table::size(blob_bytes), "Reclaimable": "-"}),
    ])
}

fn verbose(usage: &DiskUsage) -> String {
    let none = || "<none>".to_owned();
    let mut rows = Vec::new();
    for image in &usage.images {
        let first = image.names.first();
        rows.push(vec![
            first.map_or_else(none, |name| name.familiar_name()),
            first.and_then(|name| name.tag()).map_or_else(none, str::to_owned),
            image.id.short().to_owned(),
            image.created.as_deref().map_or_else(|| "N/A".to_owned(), clock::ago),
            table::size(image.usage.total()),
            table::size(image.usage.shared),
            table::size(image.usage.unique),
            image.containers.to_string(),
        ]);
    }
    table::render(&IMAGES, &rows)
}

const IMAGES: [&str; 8] = [
    "REPOSITORY",
    "TAG",
    "IMAGE ID",
    "CREATED",
    "SIZE",
    "SHARED SIZE",
    "UNIQUE SIZE",
    "CONTAINERS",
];
