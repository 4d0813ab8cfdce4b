//! A container that exists: found below `--root`, with its status.

use std::fmt;
use std::path::{Path, PathBuf};

use corten_namespaces::error::Context;
use serde::Serialize;

use crate::bundle::Bundle;
use crate::cgroup::{Cgroup, Saved};
use crate::error::{Error, Result};
use crate::id::ContainerId;
use crate::state::{Directory, Init, Lock, State};

/// The status of a container, in the words of the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// `create` is at work.
    Creating,
    /// Made, and waiting for `start`.
    Created,
    /// Its program runs.
    Running,
    /// Its first process has ended.
    Stopped,
    /// Its control group is frozen.
    Paused,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Stopped => "stopped",
            Status::Paused => "paused",
        })
    }
}

/// The name of the socket on which a created container waits.
pub(crate) const START_SOCKET: &str = "start.sock";

/// A container.
#[derive(Debug)]
pub struct Container {
    /// Its files.
    pub directory: Directory,
    /// What is written of it.
    pub state: State,
}

impl Container {
    /// Finds the container `id` below `root`.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn load(root: &Path, id: &ContainerId) -> Result<Container> {
        let directory = Directory::new(root, id);
        match directory.read()? {
            Some(state) => Ok(Container { directory, state }),
            None => Ok(Container { directory, state: State::unwritten(id) }),
        }
    }

    /// Finds it, and holds its lock against other callers.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Busy`].
    pub fn locked(root: &Path, id: &ContainerId) -> Result<(Container, Lock)> {
        let lock = Directory::new(root, id).lock()?;
        Ok((Container::load(root, id)?, lock))
    }

    /// The name.
    pub fn id(&self) -> &str {
        &self.state.id
    }

    // ANCHOR: status
    /// What it is doing. Nothing of this is stored: a crash could make it untrue.
    pub fn status(&self) -> Status {
        let Some(init) = self.state.init else {
            // Without a process, creation is at work or was cut off, which the lock tells.
            return match self.directory.lock() {
                Err(Error::Busy { .. }) => Status::Creating,
                _ => Status::Stopped,
            };
        };
        if !init.is_alive() {
            return Status::Stopped;
        }
        if !self.state.complete {
            return Status::Creating;
        }
        if self.directory.path().join(START_SOCKET).exists() {
            return Status::Created;
        }
        let freezer = self.state.cgroup.as_ref().map(Saved::freezer);
        match freezer.map(|freezer| Cgroup::open(&freezer)) {
            Some(Ok(freezer)) if freezer.is_frozen() => Status::Paused,
            _ => Status::Running,
        }
    }
    // ANCHOR_END: status

    /// The first process, where it is alive.
    ///
    /// # Errors
    /// [`Error::Status`] where the container has stopped.
    pub fn init(&self, operation: &'static str) -> Result<Init> {
        match self.state.init {
            Some(init) if init.is_alive() => Ok(init),
            _ => Err(self.wrong_status(operation, Status::Stopped, "")),
        }
    }

    /// That `operation` cannot be done in this status.
    pub fn wrong_status(
        &self,
        operation: &'static str,
        status: Status,
        hint: &'static str,
    ) -> Error {
        Error::Status { operation, id: self.id().to_owned(), status, hint }
    }

    /// Its control groups, where it has any.
    ///
    /// # Errors
    /// Where they cannot be found any more.
    pub fn cgroup(&self) -> Result<Option<Cgroup>> {
        self.state.cgroup.as_ref().map(Cgroup::open).transpose()
    }

    /// The configuration with which it was created.
    ///
    /// # Errors
    /// Where its copy cannot be read.
    pub fn bundle(&self) -> Result<Bundle> {
        let file = self.directory.path().join("config.json");
        let text = std::fs::read_to_string(&file).on("read", &file)?;
        Bundle::parse(self.state.bundle.clone(), text)
    }

    /// What `state` prints and hooks read.
    pub fn report(&self, status: Status) -> StateReport<'_> {
        let alive = status != Status::Stopped;
        StateReport {
            oci_version: &self.state.oci_version,
            id: &self.state.id,
            pid: self.state.init.filter(|_| alive).map_or(0, |init| init.pid),
            status,
            bundle: &self.state.bundle,
            rootfs: &self.state.rootfs,
            created: &self.state.created,
            owner: &self.state.owner,
            annotations: &self.state.annotations,
        }
    }
}

impl State {
    /// The state of a container whose creation was cut off before any was written.
    fn unwritten(id: &ContainerId) -> State {
        State {
            oci_version: crate::OCI_VERSION.to_owned(),
            id: id.to_string(),
            bundle: PathBuf::new(),
            rootfs: PathBuf::new(),
            created: String::new(),
            owner: String::new(),
            annotations: Default::default(),
            init: None,
            complete: false,
            cgroup: None,
            mounts_before: None,
            rdt: None,
            stdio: Vec::new(),
        }
    }
}

/// The state of a container as the specification lays it out, with runc's additions.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StateReport<'a> {
    /// The version of the specification.
    pub oci_version: &'a str,
    /// The name.
    pub id: &'a str,
    /// The first process, 0 where there is none.
    pub pid: libc::pid_t,
    /// The status.
    pub status: Status,
    /// The bundle.
    pub bundle: &'a Path,
    /// The root file system.
    pub rootfs: &'a Path,
    /// When it was created.
    pub created: &'a str,
    /// By whom.
    pub owner: &'a str,
    /// The annotations.
    pub annotations: &'a std::collections::BTreeMap<String, String>,
}
