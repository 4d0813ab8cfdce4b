//! `corten image`: the commands for images under their other names, and `prune`.

use clap::{Args, Subcommand};
use corten_daemon::backend::{Backend, Filters as Wanted};

use super::ask::Ask;
use super::{history, images, import, inspect, load, print, pull, push, rmi, save, table, tag};
use crate::cli::Result;
use crate::engine::Engine;
use crate::engine::filter::{Filters, OF_PRUNE};

#[derive(Debug, Subcommand)]
pub(super) enum Image {
    /// Remove images that nothing uses
    Prune(Prune),
    /// List images
    #[command(alias = "list")]
    Ls(images::Images),
    /// Remove images
    Rm(rmi::Rmi),
    /// Fetch an image from a registry
    Pull(pull::Pull),
    /// Send an image to a registry
    Push(push::Push),
    /// Give an image a further name
    Tag(tag::Tag),
    /// Show how an image came to be
    History(history::History),
    /// Show all that is known of images, as JSON
    Inspect(inspect::InspectImages),
    /// Make an image of a tar archive
    Import(import::Import),
    /// Write images into an archive
    Save(save::Save),
    /// Read images from an archive
    Load(load::Load),
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
}

/// What a daemon is told of them, and of which images.
pub(super) fn of_images(filters: &[String], all: bool) -> Result<Wanted> {
    let mut wanted = super::remote::filters(filters)?;
    wanted.insert("dangling".to_owned(), vec![(!all).to_string()]);
    Ok(wanted)
}

impl Image {
    pub(super) fn execute(&self, engine: &Engine, debug: bool) -> Result<u8> {
        match self {
            Image::Prune(prune) => prune.execute(engine)?,
            Image::Ls(images) => images.execute(engine)?,
            Image::Rm(rmi) => return rmi.execute(engine, debug),
            Image::Pull(pull) => pull.execute(engine)?,
            Image::Push(push) => push.execute(engine)?,
            Image::Tag(tag) => tag.execute(engine)?,
            Image::History(history) => history.execute(engine)?,
            Image::Inspect(inspect) => return inspect.execute(engine, debug),
            Image::Import(import) => import.execute(engine)?,
            Image::Save(save) => save.execute(engine)?,
            Image::Load(load) => load.execute(engine)?,
        }
        Ok(0)
    }
}

impl Image {
    /// The same of a daemon's images.
    pub(super) fn remote(&self, engine: &dyn Backend, debug: bool) -> Result<u8> {
        match self {
            Image::Prune(prune) => prune.remote(engine)?,
            Image::Ls(images) => images.remote(engine)?,
            Image::Rm(rmi) => return rmi.remote(engine, debug),
            Image::Pull(pull) => pull.remote(engine)?,
            Image::Push(push) => push.remote(engine)?,
            Image::Tag(tag) => tag.remote(engine)?,
            Image::History(history) => history.remote(engine)?,
            Image::Inspect(inspect) => return inspect.remote(engine, debug),
            Image::Import(import) => import.remote(engine)?,
            Image::Save(save) => save.remote(engine)?,
            Image::Load(load) => load.remote(engine)?,
        }
        Ok(0)
    }
}

impl Prune {
    fn confirmed(&self) -> Result<bool> {
        let which = if self.all { "that no container uses" } else { "without a name" };
        self.ask.confirmed("image prune", &format!("This removes all images {which}."))
    }

    fn remote(&self, engine: &dyn Backend) -> Result<()> {
        if !self.confirmed()? {
            return Ok(());
        }
        let (images, bytes) = engine.prune_images(&of_images(&self.filters, self.all)?)?;
        let lines = super::remote::removed(&images, ["Untagged: ", "Deleted: "]).concat();
        print(&format!("{lines}Total reclaimed space: {}\n", table::size(bytes)))
    }

    fn execute(&self, engine: &Engine) -> Result<()> {
        if !self.confirmed()? {
            return Ok(());
        }
        let filters = Filters::parse(&self.filters, &OF_PRUNE)?;
        let pruned = engine.prune_images_that(self.all, filters)?;
        let mut text = String::new();
        for name in &pruned.removed.untagged {
            text += &format!("Untagged: {}\n", name.familiar());
        }
        for digest in &pruned.removed.deleted {
            text += &format!("Deleted: {digest}\n");
        }
        print(&format!("{text}Total reclaimed space: {}\n", table::size(pruned.freed)))
    }
}
