//! Containers are made: what the user asked for and what the image says come together.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use corten_namespaces::{Config, Plan, Root};
use corten_registry::{Image, Policy, Reference};
use corten_unionfs::ChainId;

use super::durable::{self, Worth};
use super::error::{At, Error, Result};
use super::image::chain;
use super::pull::{Event, PullOptions};
use super::spec::{ImageDefaults, Options, Spec, Surroundings};
use super::state::{self, ImageLock, Owned, Record, Supervision};
use super::user::Accounts;
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
    /// Remove the container when it ends.
    pub auto_remove: bool,
    /// When to fetch the image.
    pub policy: PullPolicy,
    /// How to fetch it.
    pub pull: PullOptions,
    /// What differs from the image.
    pub options: Options,
    /// What its supervisor is told.
    pub supervision: Supervision,
}

impl Engine {
    /// Makes a container, and starts nothing. It is the caller's until it is released.
    ///
    /// # Errors
    /// What the image or the options refuse; nothing is left then.
    pub(super) fn create_owned(
        &self,
        request: &Request,
        progress: &mut dyn FnMut(Event<'_>),
    ) -> Result<Owned> {
        if let Some(name) = &request.name {
            state::check_name(name)?;
        }
        let images = ImageLock::shared(&self.root)?;
        let image = self.image_for(request, progress)?;
        let layers = chain(&image)?;
        let id = state::new_id()?;
        let hostname = id.get(..12).unwrap_or(&id);
        let spec = self.decide(&image, &layers, &request.options, hostname)?;
        let owned = self.containers.create(Record {
            id,
            name: request.name.clone(),
            created: clock::now(),
            image: request.image.clone(),
            image_id: image.id.to_string(),
            layers,
            auto_remove: request.auto_remove,
            spec,
            supervision: request.supervision.clone(),
        });
        // The record names the layers now, so they stay.
        drop(images);
        owned
    }

    /// Makes a container; gives its id.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub fn create(&self, request: &Request, progress: &mut dyn FnMut(Event<'_>)) -> Result<String> {
        let owned = self.create_owned(request, progress)?;
        let id = owned.record.id.clone();
        owned.release()?;
        Ok(id)
    }

    /// The system calls that [`Engine::run`] would make, without making them. The image must be
    /// there or may be fetched.
    ///
    /// # Errors
    /// As [`Engine::run`], up to the start.
    pub fn explain(&self, request: &Request, progress: &mut dyn FnMut(Event<'_>)) -> Result<Plan> {
        let _images = ImageLock::shared(&self.root)?;
        let image = self.image_for(request, progress)?;
        let layers = chain(&image)?;
        let spec = self.decide(&image, &layers, &request.options, "0123456789ab")?;
        let tree = self.tree(&layers, None)?;
        let directory = self.root.join("containers/ID");
        Ok(Plan::new(config(&spec, tree, &directory)?)?)
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

    fn decide(
        &self,
        image: &Image,
        layers: &[ChainId],
        options: &Options,
        hostname: &str,
    ) -> Result<Spec> {
        let root = Root::from_fd(self.tree(layers, None)?, "image");
        let accounts = Accounts::read(&root)?;
        Spec::new(&ImageDefaults::from(image.config.spec()), options, &accounts, hostname)
    }

    /// The merged tree of `layers`, detached; with a container's directory, writable.
    fn tree(&self, layers: &[ChainId], writable: Option<&Path>) -> Result<OwnedFd> {
        let lower = match layers.last() {
            Some(top) => self.layers.lower_dirs(top)?,
            None => vec![self.empty_layer()?],
        };
        Ok(self.layers.driver().mount(&lower, writable)?)
    }

    /// What an image without layers stands on.
    pub(super) fn empty_layer(&self) -> Result<PathBuf> {
        let path = self.root.join("empty");
        std::fs::create_dir_all(&path).at("make", &path)?;
        Ok(path)
    }
}

/// Chapter 1's description of a container in `directory`.
fn config(spec: &Spec, tree: OwnedFd, directory: &Path) -> Result<Config> {
    let files = FILES.iter().map(|(name, target)| (directory.join(name), *target)).collect();
    let window = corten_namespaces::terminal::size(std::io::stdin().as_fd());
    spec.config(Surroundings {
        directory: directory.join("rootfs"),
        tree,
        files,
        cgroup2: has_unified_cgroups(),
        window,
    })
}

/// Files in a container's directory that are mounted into it. What it does to them ends with it.
pub(super) const FILES: [(&str, &str); 2] =
    [("hostname", "/etc/hostname"), ("hosts", "/etc/hosts")];

/// The names of the loopback addresses, as Docker writes them.
const HOSTS: &str = "127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::\tip6-localnet\n\
    ff00::\tip6-mcastprefix\n\
    ff02::1\tip6-allnodes\n\
    ff02::2\tip6-allrouters\n";

pub(super) fn write_files(spec: &Spec, directory: &Path) -> Result<()> {
    let hosts = format!("{HOSTS}127.0.0.1\t{}\n", spec.hostname);
    for (name, text) in [("hostname", format!("{}\n", spec.hostname)), ("hosts", hosts)] {
        durable::write(&directory.join(name), text.as_bytes(), 0o644, Worth::Volatile)?;
    }
    Ok(())
}

/// Whether /sys/fs/cgroup is the unified hierarchy (cgroups(7)); on v1 and hybrid hosts the
/// container is shown none.
fn has_unified_cgroups() -> bool {
    let path = "/sys/fs/cgroup";
    nix::sys::statfs::statfs(path)
        .is_ok_and(|found| found.filesystem_type() == nix::sys::statfs::CGROUP2_SUPER_MAGIC)
}
