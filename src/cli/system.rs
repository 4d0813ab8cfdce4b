//! `corten system`.

use clap::{Args, Subcommand};

use super::ask::Ask;
use super::{events, info, print, table};
use crate::engine::usage::DiskUsage;
use crate::engine::volumes::filter::{Filters, For};
use crate::engine::{Engine, Result, clock};

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
}

#[derive(Debug, Args)]
pub(super) struct Df {
    /// Show each image, with what it shares
    #[arg(short, long)]
    verbose: bool,
}

#[derive(Debug, Args)]
pub(super) struct Prune {
    /// Remove images with names, too, that no container uses
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    ask: Ask,
    /// Remove volumes without a name that no container uses, too
    #[arg(long)]
    volumes: bool,
}

impl Prune {
    fn execute(&self, engine: &Engine) -> Result<()> {
        let volumes = if self.volumes { ", volumes without a name" } else { "" };
        let images =
            if self.all { "all images that no container uses" } else { "images without a name" };
        let question = format!(
            "This removes all containers that do not run, all networks that no container is on{volumes} \
             and {images}."
        );
        if !self.ask.confirmed("system prune", &question)? {
            return Ok(());
        }
        let mut text = String::new();
        let mut tell = |title: &str, names: &[String]| {
            if !names.is_empty() {
                text += &format!("Deleted {title}:\n{}\n\n", names.join("\n"));
            }
        };
        let (containers, mut freed) = engine.prune_containers(&[])?;
        tell("Containers", &containers);
        tell("Networks", &engine.prune_networks(&[])?);
        if self.volumes {
            let filters = Filters::parse(&[], For::Prune)?;
            let (names, bytes) = engine.volumes().prune(&filters)?;
            tell("Volumes", &names);
            freed += bytes;
        }
        let images = engine.prune_images(self.all)?;
        let untagged =
            images.removed.untagged.iter().map(|name| format!("untagged: {}", name.familiar()));
        let deleted = images.removed.deleted.iter().map(|digest| format!("deleted: {digest}"));
        tell("Images", &untagged.chain(deleted).collect::<Vec<_>>());
        freed += images.freed;
        print(&format!("{text}Total reclaimed space: {}\n", table::size(freed)))
    }
}

impl System {
    pub(super) fn execute(&self, engine: &Engine, debug: bool) -> Result<u8> {
        match self {
            System::Df(df) => {
                let usage = engine.disk_usage()?;
                print(&if df.verbose { verbose(&usage) } else { summary(&usage) })?;
                Ok(0)
            }
            System::Info(info) => info.execute(engine).map(|()| 0),
            System::Events(events) => events.execute(engine).map(|()| 0),
            System::Prune(prune) => prune.execute(engine).map(|()| 0),
            System::Restore => {
                let (mut text, mut status) = (String::new(), 0);
                for (id, started) in engine.restore()? {
                    match started {
                        Ok(()) => text += &format!("{id}\n"),
                        Err(error) => {
                            super::report(&error, debug);
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

/// With the percentage that Docker prints.
fn reclaimable(part: u64, whole: u64) -> String {
    match (part * 100).checked_div(whole) {
        Some(percent) => format!("{} ({percent}%)", table::size(part)),
        None => table::size(part),
    }
}

fn summary(usage: &DiskUsage) -> String {
    let active = usage.images.iter().filter(|image| image.containers > 0).count();
    let (containers, running, bytes, stopped) = usage.containers;
    let row = |what: &str, total: usize, active: String, size: u64, free: String| {
        vec![what.to_owned(), total.to_string(), active, table::size(size), free]
    };
    let (blobs, blob_bytes) = usage.blobs;
    let rows = [
        row(
            "Images",
            usage.images.len(),
            active.to_string(),
            usage.layers,
            reclaimable(usage.reclaimable, usage.layers),
        ),
        row("Containers", containers, running.to_string(), bytes, reclaimable(stopped, bytes)),
        row("Blobs", blobs, "-".into(), blob_bytes, "-".into()),
    ];
    table::render(&["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"], &rows)
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
    let header = [
        "REPOSITORY",
        "TAG",
        "IMAGE ID",
        "CREATED",
        "SIZE",
        "SHARED SIZE",
        "UNIQUE SIZE",
        "CONTAINERS",
    ];
    table::render(&header, &rows)
}
