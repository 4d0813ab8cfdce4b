//! Builds: chapter 8 with this engine's images, layers and containers.
//!
//! | module | what |
//! |---|---|
//! | `context` | from a folder, an archive, an address to files and a Dockerfile |
//! | `runner` | `RUN`: a container of the engine's own |
//! | [`output`] | what else may come of a build: archives, folders, provenance |

mod context;
pub mod output;
mod runner;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use corten_builder::cache::{Cache, Entry, Keep, Pruned};
use corten_builder::execute::Builder;
pub use corten_builder::execute::{BuildOptions as Steps, Built, Explained, Secret};
pub use corten_builder::progress::Event;
use corten_builder::run::{Bases, Tell};
pub use corten_builder::run::{Cancel, Resources, Staying};
use corten_builder::work::Work;
use corten_registry::{Credentials, Image, Platform, Policy, Reference};
use corten_unionfs::ChainId;

use context::Prepared;
pub use context::{Context, DockerfileSource, Packed};

use super::Engine;
use super::error::{Error, Result};
use super::image::chain;
use super::notices::{self, Notices, Way};
use super::pull::{Asker, Event as Pulling, PullOptions};
use super::shims::Shims;
use super::state::ImageLock;

/// What builds are making, below the engine's directory.
pub(super) fn work(root: &Path) -> PathBuf {
    root.join("build/work")
}

/// Where secrets are while a step runs: below the supervisors' directory, which is in memory.
pub(super) fn secrets(shims: &Shims) -> PathBuf {
    shims.directory().join(".secrets")
}

/// How to build.
#[derive(Debug, Clone, Default)]
pub struct BuildOptions {
    /// Where the Dockerfile is.
    pub dockerfile: DockerfileSource,
    /// All that chapter 8 wants to know.
    pub steps: Steps,
    /// How many bytes the blobs of the build cache may have: what was not used for longest goes first.
    /// Without it, [`CACHE_LIMIT`].
    pub cache_limit: Option<u64>,
    /// Who asks for base images.
    pub askers: Askers,
    /// `NAME=PLACE`: what a name means instead of a stage or an image: a folder, the address of a
    /// repository or an archive, or `docker-image://` and an image.
    pub contexts: Vec<String>,
    /// The same of folders that have come in the context's archive: the path of each in it. They are no part
    /// of the context.
    pub sent: BTreeMap<String, String>,
}

/// Who asks the registries.
#[derive(Debug, Clone, Default)]
pub enum Askers {
    /// Whoever started this process, with their credentials.
    #[default]
    User,
    /// A client of the daemon, with its credentials by registry.
    Client(BTreeMap<String, Credentials>),
}

impl Askers {
    fn of(&self, reference: &Reference) -> Asker {
        match self {
            Askers::User => Asker::User,
            Askers::Client(all) => Asker::Client(all.get(reference.domain()).cloned()),
        }
    }
}

/// The usual limit of the build cache, in bytes.
pub const CACHE_LIMIT: u64 = 20 << 30;

impl Engine {
    // ANCHOR: build
    /// Builds an image.
    ///
    /// # Errors
    /// [`Error::Build`], with the place in the Dockerfile. Nothing is left but the cache.
    pub fn build(
        &self,
        options: &BuildOptions,
        context: Context<'_>,
        cancel: &Cancel,
        progress: &mut dyn FnMut(Event),
    ) -> Result<Built> {
        let work = Work::new(&work(&self.root))?;
        let (Prepared { file, tree }, steps) = &self.given(options, context, &work, cancel)?;
        let built = self.with_builder(&options.askers, |builder| {
            Ok(builder.build(file, tree, steps, cancel, progress)?)
        })?;
        let limit = options.cache_limit.unwrap_or(CACHE_LIMIT);
        if built.cached_more && Cache::open(&self.build_directory())?.size() > limit {
            self.shrink_builds(Keep { bytes: Some(limit), age: None })?;
        }
        for tag in &steps.tags {
            self.note_image("tag", &built.image.id.to_string(), &tag.familiar());
        }
        Ok(built)
    }
    // ANCHOR_END: build

    /// What a build would do, step by step.
    ///
    /// # Errors
    /// As [`Engine::build`].
    pub fn explain_build(
        &self,
        options: &BuildOptions,
        context: Context<'_>,
        cancel: &Cancel,
    ) -> Result<Vec<Explained>> {
        let work = Work::new(&work(&self.root))?;
        let (Prepared { file, tree }, steps) = &self.given(options, context, &work, cancel)?;
        let explain = |builder: &Builder<'_>| Ok(builder.explain(file, tree, steps, cancel)?);
        self.with_builder(&options.askers, explain)
    }

    /// What a build is given, brought to `work`.
    fn given(
        &self,
        options: &BuildOptions,
        context: Context<'_>,
        work: &Work,
        cancel: &Cancel,
    ) -> Result<(Prepared, Steps)> {
        let places = (&*self.build_directory(), work);
        let prepared = context::prepare(context, &options.dockerfile, places, cancel)?;
        let mut steps = context::steps(options, work, cancel)?;
        context::take_out(&options.sent, &prepared.tree, work, &mut steps)?;
        Ok((prepared, steps))
    }

