//! One stage, step by step.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::time::Instant;

use corten_registry::Platform;
use corten_registry::notice::Notice;
use corten_unionfs::graft::Graft;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::state::{Layer, State};
use super::staying::Nominal;
use super::{Explained, Finished, NamedContext, Session, describe};
use crate::cache::{Depends, Made, Record};
use crate::change::{Arguments, Scope};
use crate::dockerfile::{Instruction, Kind, Span, instruction_of};
use crate::error::{At, Error, Result};
use crate::expand::{Expanded, Rules, Variables, expand};
use crate::plan::{Base, PREDEFINED, StagePlan, source_stage, sources};
use crate::progress::Event;
use crate::run::Staying;

/// A stage that is being built.
pub(super) struct Stage<'s> {
    pub(super) session: &'s Session<'s>,
    pub(super) plan: &'s StagePlan,
    pub(super) events: &'s Sender<Event>,
    pub(super) state: State,
    /// Arguments that were declared, with their values.
    pub(super) arguments: Arguments,
    /// The step that is being done.
    pub(super) number: usize,
    /// Whether `CMD` was set in this stage.
    pub(super) command_is_set: bool,
    /// With `explain`: a step before this one is not in the cache, so nothing is known any more.
    lost: bool,
    /// What it was before the step, where containers of steps stay that run nothing.
    pub(super) before: Option<State>,
}

/// What a step has made: what the history says of it, and its changes.
pub(super) struct Effect {
    pub(super) created_by: String,
    pub(super) depends: Depends,
}

impl Session<'_> {
    /// Builds one stage.
    pub(super) fn stage(&self, plan: &StagePlan, events: &Sender<Event>) -> Result<Finished> {
        let source = self.file.stages.get(plan.index);
        let source = source.ok_or_else(|| Error::refused("there is no such stage"))?;
        let mut stage = Stage {
            session: self,
            plan,
            events,
            state: State::default(),
            arguments: Arguments::new(),
            number: plan.number,
            command_is_set: false,
            lost: false,
            before: None,
        };
        stage.global_steps();
        stage.step(source.at, &source.text, |stage| stage.begin())?;
        for instruction in &source.instructions {
            stage.number += 1;
            stage.step(instruction.at, &instruction.text, |stage| stage.dispatch(instruction))?;
        }
        let Stage { state, arguments, lost, .. } = stage;
        let _ = events.send(Event::Stage { image: state.id() });
        Ok(Finished { state, arguments, lost })
    }
}

