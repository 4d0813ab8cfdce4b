//! Containers are made: what the user asked for and what the image says come together.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use corten_namespaces::Root;
use corten_registry::{Image, Policy, Reference};
use corten_runtime::create::Create;
use corten_unionfs::ChainId;

use super::error::{At, Error, Result};
use super::image::chain;
use super::networks::Attachment;
use super::oci::{self, Wanted};
use super::options::check::check;
use super::options::{Config, HostConfig, MountType, PidMode};
use super::pull::{Event, PullOptions};
use super::state::{self, ImageLock, Owned, Record};
use super::user::Accounts;
use super::volumes::point::volumes_from;
use super::volumes::{MountPoint, mount_points};
use super::{Engine, clock};

/// When `corten run` fetches the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum PullPolicy {
    /// When it is not there.
    #[default]
    Missing,
    /// Every time.
    Always,
    /// Never.
    Never,
}

/// What `corten run` was asked for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The image, as the user named it.
    pub image: String,
    /// A name for the container.
    pub name: Option<String>,
    /// When to fetch the image.
    pub policy: PullPolicy,
    /// How to fetch it.
    pub pull: PullOptions,
    /// What differs from the image.
    pub config: Config,
    /// What it shall have of this machine.
    pub host_config: HostConfig,
    /// What it asks of networks, by their names.
    pub networks: BTreeMap<String, Attachment>,
    /// A network that is not there is missed at the start only, as with dockerd.
    pub late_networks: bool,
}

/// What would be done.
#[derive(Debug)]
pub struct Explained {
    /// By the engine, before there is a supervisor.
    pub before: Vec<String>,
    /// By chapter 4.
    pub plan: Create,
}

/// What is decided about a container before there is one.
struct Decided {
    config: Config,
    host_config: HostConfig,
    points: Vec<MountPoint>,
    networks: BTreeMap<String, Attachment>,
}

impl Engine {
    // ANCHOR: create
    /// Makes a container, and starts nothing. It is the caller's until it is released; `starts` is
    /// whether that is to start it at once.
    ///
    /// # Errors
    /// What the image or the options refuse; nothing is left then.
    pub(super) fn create_owned(
        &self,
        request: &Request,
        starts: bool,
        progress: &mut dyn FnMut(Event<'_>),
    ) -> Result<Owned> {
        if let Some(name) = &request.name {
            state::check_name(name)?;
        }
        let images = ImageLock::shared(&self.root)?;
        let image = self.image_for(request, progress)?;
        let layers = chain(&image)?;
        let decided = self.decide(request, &image, progress)?;
        let Decided { config, host_config, mut points, networks } = decided;
        if starts {
            self.check_ports(&config, &host_config)?;
        }
        let made = self.volumes.attach(&mut points).and_then(|held| {
            let owned = self.containers.create(Record {
                id: state::new_id()?,
                name: request.name.clone(),
                created: clock::now(),
                image_id: image.id.to_string(),
                layers,
                config,
                host_config,
                mount_points: points.clone(),
                networks,
            });
            // The record names the volumes now, so they stay.
            drop(held);
            owned
        });
        drop(images);
        match &made {
            Ok(owned) => {
                self.containers.note(&owned.record, "create", &[]);
                progress(Event::Created(&owned.record.id));
            }
            // The first error tells more than one of cleaning up.
            Err(_) => drop(self.volumes.discard(&points)),
        }
        made
    }
    // ANCHOR_END: create

    /// Makes a container; gives its id.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub fn create(&self, request: &Request, progress: &mut dyn FnMut(Event<'_>)) -> Result<String> {
        let owned = self.create_owned(request, false, progress)?;
        let id = owned.record.id.clone();
        owned.release()?;
        Ok(id)
    }