    fn with_builder<T>(
        &self,
        askers: &Askers,
        act: impl FnOnce(&Builder<'_>) -> Result<T>,
    ) -> Result<T> {
        let bases = Known { engine: self, askers, held: Mutex::default() };
        let runner = runner::Containers { engine: self };
        let builder = Builder {
            images: &self.images,
            layers: &self.layers,
            directory: self.build_directory(),
            volatile: secrets(&self.containers.shims),
            runner: &runner,
            bases: &bases,
        };
        act(&builder)
    }

    fn build_directory(&self) -> PathBuf {
        self.root.join("build")
    }

    /// The build cache; an engine that has never built has none.
    fn build_cache(&self) -> Result<Option<Cache>> {
        let directory = self.build_directory();
        Ok(directory.exists().then(|| Cache::open(&directory)).transpose()?)
    }

    /// The layers that the build cache may need again.
    pub(super) fn cached_layers(&self) -> Result<Vec<ChainId>> {
        let cache = self.build_cache()?;
        Ok(cache.map_or_else(Vec::new, |cache| cache.layers().into_iter().collect()))
    }

    /// What the build cache has.
    pub(super) fn cached(&self) -> Result<Vec<Entry>> {
        Ok(self.build_cache()?.map_or_else(Vec::new, |cache| cache.entries()))
    }

    /// Removes what is in the build cache, but what `keep` says.
    ///
    /// # Errors
    /// Where something cannot be removed.
    pub fn prune_builds(&self, keep: Keep) -> Result<Pruned> {
        let pruned = self.shrink_builds(keep)?;
        self.note_prune("builder", pruned.freed);
        Ok(pruned)
    }

    fn shrink_builds(&self, keep: Keep) -> Result<Pruned> {
        let _images = ImageLock::exclusive(&self.root)?;
        let pruned = Cache::open(&self.build_directory())?.prune(keep, &self.images)?;
        self.images.collect_garbage()?;
        self.sweep_layers()?;
        Ok(pruned)
    }
}

/// What keeps an image until the build is over.
type Kept = (corten_unionfs::Lease, corten_registry::Lease);

/// The engine's images.
struct Known<'a> {
    engine: &'a Engine,
    askers: &'a Askers,
    held: Mutex<Vec<Kept>>,
}

impl Known<'_> {
    fn find(
        &self,
        name: &str,
        platform: Option<&str>,
        pull: bool,
        tell: Tell<'_>,
    ) -> Result<Image> {
        let engine = self.engine;
        let _images = ImageLock::shared(&engine.root)?;
        let wanted = platform.map(platform_of);
        let known = match engine.images.image(name) {
            Ok(image) => Some(image),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        };
        let fits = |image: &Image| {
            wanted.as_ref().is_none_or(|wanted| wanted.runs(&image.config.platform()))
        };
        let image = match known.filter(|image| !pull && fits(image)) {
            Some(image) => {
                // The policy may be younger than the image.
                engine.images.check_policy(&Policy::system()?, name)?;
                if engine.is_unpacked(&image)? {
                    image
                } else {
                    engine.unpack(&image, &mut |_| {})?;
                    image
                }
            }
            None => {
                let reference = Reference::parse(name)?;
                let asker = self.askers.of(&reference);
                let options = PullOptions { platform: wanted, asker, ..PullOptions::default() };
                let mut notices = Notices::new(Way::Down);
                let mut told = |event: Pulling<'_>| notices.tell(&event, tell);
                let pulled = engine.pull_locked(&reference, &options, &mut told)?;
                notices::ended(&reference, &pulled).into_iter().for_each(tell);
                pulled.image
            }
        };
        let layers = engine.layers.lease(&chain(&image)?)?;
        let blobs = engine.images.lease()?;
        let digests = image.layers.iter().map(|layer| &layer.descriptor.digest);
        blobs.hold(digests.chain([&image.id, &image.descriptor.digest]))?;
        self.held.lock().unwrap_or_else(PoisonError::into_inner).push((layers, blobs));
        Ok(image)
    }
}

impl Bases for Known<'_> {
    fn base(
        &self,
        name: &str,
        platform: Option<&str>,
        pull: bool,
        tell: Tell<'_>,
    ) -> corten_builder::Result<Image> {
        self.find(name, platform, pull, tell).map_err(|error| match error {
            Error::Registry(source) => match Reference::parse(name) {
                Ok(name) => corten_builder::Error::Base { name: Box::new(name), source },
                Err(_) => corten_builder::Error::Registry(source),
            },
            other => corten_builder::Error::runner(other),
        })
    }
}

/// `OS/ARCHITECTURE[/VARIANT]`.
pub fn platform_of(text: &str) -> Platform {
    let parts: Vec<&str> = text.split('/').collect();
    match parts.as_slice() {
        [os, architecture, variant, ..] => Platform::new(os, architecture, Some(variant)),
        [os, architecture] => Platform::new(os, architecture, None),
        _ => Platform::new("linux", text, None),
    }
}

impl Engine {
    fn is_unpacked(&self, image: &Image) -> Result<bool> {
        match chain(image)?.last() {
            Some(top) => Ok(self.layers.get(top)?.is_some()),
            None => Ok(true),
        }
    }
}
