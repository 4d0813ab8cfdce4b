//! What `RUN` needs of whoever can run containers.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use corten_registry::notice::Notice;
use corten_unionfs::ChainId;
use nix::sys::eventfd::{EfdFlags, EventFd};
use serde_json::Value;

use crate::error::{At, Result};

/// Ends a build from outside: another thread, a signal.
#[derive(Debug, Clone)]
pub struct Cancel(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    told: AtomicBool,
    event: EventFd,
    /// Parts of the same work, which end with it.
    parts: Mutex<Vec<Cancel>>,
}

impl Cancel {
    /// One that nobody has used yet.
    ///
    /// # Errors
    /// Where there is no descriptor left.
    pub fn new() -> Result<Cancel> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = EventFd::from_value_and_flags(0, flags).at("make", "an eventfd")?;
        let parts = Mutex::default();
        Ok(Cancel(Arc::new(Inner { told: AtomicBool::new(false), event, parts })))
    }

    /// One that is told when this one is, and that can be told alone.
    ///
    /// # Errors
    /// As [`Cancel::new`].
    pub fn part(&self) -> Result<Cancel> {
        let part = Cancel::new()?;
        self.0.parts.lock().unwrap_or_else(PoisonError::into_inner).push(part.clone());
        if self.is_cancelled() {
            part.cancel();
        }
        Ok(part)
    }

    /// Ends the build as soon as may be.
    pub fn cancel(&self) {
        self.0.told.store(true, Ordering::SeqCst);
        // Nobody ever reads it, so it stays readable for all who wait.
        let _ = self.0.event.write(1);
        let parts = self.0.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().for_each(Cancel::cancel);
    }

    /// Whether the build shall end.
    pub fn is_cancelled(&self) -> bool {
        self.0.told.load(Ordering::SeqCst)
    }

    /// [`crate::Error::Cancelled`], where it shall.
    ///
    /// # Errors
    /// That.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(crate::Error::Cancelled) } else { Ok(()) }
    }
}

impl AsFd for Cancel {
    /// Readable when the build shall end.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.event.as_fd()
    }
}

/// What is mounted for a command, beside its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is seen.
    pub target: String,
    /// What it is.
    pub source: MountSource,
    /// Whether the command can write to it.
    pub writable: bool,
}

/// What can be mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSource {
    /// A file or directory of the host.
    Host(PathBuf),
    /// Memory, of so many bytes at most; 0 for no limit.
    Memory(u64),
}

/// A container's limits and the like, as the API's `POST /build` has them; 0 and empty mean none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resources {
    /// Docker's `HostConfig`, as far as it was asked for.
    pub host_config: serde_json::Map<String, Value>,
}

/// One command to be run.
#[derive(Debug)]
pub struct Step<'a> {
    /// The layers of its root, lowest first.
    pub layers: &'a [ChainId],
    /// The id of the image that it began with.
    pub image: &'a str,
    /// Docker's `Config` of the container: command, environment, user, working directory.
    pub config: Value,
    /// An empty directory; changes go to `upper` in it, as chapter 3's driver for builds has them.
    pub writable: &'a Path,
    /// What is mounted.
    pub mounts: Vec<Mount>,
    /// `default`, `none`, `host`, or a network.
    pub network: &'a str,
    /// Whether it has all rights.
    pub insecure: bool,
    /// Whether places that the image calls volumes are volumes, whose content is lost.
    pub volumes: bool,
    /// Limits.
    pub resources: &'a Resources,
    /// What its container is, where that may stay.
    pub stay: Option<Stay<'a>>,
    /// Ends it.
    pub cancel: &'a Cancel,
}

/// Which containers of a build stay, to be looked at, as the classic builder's do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Staying {
    /// None.
    #[default]
    Nothing,
    /// Those of commands that have failed.
    Failed,
    /// All, those of steps that run nothing, too.
    All,
}

/// What a container is that stays.
pub struct Stay<'a> {
    /// Whether it also stays where the command succeeds.
    pub always: bool,
    /// Docker's `Config`, without what only the command may see: secrets.
    pub config: Value,
    /// Makes an image of what the step stands on; gives its id.
    pub image: &'a (dyn Fn() -> Result<String> + 'a),
}

impl std::fmt::Debug for Stay<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stay").field("always", &self.always).finish_non_exhaustive()
    }
}

/// What a command tells while it runs.
#[derive(Debug)]
pub enum Told<'a> {
    /// The container is made: its id.
    Started(&'a str),
    /// It has written to its standard output.
    Output(&'a [u8]),
    /// It has written to its standard error.
    Error(&'a [u8]),
    /// The container is gone.
    Removed(&'a str),
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status; 128 and the signal's number where one has killed it.
    pub status: i32,
    /// The container, where it stays.
    pub stays: Option<Box<dyn Stayed>>,
}

impl Ended {
    /// With a status, and nothing that stays.
    pub fn with(status: i32) -> Ended {
        Ended { status, stays: None }
    }
}

/// A container that stays. Nobody starts or removes it while this is held.
pub trait Stayed: std::fmt::Debug {
    /// Where the changes are now that were in [`Step::writable`]: they are the container's.
    fn changes(&self) -> &Path;
}

// ANCHOR: runner
/// Who runs commands.
pub trait Runner: Sync {
    /// Runs a command to its end. When this returns nothing of it is left but the changes, and the container
    /// where `stay` says so and this runner has any.
    ///
    /// # Errors
    /// [`crate::Error::Cancelled`]; what keeps it from running.
    fn run(&self, step: &Step<'_>, tell: &mut dyn FnMut(Told<'_>)) -> Result<Ended>;

    /// Makes the container of a step that runs nothing, to stay; gives its id. `None` where this runner has
    /// none that stay.
    ///
    /// # Errors
    /// What keeps it from being made.
    fn make(&self, _step: &Step<'_>) -> Result<Option<String>> {
        Ok(None)
    }
}
// ANCHOR_END: runner

/// Who is told what there is to see of an image that is fetched.
pub type Tell<'a> = &'a mut dyn FnMut(Notice);

/// Who knows images.
pub trait Bases: Sync {
    /// The image of that name, fetched and unpacked where that is missing, or with `pull` in any case. What
    /// there is to see of that, `tell` is told.
    ///
    /// # Errors
    /// Where it is not to be had.
    fn base(
        &self,
        name: &str,
        platform: Option<&str>,
        pull: bool,
        tell: Tell<'_>,
    ) -> Result<corten_registry::Image>;
}
