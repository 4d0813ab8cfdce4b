//! Carrying a plan out: stages at the same time where they can be, steps one after the other.
//!
//! | module | what |
//! |---|---|
//! | [`state`] | what a stage is after so many steps |
//! | `schedule` | which stage is built when, and by which thread |
//! | `stage` | one step after the other |
//! | `configure` | steps that change only the configuration |
//! | `borrowed` | steps of other images, for `--cache-from` |
//! | `copying`, `running` | `COPY` and `ADD`; `RUN` |
//! | `staying` | containers that stay, to be looked at |
//! | `layer` | changes become a layer |
//! | [`describe`] | the words of the history |

mod borrowed;
mod configure;
mod copying;
pub mod describe;
mod layer;
mod running;
mod schedule;
mod stage;
pub mod state;
mod staying;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use corten_registry::{Image, Lease, Reference, Store};
use corten_unionfs::{ChainId, LayerStore};

use crate::cache::Cache;
use crate::dockerfile::{Dockerfile, Instruction, Kind, Span};
use crate::error::{Error, Result};
use crate::plan::{Plan, StagePlan, Wanted, platform_arguments};
use crate::progress::Event;
use crate::run::{Bases, Cancel, Resources, Runner, Staying};
use crate::tree::Tree;
use crate::work::{self, Work};
use state::State;

/// Where a secret's content is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    /// In this file.
    File(PathBuf),
    /// Here.
    Bytes(Vec<u8>),
}

/// How to build.
#[derive(Debug, Clone, Default)]
pub struct BuildOptions {
    /// The image's names.
    pub tags: Vec<Reference>,
    /// `--build-arg`.
    pub arguments: BTreeMap<String, String>,
    /// `--build-context`, by names in lower case.
    pub contexts: BTreeMap<String, NamedContext>,
    /// `--target`.
    pub target: Option<String>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// Nothing of the cache is used.
    pub no_cache: bool,
    /// Images whose layers may be used as those of the cache.
    pub cache_from: Vec<String>,
    /// Images are fetched, also where they are there.
    pub pull: bool,
    /// The network of `RUN`: `default`, `none`, `host` or one by name.
    pub network: String,
    /// `OS/ARCHITECTURE[/VARIANT]` instead of this machine's.
    pub platform: Option<String>,
    /// `--secret`.
    pub secrets: BTreeMap<String, Secret>,
    /// `--ssh`: sockets of key agents.
    pub agents: BTreeMap<String, PathBuf>,
    /// `--allow`: `network.host`, `security.insecure`.
    pub allow: Vec<String>,
    /// Limits of `RUN`'s containers.
    pub resources: Resources,
    /// No time in the image is later: seconds since 1970.
    pub source_date_epoch: Option<i64>,
    /// As Docker's classic builder: all stages up to the target, one after the other, and what a
    /// command writes to a volume is lost.
    pub classic: bool,
    /// So many stages at once; 0 for as many as there are processors.
    pub jobs: usize,
    /// What a command that fails has made becomes an image without a name, to be looked at.
    pub keep_failed: bool,
    /// Which containers stay.
    pub staying: Staying,
    /// Nothing is done; the steps are told until the first one that is not in the cache.
    pub explain: bool,
}

/// What a name means in a build, instead of a stage or an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// A folder, of which `.dockerignore` leaves out what it says.
    Folder(PathBuf),
    /// An image.
    Image(String),
}

/// What a build needs of its machine.
pub struct Builder<'a> {
    /// The content store.
    pub images: &'a Store,
    /// The layer store.
    pub layers: &'a LayerStore,
    /// The cache and what is being made are here, on the layer store's file system.
    pub directory: PathBuf,
    /// Where secrets may lie while a command runs: in memory.
    pub volatile: PathBuf,
    /// Who runs commands.
    pub runner: &'a dyn Runner,
    /// Who knows images.
    pub bases: &'a dyn Bases,
}

/// What a build has made.
#[derive(Debug, Clone)]
pub struct Built {
    /// The image.
    pub image: Image,
    /// Its layers, lowest first.
    pub layers: Vec<ChainId>,
    /// What was used: base images by name, with their ids; for provenance.
    pub materials: BTreeMap<String, String>,
    /// Whether the cache has grown.
    pub cached_more: bool,
}

/// What `explain` finds out about a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Its number.
    pub number: usize,
    /// The stage's name or number.
    pub stage: String,
    /// The instruction.
    pub text: String,
    /// Whether the stage is built at all.
    pub wanted: bool,
    /// Why it is not in the cache; `None` where it is, or needs no cache.
    pub miss: Option<String>,
}