impl Stage<'_> {
    pub(super) fn tell(&self, event: Event) {
        // Nobody listens any more: the build goes on to its end all the same.
        let _ = self.events.send(event);
    }

    fn title(&self) -> String {
        self.plan.name.clone().unwrap_or_else(|| self.plan.index.to_string())
    }

    /// Arguments before the first stage count as steps, as with Docker.
    fn global_steps(&self) {
        if self.plan.index != 0 || !self.session.options.classic {
            return;
        }
        for (index, argument) in self.session.file.arguments.iter().enumerate() {
            let (number, total) = (index + 1, self.session.plan.steps);
            let (stage, text) = (self.title(), argument.text.clone());
            self.tell(Event::Step { number, total, stage, text });
        }
    }

    fn step(
        &mut self,
        at: Span,
        text: &str,
        act: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        self.session.check()?;
        let (number, total) = (self.number, self.session.plan.steps);
        self.tell(Event::Step { number, total, stage: self.title(), text: text.to_owned() });
        let begin = Instant::now();
        if self.session.options.explain {
            self.session.lock().explained.push(Explained {
                number,
                stage: self.title(),
                text: text.to_owned(),
                wanted: true,
                miss: None,
            });
        }
        if self.session.options.staying == Staying::All {
            self.before = Some(self.state.clone());
        }
        if let Err(error) = act(self) {
            if !error.is_cancelled() {
                self.tell(Event::Failed { number });
            }
            return Err(error.at(&self.session.file.place(at)));
        }
        self.tell(Event::Done { number, image: self.state.id(), took: begin.elapsed() });
        Ok(())
    }

    /// `FROM`.
    fn begin(&mut self) -> Result<()> {
        let session = self.session;
        self.state = match &self.plan.base {
            Base::Scratch => {
                let platform = self.platform();
                State::scratch(&platform)
            }
            Base::Stage(index) => {
                let missing = || Error::refused("the stage before was not built");
                let before = session.finished(*index).ok_or_else(missing)?;
                if !session.options.classic {
                    self.arguments = before.arguments;
                }
                self.lost = before.lost;
                before.state
            }
            Base::Image(name) => {
                let platform = self.plan.platform.as_ref().or(session.options.platform.as_ref());
                let pull = session.options.pull;
                let image = session.base(name, platform.map(String::as_str), pull, &|notice| {
                    self.tell(Event::Fetching { number: self.number, notice });
                })?;
                State::of_image(image)?
            }
        };
        session.hold(&self.state.chain())?;
        session.lease.hold(self.state.layers.iter().map(|layer| &layer.blob.digest))?;
        self.predefined();
        let triggers = std::mem::take(&mut self.state.config.on_build);
        if triggers.is_empty() {
            return Ok(());
        }
        let many = if triggers.len() == 1 { "" } else { "s" };
        let text = format!("# Executing {} build trigger{many}", triggers.len());
        self.tell(Event::Note { number: self.number, text });
        for trigger in triggers {
            let bad = |why| Error::invalid(format!("the base's trigger ONBUILD {trigger}"), why);
            let instruction = instruction_of(&trigger).map_err(bad)?;
            for from in sources(&instruction) {
                let own = self.plan.index;
                let stage = source_stage(session.file, &from, own).map_err(Error::refused)?;
                if let Some(stage) = stage {
                    session.need(own, stage, self.events)?;
                }
            }
            self.dispatch(&instruction)?;
        }
        Ok(())
    }

    fn platform(&self) -> Platform {
        let wanted = self.plan.platform.as_ref().or(self.session.options.platform.as_ref());
        match wanted {
            Some(text) => parse_platform(text),
            None => Platform::host(),
        }
    }

    /// Arguments that need no declaration.
    fn predefined(&mut self) {
        for name in PREDEFINED {
            if let Some(value) = self.session.options.arguments.get(name) {
                self.arguments.entry(name.to_owned()).or_insert(Some(value.clone()));
            }
        }
    }

    /// A word with its variables expanded.
    pub(super) fn expand(&self, word: &str) -> Result<Expanded> {
        let rules = Rules::new(self.session.file.directives.escape);
        let scope = Scope(&self.state.config, &self.arguments);
        expand(word, rules, &scope).map_err(Error::refused)
    }

    pub(super) fn word(&self, word: &str) -> Result<String> {
        Ok(self.expand(word)?.text)
    }

    pub(super) fn scope(&self) -> impl Variables + '_ {
        Scope(&self.state.config, &self.arguments)
    }

    fn dispatch(&mut self, instruction: &Instruction) -> Result<()> {
        self.lost |= self.reads_lost(instruction);
        if self.lost {
            self.miss("a step before it must be done");
            return Ok(());
        }
        match &instruction.kind {
            Kind::Add(copy) => self.copy(copy, true),
            Kind::Copy(copy) => self.copy(copy, false),
            Kind::Run(run) => self.run(run),
            kind @ Kind::Workdir(_) => self.workdir(kind),
            _ => self.configure(&instruction.kind),
        }
    }

    /// With `explain`: whether it reads a stage of which nothing is known.
    fn reads_lost(&self, instruction: &Instruction) -> bool {
        let (session, own) = (self.session, self.plan.index);
        session.options.explain
            && sources(instruction).iter().any(|from| {
                let stage = source_stage(session.file, from, own).ok().flatten();
                stage.and_then(|stage| session.finished(stage)).is_some_and(|stage| stage.lost)
            })
    }

    /// Says why a step is not in the cache, with `explain`.
    fn miss(&self, why: &str) {
        let mut shared = self.session.lock();
        if let Some(step) = shared.explained.iter_mut().find(|step| step.number == self.number) {
            step.miss = Some(why.to_owned());
        }
    }

    /// `WORKDIR`.
    fn workdir(&mut self, kind: &Kind) -> Result<()> {
        let text = self.change(kind)?;
        let directory = self.state.config.working_dir.clone();
        let depends = self.depends(&text);
        let effect = Effect { created_by: describe::nop_files(&self.state.config, &text), depends };
        self.cached(effect, |stage| {
            stage.nominal_container(&Nominal::Directory(&text))?;
            stage.change_tree(|root| {
                let made = Graft::new(root, (0, 0), &|mode, _| mode).make(directory.as_ref());
                Ok(made?)
            })
        })
    }

    // ANCHOR: depends
    /// What every step depends on.
    pub(super) fn depends(&self, instruction: &str) -> Depends {
        let mut settings = BTreeMap::new();
        if let Some(date) = self.session.options.source_date_epoch {
            settings.insert("SOURCE_DATE_EPOCH".to_owned(), date.to_string());
        }
        let (instruction, parent) = (instruction.to_owned(), self.state.digest());
        Depends { instruction, parent, settings, ..Depends::default() }
    }
    // ANCHOR_END: depends

    // ANCHOR: cached
    /// Does a step by `act`, unless the cache knows what comes of it.
    pub(super) fn cached(
        &mut self,
        effect: Effect,
        act: impl FnOnce(&mut Self) -> Result<Option<Layer>>,
    ) -> Result<()> {
        let Effect { created_by, depends } = effect;
        let (session, key) = (self.session, depends.key());
        // The classic builder's cache is that of the images which are named, where some are.
        let misses = session.options.classic
            && !session.options.cache_from.is_empty()
            && session.borrowed.is_empty();
        let no_cache = session.options.no_cache || misses;
        if !no_cache && let Some(record) = session.cache.find(&key) {
            let layer = match &record.layer {
                None => Some(None),
                Some(made) => session.cached_layer(made)?.map(Some),
            };
            if let Some(layer) = layer {
                self.tell(Event::Cached { number: self.number });
                self.state.add(&record.created, &created_by, layer);
                return Ok(());
            }
        }
        if !session.options.no_cache
            && let Some((created, layer)) = self.borrowed(&created_by)?
        {
            self.tell(Event::Cached { number: self.number });
            self.state.add(&created, &created_by, layer);
            return Ok(());
        }
        if session.options.explain {
            let why = match session.options.no_cache {
                true => "--no-cache".to_owned(),
                false => session.cache.why_not(&depends),
            };
            self.miss(&why);
            // A change of the configuration is known all the same, one of the tree is not.
            let instruction = depends.instruction.split(' ').next().unwrap_or_default();
            self.lost = matches!(instruction, "RUN" | "COPY" | "ADD" | "WORKDIR");
            self.state.add("", &created_by, None);
            return Ok(());
        }
        let layer = act(self)?;
        let created = self.now()?;
        let made = layer.as_ref().map(|layer| Made {
            blob: layer.blob.digest.to_string(),
            size: layer.blob.size,
            diff_id: layer.diff_id,
            chain_id: layer.chain_id,
        });
        let record = Record { depends, created, layer: made };
        session.cache.put(&key, &record, session.builder.images)?;
        session.lock().cached_more |= layer.is_some();
        self.state.add(&record.created, &created_by, layer);
        Ok(())
    }
    // ANCHOR_END: cached

    /// The time that the image is to tell.
    pub(super) fn now(&self) -> Result<String> {
        let now = match self.session.options.source_date_epoch {
            Some(date) => OffsetDateTime::from_unix_timestamp(date)
                .map_err(|why| Error::invalid("SOURCE_DATE_EPOCH", why.to_string()))?,
            None => OffsetDateTime::now_utc(),
        };
        now.format(&Rfc3339).map_err(|why| Error::invalid("the time", why.to_string()))
    }

    // ANCHOR: change_tree
    /// Changes the tree of the stage, and makes a layer of that.
    pub(super) fn change_tree(
        &self,
        change: impl FnOnce(&corten_namespaces::Root) -> Result<()>,
    ) -> Result<Option<Layer>> {
        let session = self.session;
        let writable = session.work.directory()?;
        let parent = self.state.top().copied();
        let layers = session.builder.layers;
        let tree =
            layers.build_driver().mount(&layers.lowers(parent.as_ref())?, Some(&writable))?;
        let root = corten_namespaces::Root::from_fd(tree, "/");
        let changed = change(&root);
        drop(root);
        changed?;
        let layer = session.commit(parent.as_ref(), false, &writable)?;
        session.work.discard(&writable);
        Ok(layer)
    }
    // ANCHOR_END: change_tree
}

