//! Stages at the same time where they can be.

use std::sync::PoisonError;
use std::sync::mpsc::{Sender, channel};

use super::{Progress, Session};
use crate::error::{Error, Result};
use crate::plan::StagePlan;
use crate::progress::Event;

impl Session<'_> {
    // ANCHOR: go
    /// Builds all stages that are wanted: each as soon as those are done that it needs.
    pub(super) fn go(&self, tell: &mut dyn FnMut(Event)) -> Result<()> {
        let wanted = self.plan.wanted().count();
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let jobs = match (self.options.classic, self.options.jobs) {
            (true, _) => 1,
            (false, 0) => processors.min(wanted),
            (false, jobs) => jobs.min(wanted),
        };
        std::thread::scope(|scope| -> Result<()> {
            let (events, told) = channel();
            for _ in 0..jobs.max(1) {
                let events = events.clone();
                let work = move || self.work(&events);
                std::thread::Builder::new()
                    .name("build".into())
                    .spawn_scoped(scope, work)
                    .map_err(|source| Error::Io {
                        operation: "start",
                        path: "a thread".into(),
                        source,
                    })?;
            }
            drop(events);
            // Ends when the last thread has.
            told.into_iter().for_each(tell);
            Ok(())
        })?;
        match self.lock().failed.take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
    // ANCHOR_END: go

    // ANCHOR: work
    /// One thread: takes the first stage that can be begun.
    fn work(&self, events: &Sender<Event>) {
        let mut shared = self.lock();
        loop {
            if shared.failed.is_some() {
                return;
            }
            let mut open = self
                .plan
                .wanted()
                .filter(|stage| matches!(shared.stages.get(stage.index), Some(Progress::Open)));
            let is_done =
                |need: &usize| matches!(shared.stages.get(*need), Some(Progress::Done(_)));
            let next = open.clone().find(|stage| stage.needs.iter().all(is_done));
            let Some(next) = next else {
                if open.next().is_none() {
                    return;
                }
                shared = self.changed.wait(shared).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            if let Some(progress) = shared.stages.get_mut(next.index) {
                *progress = Progress::Running;
            }
            drop(shared);
            self.build(next, events);
            shared = self.lock();
        }
    }

    /// Builds a stage, and tells the others how that has ended.
    fn build(&self, stage: &StagePlan, events: &Sender<Event>) {
        let built = self.stage(stage, events);
        let mut shared = self.lock();
        match built {
            Ok(finished) => {
                if let Some(progress) = shared.stages.get_mut(stage.index) {
                    *progress = Progress::Done(Box::new(finished));
                }
            }
            Err(error) => {
                // What others say afterwards is that they were told to stop.
                if shared.failed.as_ref().is_none_or(Error::is_cancelled) {
                    shared.failed = Some(error);
                }
                self.cancel.cancel();
            }
        }
        drop(shared);
        self.changed.notify_all();
    }
    // ANCHOR_END: work

    /// Builds the stage `index`, or waits until it is built: `own` needs it, which nobody knew before, for
    /// a trigger of its base image says so.
    pub(super) fn need(&self, own: usize, index: usize, events: &Sender<Event>) -> Result<()> {
        let mut shared = self.lock();
        shared.awaited.insert(own, index);
        let mut at = Some(index);
        while let Some(stage) = at {
            if stage == own {
                return Err(Error::refused(format!(
                    "circular dependency detected on stage: its base image's triggers need stage \
                     {index}, which needs it"
                )));
            }
            at = shared.awaited.get(&stage).copied();
        }
        loop {
            if shared.failed.is_some() {
                return Err(Error::Cancelled);
            }
            match shared.stages.get_mut(index) {
                Some(Progress::Done(_)) | None => break,
                Some(Progress::Running) => {
                    shared = self.changed.wait(shared).unwrap_or_else(PoisonError::into_inner);
                }
                Some(progress @ Progress::Open) => {
                    *progress = Progress::Running;
                    drop(shared);
                    if let Some(stage) = self.plan.stages.get(index) {
                        for need in &stage.needs {
                            self.need(index, *need, events)?;
                        }
                        self.build(stage, events);
                    }
                    shared = self.lock();
                }
            }
        }
        shared.awaited.remove(&own);
        Ok(())
    }
}