/// One build that is going on.
pub(crate) struct Session<'a> {
    builder: &'a Builder<'a>,
    file: &'a Dockerfile,
    plan: &'a Plan,
    options: &'a BuildOptions,
    context: &'a Tree,
    /// Told where somebody ends the build, or a stage has failed.
    cancel: Cancel,
    cache: Cache,
    work: Work,
    /// Images whose steps may be used.
    borrowed: Vec<State>,
    /// Keeps blobs.
    lease: Lease,
    /// Keep layers.
    held: Mutex<Vec<corten_unionfs::Lease>>,
    shared: Mutex<Shared>,
    changed: Condvar,
}

/// What stages tell each other.
#[derive(Default)]
struct Shared {
    stages: Vec<Progress>,
    failed: Option<Error>,
    /// Which stage a stage waits for that has begun.
    awaited: BTreeMap<usize, usize>,
    materials: BTreeMap<String, String>,
    /// Build arguments that some stage has declared.
    consumed: std::collections::BTreeSet<String>,
    explained: Vec<Explained>,
    /// Whether the cache has grown.
    cached_more: bool,
}

#[derive(Default)]
enum Progress {
    /// Not begun; or not wanted.
    #[default]
    Open,
    Running,
    Done(Box<Finished>),
}

/// A stage that is done.
#[derive(Clone)]
pub(crate) struct Finished {
    state: State,
    /// Arguments that were declared in it.
    arguments: BTreeMap<String, Option<String>>,
    /// With `explain`: one of its steps is not in the cache, so what it makes is not known.
    lost: bool,
}

impl Builder<'_> {
    /// Builds an image of a Dockerfile and a context. `tell` is told what happens.
    ///
    /// # Errors
    /// With the place in the Dockerfile. Nothing is left but the cache.
    pub fn build(
        &self,
        file: &Dockerfile,
        context: &Tree,
        options: &BuildOptions,
        cancel: &Cancel,
        tell: &mut dyn FnMut(Event),
    ) -> Result<Built> {
        let (file, plan) = prepare(file, options)?;
        if !file.warnings.is_empty() {
            tell(Event::Doubts { texts: file.warnings.clone() });
        }
        let session = self.session(&file, &plan, options, context, cancel)?;
        session.go(tell)?;
        cancel.check()?;
        // All of the context that counts was looked at. What cannot be kept is found out again.
        let _ = context.save_sums();
        session.finish(tell)
    }

    /// What a build would do: for each step, whether it is in the cache and why not.
    ///
    /// # Errors
    /// As [`Builder::build`], up to the first step that would be done.
    pub fn explain(
        &self,
        file: &Dockerfile,
        context: &Tree,
        options: &BuildOptions,
        cancel: &Cancel,
    ) -> Result<Vec<Explained>> {
        let options = BuildOptions { explain: true, ..options.clone() };
        let (file, plan) = prepare(file, &options)?;
        let session = self.session(&file, &plan, &options, context, cancel)?;
        session.go(&mut |_| {})?;
        let mut steps = std::mem::take(&mut session.lock().explained);
        let left_out =
            |stage: &&StagePlan| !stage.wanted && session.finished(stage.index).is_none();
        for stage in plan.stages.iter().filter(left_out) {
            let Some(source) = file.stages.get(stage.index) else { continue };
            let name = stage.name.clone().unwrap_or_else(|| stage.index.to_string());
            let texts = std::iter::once(&source.text)
                .chain(source.instructions.iter().map(|instruction| &instruction.text));
            steps.extend(texts.zip(stage.number..).map(|(text, number)| Explained {
                number,
                stage: name.clone(),
                text: text.clone(),
                wanted: false,
                miss: None,
            }));
        }
        steps.sort_by_key(|step| step.number);
        Ok(steps)
    }

    fn session<'s>(
        &'s self,
        file: &'s Dockerfile,
        plan: &'s Plan,
        options: &'s BuildOptions,
        context: &'s Tree,
        cancel: &'s Cancel,
    ) -> Result<Session<'s>> {
        let root = self.directory.join("work");
        work::private(&self.directory)?;
        work::clear(&root)?;
        let stages = plan.stages.iter().map(|_| Progress::Open).collect();
        let mut session = Session {
            builder: self,
            file,
            plan,
            options,
            context,
            cancel: cancel.part()?,
            cache: Cache::open(&self.directory)?,
            work: Work::new(&root)?,
            lease: self.images.lease()?,
            held: Mutex::default(),
            shared: Mutex::new(Shared { stages, ..Shared::default() }),
            changed: Condvar::new(),
            borrowed: Vec::new(),
        };
        session.borrowed = session.borrow();
        Ok(session)
    }
}

