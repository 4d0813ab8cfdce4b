//! `corten inspect`, `corten image inspect`.

use clap::{Args, ValueEnum};
use corten_daemon::Failure;
use corten_daemon::backend::Backend;
use corten_daemon::version::NEWEST;
use corten_registry::Image;
use serde_json::{Value, json};

use super::each;
use super::format::Shown;
use crate::cli::{Error, Result};
use crate::daemon::shape::filled;
use crate::engine;
use crate::engine::{Engine, shape};

#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// Only containers, images, networks or volumes
    #[arg(long = "type", value_enum)]
    kind: Option<Kind>,
    #[command(flatten)]
    shown: Shown,
    /// Show how much containers have written, too
    #[arg(short, long)]
    size: bool,
    /// Names or ids of containers, images, networks or volumes
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

/// What a name may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Container,
    Image,
    Network,
    Volume,
}

#[derive(Debug, Args)]
pub(super) struct InspectImages {
    #[command(flatten)]
    shown: Shown,
    /// Names or ids of images
    #[arg(value_name = "IMAGE", required = true)]
    names: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct InspectContainers {
    #[command(flatten)]
    shown: Shown,
    /// Show how much each has written, too
    #[arg(short, long)]
    size: bool,
    /// Names or ids of containers
    #[arg(value_name = "CONTAINER", required = true)]
    names: Vec<String>,
}

impl InspectImages {
    pub(super) fn remote(&self, engine: &dyn Backend, debug: bool) -> Result<u8> {
        let (names, shown) = (self.names.clone(), self.shown.clone());
        Inspect { kind: Some(Kind::Image), names, shown, size: false }.remote(engine, debug)
    }

    pub(super) fn execute(&self, engine: &Engine, debug: bool) -> Result<u8> {
        let (names, shown) = (self.names.clone(), self.shown.clone());
        Inspect { kind: Some(Kind::Image), names, shown, size: false }.execute(engine, debug)
    }
}

impl InspectContainers {
    pub(super) fn remote(&self, engine: &dyn Backend, debug: bool) -> Result<u8> {
        let (names, shown, size) = (self.names.clone(), self.shown.clone(), self.size);
        Inspect { kind: Some(Kind::Container), names, shown, size }.remote(engine, debug)
    }

    pub(super) fn execute(&self, engine: &Engine, debug: bool) -> Result<u8> {
        let (names, shown, size) = (self.names.clone(), self.shown.clone(), self.size);
        Inspect { kind: Some(Kind::Container), names, shown, size }.execute(engine, debug)
    }
}

impl Inspect {
    pub(super) fn execute(&self, engine: &Engine, debug: bool) -> Result<u8> {
        let mut found = Vec::new();
        let status = each(&self.names, debug, |name| {
            found.push(self.one(engine, name)?);
            Ok(())
        });
        self.shown.print(found)?;
        Ok(status)
    }

    /// A container goes before an image of the same name, that before a network, and that before a volume, as
    /// with Docker.
    fn one(&self, engine: &Engine, name: &str) -> Result<Value> {
        let image = || describe(engine, &engine.store().image(name)?);
        let network = || Ok(engine.inspect_network(name)?);
        let volume = || {
            let volumes = engine.volumes();
            Ok(shape::volume(volumes, &volumes.get(name)?))
        };
        let container = || Ok(engine.inspect(name, self.size)?);
        match self.kind {
            Some(Kind::Container) => container(),
            Some(Kind::Image) => image(),
            Some(Kind::Network) => network(),
            Some(Kind::Volume) => volume(),
            None => match container() {
                Err(Error::Engine(engine::Error::NoSuchContainer { .. })) => {
                    let found = image();
                    // What is none of them is told as before.
                    match found {
                        Err(missing) => network().or_else(|_| volume()).or(Err(missing)),
                        found => found,
                    }
                }
                other => other,
            },
        }
    }
}

impl Inspect {
    /// The same of a daemon's.
    pub(super) fn remote(&self, engine: &dyn Backend, debug: bool) -> Result<u8> {
        let mut found = Vec::new();
        let status = each(&self.names, debug, |name| {
            found.push(self.remote_one(engine, name)?);
            Ok(())
        });
        self.shown.print(found)?;
        Ok(status)
    }

    fn remote_one(&self, engine: &dyn Backend, name: &str) -> Result<Value> {
        let ask = |kind: Kind| match kind {
            Kind::Container => engine.inspect(name, self.size),
            Kind::Image => engine.inspect_image(name, NEWEST).map(filled),
            Kind::Network => engine.inspect_network(name, false, ""),
            Kind::Volume => engine.inspect_volume(name),
        };
        if let Some(kind) = self.kind {
            return Ok(ask(kind)?);
        }
        for kind in [Kind::Container, Kind::Image, Kind::Network, Kind::Volume] {
            match ask(kind) {
                // A name that no image could have is none's.
                Err(failure) if [400, 404].contains(&failure.status) => {}
                other => return Ok(other?),
            }
        }
        Err(Failure::missing(format!("No such object: {name}")).into())
    }
}

/// An image under Docker's names, with what an OCI layout has of it.
fn describe(engine: &Engine, image: &Image) -> Result<Value> {
    let layers = image.layers.iter().map(|layer| {
        json!({"Digest": layer.descriptor.digest.to_string(), "Size": layer.descriptor.size,
            "MediaType": layer.descriptor.media_type.as_str(),
            "DiffId": layer.diff_id.to_string()})
    });
    let mut own = engine.inspect_image(image)?;
    own["Manifest"] = json!(image.descriptor.digest.to_string());
    own["Layers"] = layers.collect();
    Ok(own)
}
