//! Unpacking the layers of an image, several at a time.
//!
//! With overlay a layer's directory depends on the layers below in one point only: a directory that
//! the layer uses without listing it takes its attributes from there. So all layers can be unpacked
//! at the same time, and the rare one that needs the layers below waits for them. With the other
//! drivers a layer begins as a copy of the tree below, so one follows the other.

use std::io::Read;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use corten_namespaces::{Context, Root};

use super::temporary::{Temporary, open_dir, sync_dir};
use super::{DIFF, Layer, LayerStore};
use crate::apply::{Applied, Lower, Options, apply_on};
use crate::compression::Compression;
use crate::digest::{ChainId, DiffId};
use crate::driver::Layout;
use crate::error::{Error, Result};
use crate::merge::merge;
use crate::remove::remove_tree;

/// A layer that shall be in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// What its plain stream must be.
    pub diff_id: DiffId,
    /// How its stream is compressed.
    pub compression: Compression,
}

/// A layer on its way.
enum Progress<'a> {
    /// Not begun, or being unpacked.
    Open,
    /// It was in the store already.
    There(Layer),
    /// Complete, without its name.
    Unpacked(Layer, Temporary<'a>),
    /// It will not come, because of itself or of one below it.
    Failed,
}

struct Work<'a> {
    layers: Mutex<Vec<Progress<'a>>>,
    changed: Condvar,
    next: Mutex<usize>,
    error: Mutex<Option<(usize, Error)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panics holds nothing half-changed here.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LayerStore {
    /// Makes sure that all layers of an image are here, `wanted` from the bottom, on top of
    /// `parent`. At most `at_once` are unpacked at the same time. `open` gives the stream of a layer
    /// by its place in `wanted`; it is called only for those that are missing.
    ///
    /// One syncfs(2) brings all of them to the disk; then they get their names from the bottom up.
    ///
    /// # Errors
    /// As [`LayerStore::ensure`], for the lowest layer that cannot be had. The layers below it are in
    /// the store then.
    pub fn ensure_all<R: Read + Send>(
        &self,
        parent: Option<&ChainId>,
        wanted: &[Wanted],
        at_once: usize,
        open: impl Fn(usize) -> Result<R> + Sync,
    ) -> Result<Vec<Layer>> {
        let chain = chain(parent, wanted);
        // Neither these nor what they stand on is collected meanwhile.
        let keep: Vec<ChainId> = chain.iter().chain(parent).copied().collect();
        let _lease = self.lease(&keep)?;
        let mut progress = Vec::with_capacity(chain.len());
        for chain_id in &chain {
            progress.push(self.get(chain_id)?.map_or(Progress::Open, Progress::There));
        }
        let missing = progress.iter().filter(|layer| matches!(layer, Progress::Open)).count();
        let at_once = match self.driver.layout() {
            Layout::Changes => at_once.clamp(1, missing.max(1)),
            Layout::Whole => 1,
        };
        let work = Work {
            layers: Mutex::new(progress),
            changed: Condvar::new(),
            next: Mutex::new(0),
            error: Mutex::new(None),
        };
        std::thread::scope(|scope| {
            // The last one is this thread.
            for _ in 1..at_once {
                // Where no thread can be had, fewer do the same.
                let help = || self.work(&work, parent, wanted, &chain, &open);
                let _ = std::thread::Builder::new().spawn_scoped(scope, help);
            }
            self.work(&work, parent, wanted, &chain, &open);
        });
        let layers = work.layers.into_inner().unwrap_or_else(PoisonError::into_inner);
        let made = self.publish(layers)?;
        match work.error.into_inner().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(made),
            Some((_, error)) => Err(error),
        }
    }

    /// Takes one layer after the other, from the bottom: whoever waits for a layer below waits for
    /// one that somebody has taken.
    fn work<'a, R: Read + Send>(
        &'a self,
        work: &Work<'a>,
        parent: Option<&ChainId>,
        wanted: &[Wanted],
        chain: &[ChainId],
        open: &(impl Fn(usize) -> Result<R> + Sync),
    ) {
        loop {
            let at = {
                let mut next = lock(&work.next);
                let at = *next;
                *next += 1;
                at
            };
            let (Some(wanted), Some(_)) = (wanted.get(at), chain.get(at)) else { return };
            if !matches!(lock(&work.layers)[at], Progress::Open) {
                continue;
            }
            let below = at.checked_sub(1).map(|below| chain[below]).or(parent.copied());
            let failed = lock(&work.error).is_some();
            let made = match failed {
                true => None,
                false => match self.unpack(work, at, below, wanted, open) {
                    Ok(made) => Some(made),
                    Err(error) => {
                        let mut first = lock(&work.error);
                        if first.as_ref().is_none_or(|(other, _)| at < *other) {
                            *first = Some((at, error));
                        }
                        None
                    }
                },
            };
            lock(&work.layers)[at] =
                made.map_or(Progress::Failed, |(l, t)| Progress::Unpacked(l, t));
            work.changed.notify_all();
        }
    }

    fn unpack<'a, R: Read + Send>(
        &'a self,
        work: &Work<'a>,
        at: usize,
        parent: Option<ChainId>,
        wanted: &Wanted,
        open: &(impl Fn(usize) -> Result<R> + Sync),
    ) -> Result<(Layer, Temporary<'a>)> {
        let whole = self.driver.layout() == Layout::Whole;
        let tree = match (parent, whole) {
            (Some(parent), true) => Some(self.tree_below(work, at, &parent)?),
            _ => None,
        };
        let temporary = Temporary::new(&self.path, &*self.driver, tree.as_deref())?;
        let bottom = parent.is_none();
        let options = Options {
            limits: self.limits,
            marks: self.driver.marks(),
            separate_names: !self.driver.keeps_links(),
            bottom,
            ..Options::default()
        };
        let later = || self.wait_for_below(work, at, parent.as_ref());
        let stream = open(at)?;
        let diff = temporary.path.join(DIFF);
        let applied = match tree {
            None => apply_on(stream, wanted.compression, &Root::open(&diff)?, &options, || {
                Lower::later(&later)
            })?,
            Some(_) => apply_whole(&temporary.path, stream, wanted.compression, &options)?,
        };
        if applied.diff_id != wanted.diff_id {
            return Err(Error::WrongDiffId { expected: wanted.diff_id, actual: applied.diff_id });
        }
        let Applied { entries, bytes: size, opaque_root, diff_id, .. } = applied;
        let chain_id = ChainId::of(parent.as_ref(), &diff_id);
        let layer = Layer { chain_id, diff_id, parent, entries, size, opaque_root };
        temporary.describe(&layer)?;
        Ok((layer, temporary))
    }

    // ANCHOR: publish_all
    /// Brings the layers to the disk and gives them their names, from the bottom up to the first one
    /// that is missing.
    fn publish(&self, layers: Vec<Progress<'_>>) -> Result<Vec<Layer>> {
        let fresh = |layer: &Progress<'_>| matches!(layer, Progress::Unpacked(..));
        if layers.iter().any(fresh) {
            nix::unistd::syncfs(open_dir(&self.path)?).on("syncfs", &self.path)?;
        }
        let mut made = Vec::with_capacity(layers.len());
        for layer in layers {
            match layer {
                Progress::There(layer) => made.push(layer),
                Progress::Unpacked(layer, temporary) => {
                    temporary.publish(&self.directory(&layer.chain_id))?;
                    made.push(layer);
                }
                Progress::Open | Progress::Failed => break,
            }
        }
        sync_dir(&self.path)?;
        Ok(made)
    }
    // ANCHOR_END: publish_all

    /// Waits until all layers below the one at `at` are unpacked, and opens them, topmost first.
    fn wait_for_below(
        &self,
        work: &Work<'_>,
        at: usize,
        parent: Option<&ChainId>,
    ) -> Result<Vec<Root>> {
        let mut layers = lock(&work.layers);
        while layers[..at].iter().any(|layer| matches!(layer, Progress::Open)) {
            layers = work.changed.wait(layers).unwrap_or_else(PoisonError::into_inner);
        }
        let mut roots = Vec::with_capacity(at);
        for below in layers[..at].iter().rev() {
            let (layer, dir) = match below {
                Progress::There(layer) => (layer, self.diff(&layer.chain_id)),
                Progress::Unpacked(layer, temporary) => (layer, temporary.path.join(DIFF)),
                Progress::Open | Progress::Failed => {
                    let why = "a layer below could not be unpacked".into();
                    return Err(Error::Invalid { what: "layer".into(), why });
                }
            };
            roots.push(Root::open(dir)?);
            if layer.opaque_root {
                return Ok(roots);
            }
        }
        // What was there before the first of them.
        let lowest = match (at, parent) {
            (0, parent) => parent.copied(),
            (_, _) => match &layers[0] {
                Progress::There(layer) | Progress::Unpacked(layer, _) => layer.parent,
                Progress::Open | Progress::Failed => None,
            },
        };
        drop(layers);
        if let Some(lowest) = lowest {
            for dir in self.lower_dirs(&lowest)? {
                roots.push(Root::open(dir)?);
            }
        }
        Ok(roots)
    }

    /// The directory of the layer below, for a driver that begins with its tree.
    fn tree_below(
        &self,
        work: &Work<'_>,
        at: usize,
        parent: &ChainId,
    ) -> Result<std::path::PathBuf> {
        let layers = lock(&work.layers);
        match at.checked_sub(1).and_then(|below| layers.get(below)) {
            Some(Progress::Unpacked(_, temporary)) => Ok(temporary.path.clone()),
            Some(Progress::Failed) => Err(self.missing(parent)),
            _ => match self.get(parent)? {
                Some(_) => Ok(self.directory(parent)),
                None => Err(self.missing(parent)),
            },
        }
    }
}

/// Unpacks a layer beside the tree of the layer below, and merges it in.
fn apply_whole(
    dir: &Path,
    stream: impl Read + Send,
    compression: Compression,
    options: &Options,
) -> Result<Applied> {
    let (changes, tree) = (dir.join("changes"), dir.join(DIFF));
    std::fs::create_dir(&changes).on("mkdir", &changes)?;
    let below = [Root::open(&tree)?];
    let changes = Root::open(&changes)?;
    let applied = apply_on(stream, compression, &changes, options, || Lower::Known(&below))?;
    merge(&changes, &below[0], applied.opaque_root)?;
    remove_tree(std::os::fd::AsFd::as_fd(&open_dir(dir)?), "changes".as_ref())
        .on("remove", "changes")?;
    Ok(applied)
}

/// The chain ids of `wanted` on top of `parent`.
fn chain(parent: Option<&ChainId>, wanted: &[Wanted]) -> Vec<ChainId> {
    let mut chain: Vec<ChainId> = Vec::with_capacity(wanted.len());
    for layer in wanted {
        chain.push(ChainId::of(chain.last().or(parent), &layer.diff_id));
    }
    chain
}