/// The Dockerfile with the labels that were asked for, and its plan.
fn prepare(file: &Dockerfile, options: &BuildOptions) -> Result<(Dockerfile, Plan)> {
    let mut file = file.clone();
    file.contexts = options.contexts.keys().cloned().collect();
    let host = host_platform();
    let target = options.platform.clone().unwrap_or_else(|| host.clone());
    let wanted = Wanted {
        arguments: options.arguments.clone(),
        target: options.target.clone(),
        platform: platform_arguments(&host, &target),
        all_stages: options.classic,
    };
    let plan = Plan::new(&file, &wanted)?;
    if options.labels.is_empty() {
        return Ok((file, plan));
    }
    let escape = file.directives.escape;
    let literal = |text: &str| -> String {
        let special = |c: char| "$'\"".contains(c) || c == escape;
        text.chars().flat_map(|c| special(c).then_some(escape).into_iter().chain([c])).collect()
    };
    if let Some(stage) = file.stages.get_mut(plan.target) {
        let at = stage.instructions.last().map_or(stage.at, |instruction| instruction.at);
        for (name, value) in &options.labels {
            let kind = Kind::Label(vec![(literal(name), literal(value))]);
            let text = format!("LABEL {name}={value}");
            stage.instructions.push(Instruction { at: Span { column: 1, ..at }, text, kind });
        }
    }
    let plan = Plan::new(&file, &wanted)?;
    Ok((file, plan))
}

/// This machine's platform, as Docker writes it.
pub fn host_platform() -> String {
    let host = corten_registry::Platform::host();
    match &host.variant {
        Some(variant) => format!("{}/{}/{variant}", host.os, host.architecture),
        None => format!("{}/{}", host.os, host.architecture),
    }
}

impl Session<'_> {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        // A thread that panics holds nothing half-changed here.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps layers until the build is over.
    fn hold(&self, layers: &[ChainId]) -> Result<()> {
        let lease = self.builder.layers.lease(layers)?;
        self.held.lock().unwrap_or_else(PoisonError::into_inner).push(lease);
        Ok(())
    }

    /// A stage that is done.
    fn finished(&self, index: usize) -> Option<Finished> {
        match self.lock().stages.get(index) {
            Some(Progress::Done(finished)) => Some((**finished).clone()),
            _ => None,
        }
    }

    /// Whether to go on: nobody has ended the build, and no other stage has failed.
    fn check(&self) -> Result<()> {
        self.cancel.check()
    }

    /// Puts the image in and gives it its names.
    fn finish(&self, tell: &mut dyn FnMut(Event)) -> Result<Built> {
        let unused: Vec<&str> = {
            let shared = self.lock();
            let declared = |name: &&String| {
                shared.consumed.contains(*name)
                    || self.plan.globals.contains_key(*name)
                    || crate::plan::PREDEFINED.contains(&name.as_str())
                    || name.starts_with("BUILDKIT_")
                    || *name == "SOURCE_DATE_EPOCH"
            };
            let names = self.options.arguments.keys();
            names.filter(|name| !declared(name)).map(String::as_str).collect()
        };
        if !unused.is_empty() {
            let text = format!("One or more build-args [{}] were not consumed", unused.join(" "));
            tell(Event::Warning { text });
        }
        let missing = || Error::refused("the target was not built");
        let Finished { state, .. } = self.finished(self.plan.target).ok_or_else(missing)?;
        let blobs = state.layers.iter().map(|layer| layer.blob.clone()).collect();
        let document = state.document();
        let image = match &state.image {
            // Nothing was done to it: it is the same image, under further names.
            Some(image) => {
                for tag in &self.options.tags {
                    self.builder.images.tag(&image.id.to_string(), tag)?;
                }
                self.builder.images.load(&image.descriptor)?
            }
            None => {
                let tags = &self.options.tags;
                self.builder.images.put_image(&self.lease, &document, blobs, tags)?
            }
        };
        tell(Event::Built { image: image.id.to_string() });
        for tag in &self.options.tags {
            tell(Event::Tagged { name: tag.familiar() });
        }
        let mut shared = self.lock();
        let (materials, cached_more) = (std::mem::take(&mut shared.materials), shared.cached_more);
        Ok(Built { image, layers: state.chain(), materials, cached_more })
    }
}