    /// What [`Engine::run`] would do, step by step, without doing it. The image must be there or may
    /// be fetched.
    ///
    /// # Errors
    /// As [`Engine::run`], up to the start.
    pub fn explain(
        &self,
        request: &Request,
        progress: &mut dyn FnMut(Event<'_>),
    ) -> Result<Explained> {
        let _images = ImageLock::shared(&self.root)?;
        let image = self.image_for(request, progress)?;
        let layers = chain(&image)?;
        let decided = self.decide(request, &image, progress)?;
        let Decided { config, host_config, mut points, networks } = decided;
        let accounts = Accounts::read(&Root::from_fd(self.tree(&layers, None)?, "image"))?;
        let mut before = vec![format!("fsmount(2): {} layers as one tree", layers.len())];
        // What is made first cannot be opened for a plan.
        points.retain(|point| {
            let missing = point.create_source && !Path::new(&point.source).exists();
            match point.kind {
                MountType::Volume => before.push(format!(
                    "mkdir(2): the volume {} for {}",
                    if point.name.is_empty() { "without a name" } else { &point.name },
                    point.destination
                )),
                MountType::Bind if missing => {
                    before.push(format!("mkdir({}), for {}", point.source, point.destination));
                }
                _ => return true,
            }
            false
        });
        let wanted = Wanted {
            id: "ID",
            config: &config,
            host: &host_config,
            accounts: &accounts,
            mounts: &points,
            place: &self.place("ID"),
            machine: self.machine()?,
            network: None,
            neighbours: self,
        };
        let mut spec = oci::generate(&wanted)?;
        let connect = |name: &String| format!("connect to the network {name}");
        before.extend(networks.keys().map(connect));
        before.push("write hostname, hosts and resolv.conf, to be mounted in /etc".to_owned());
        let directory = &wanted.place.directory;
        let is_written = |mount: &oci_spec::runtime::Mount| {
            mount.source().as_ref().is_some_and(|source| source.starts_with(directory))
        };
        spec.mounts_mut().iter_mut().for_each(|mounts| mounts.retain(|mount| !is_written(mount)));
        let plan = self.containers.shims.plan("ID", &spec)?;
        Ok(Explained { before, plan })
    }

    /// The image, fetched and unpacked where that is missing.
    fn image_for(&self, request: &Request, progress: &mut dyn FnMut(Event<'_>)) -> Result<Image> {
        let pull = |progress: &mut dyn FnMut(Event<'_>)| {
            let reference = Reference::parse(&request.image)?;
            Ok(self.pull_locked(&reference, &request.pull, progress)?.image)
        };
        if request.policy == PullPolicy::Always {
            return pull(progress);
        }
        match self.images.image(&request.image) {
            // Its layers may be missing where a pull was cut off between the two.
            Ok(image) => {
                // The policy may be younger than the image.
                self.images.check_policy(&Policy::system()?, &request.image)?;
                self.unpack(&image, &mut |_| {}).map(|()| image)
            }
            Err(error) if !error.is_not_found() => Err(error.into()),
            Err(_) if request.policy == PullPolicy::Never => {
                Err(Error::NotPulled { name: request.image.clone() })
            }
            Err(_) => pull(progress),
        }
    }

    // ANCHOR: decide
    /// One direction: what was asked for, over the image, checked against this machine.
    fn decide(
        &self,
        request: &Request,
        image: &Image,
        progress: &mut dyn FnMut(Event<'_>),
    ) -> Result<Decided> {
        let mut config = request.config.clone();
        let mut host_config = request.host_config.clone();
        config.image.clone_from(&request.image);
        config.merge(&Config::of_image(image)?)?;
        for warning in check(&mut config, &mut host_config, self.machine()?)? {
            progress(Event::Warning(&warning));
        }
        self.check_links(&host_config)?;
        if let PidMode::Container(name) = host_config.pid()? {
            self.containers.find(&name)?;
        }
        let mut from = Vec::new();
        for text in &host_config.volumes_from {
            let (container, mode) = volumes_from(text)?;
            from.push((mode.to_owned(), self.containers.find(container)?.0.mount_points));
        }
        let points = mount_points(&config, &host_config, &from)?;
        let networks =
            self.attachments(&config, &host_config, &request.networks, request.late_networks)?;
        for closed in self.closed_ways(networks.keys()) {
            progress(Event::Warning(&closed));
        }
        Ok(Decided { config, host_config, points, networks })
    }
    // ANCHOR_END: decide

    /// The merged tree of `layers`, detached; with a container's directory, writable.
    pub(super) fn tree(&self, layers: &[ChainId], writable: Option<&Path>) -> Result<OwnedFd> {
        Ok(self.layers.driver().mount(&self.lower_dirs(layers)?, writable)?)
    }

    /// The directories of layers; an image without any stands on an empty one.
    pub(super) fn lower_dirs(&self, layers: &[ChainId]) -> Result<Vec<PathBuf>> {
        match layers.last() {
            Some(top) => Ok(self.layers.lower_dirs(top)?),
            None => {
                let path = self.root.join("empty");
                std::fs::create_dir_all(&path).at("make", &path)?;
                Ok(vec![path])
            }
        }
    }
}
