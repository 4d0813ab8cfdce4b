//! What `RUN` needs of whoever can run containers.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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
    pub writable: &'a std::path::Path,
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
    /// Ends it.
    pub cancel: &'a Cancel,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Its exit status; 128 and the signal's number where one has killed it.
    pub status: i32,
}

// ANCHOR: runner
/// Who runs commands.
pub trait Runner: Sync {
    /// Runs a command to its end. When this returns nothing of it is left but the changes.
    ///
    /// # Errors
    /// [`crate::Error::Cancelled`]; what keeps it from running.
    fn run(&self, step: &Step<'_>, tell: &mut dyn FnMut(Told<'_>)) -> Result<Ended>;
}
// ANCHOR_END: runner

/// Who knows images.
pub trait Bases: Sync {
    /// The image of that name, fetched and unpacked where that is missing, or with `pull` in any case.
    ///
    /// # Errors
    /// Where it is not to be had.
    fn base(
        &self,
        name: &str,
        platform: Option<&str>,
        pull: bool,
        tell: &mut dyn FnMut(&str),
    ) -> Result<corten_registry::Image>;
}