/// `OS/ARCHITECTURE[/VARIANT]`; an architecture alone is Linux's.
pub(crate) fn parse_platform(text: &str) -> Platform {
    let parts: Vec<&str> = text.split('/').collect();
    match parts.as_slice() {
        [os, architecture, variant, ..] => Platform::new(os, architecture, Some(variant)),
        [os, architecture] => Platform::new(os, architecture, None),
        _ => Platform::new("linux", text, None),
    }
}

impl Session<'_> {
    /// An image, which is noted among the materials.
    pub(super) fn base(
        &self,
        name: &str,
        platform: Option<&str>,
        pull: bool,
        tell: &dyn Fn(Notice),
    ) -> Result<corten_registry::Image> {
        let name = match self.options.contexts.get(&name.to_lowercase()) {
            None => name,
            Some(NamedContext::Image(image)) => image,
            Some(NamedContext::Folder(folder)) => {
                return Err(Error::refused(format!(
                    "the context {name} is the folder {}: COPY --from and RUN --mount can use it, \
                     FROM cannot",
                    folder.display()
                )));
            }
        };
        let image = self.builder.bases.base(name, platform, pull, &mut |notice| tell(notice))?;
        self.lock().materials.insert(name.to_owned(), image.id.to_string());
        Ok(image)
    }

    /// The bytes of a file of the host.
    pub(super) fn read_host(path: &std::path::Path) -> Result<Vec<u8>> {
        std::fs::read(path).at("read", path)
    }
}
