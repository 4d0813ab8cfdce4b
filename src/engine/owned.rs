//! A container that this process owns: its files.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::Flock;

use super::error::{At, Result};
use super::record::{Record, State};
use corten_supervisor::durable::{self, Worth};

/// A container that this process owns: nobody else removes or changes it.
#[derive(Debug)]
pub struct Owned {
    /// What it is.
    pub record: Record,
    pub(super) directory: PathBuf,
    pub(super) running: PathBuf,
    pub(super) _lock: Flock<File>,
}

impl Owned {
    pub(super) fn fill(&self) -> Result<()> {
        for path in [&self.directory, &self.rootfs()] {
            let mut builder = std::fs::DirBuilder::new();
            builder.mode(0o700).create(path).at("make", path)?;
        }
        durable::write_json(&self.directory.join("config.json"), &self.record, self.worth())?;
        self.set_state(&State::Created)?;
        match self.worth() {
            Worth::Durable => {
                Ok(durable::sync_directory(self.directory.parent().unwrap_or(Path::new("/")))?)
            }
            Worth::Volatile => Ok(()),
        }
    }

    /// Makes one that was to be removed at its end one that stays, with another record.
    ///
    /// # Errors
    /// Where a file cannot be written; it is to be removed then.
    pub(super) fn keep(&mut self, record: Record) -> Result<()> {
        let state = self.state()?;
        // Last: whoever finds it believes it.
        let before = std::mem::replace(&mut self.record, record);
        let kept = self.set_state(&state).and_then(|()| {
            let path = self.directory.join("config.json");
            durable::write_json(&path, &self.record, Worth::Durable)?;
            Ok(durable::sync_directory(self.directory.parent().unwrap_or(Path::new("/")))?)
        });
        if kept.is_err() {
            self.record = before;
        }
        kept
    }

    /// After a power cut a container that was to be removed is removed, whatever is known of it.
    fn worth(&self) -> Worth {
        if self.record.auto_remove() { Worth::Volatile } else { Worth::Durable }
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where its root is attached.
    pub fn rootfs(&self) -> PathBuf {
        self.directory.join("rootfs")
    }

    /// How far it is.
    ///
    /// # Errors
    /// Where its file cannot be read or understood.
    pub fn state(&self) -> Result<State> {
        Ok(durable::read_json(&self.directory.join("state.json"))?.unwrap_or(State::Created))
    }

    /// Whether it was started, and nobody has written down its end since.
    pub(super) fn ran(&self) -> Result<bool> {
        Ok(matches!(self.state()?, State::Running { .. }))
    }

    /// Writes how far it is.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn set_state(&self, state: &State) -> Result<()> {
        Ok(durable::write_json(&self.directory.join("state.json"), state, self.worth())?)
    }

    /// Forgets how it ended before.
    ///
    /// # Errors
    /// Where the file cannot be removed.
    pub fn forget_exit(&self) -> Result<()> {
        let path = self.directory.join(corten_supervisor::record::EXIT_FILE);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).at("remove", &path)
            }
            _ => Ok(()),
        }
    }

    /// Gives it up while it runs: from now on it is its supervisor's.
    pub fn hand_over(self) {
        drop(self);
    }

    /// Gives it up: it has ended, and stays.
    ///
    /// # Errors
    /// Where its file in `running/` cannot be removed.
    pub fn release(self) -> Result<()> {
        std::fs::remove_file(&self.running).at("remove", &self.running)
    }

    /// Makes it no container any more: whatever happens now, all of it is going to be removed. Without
    /// its `config.json` a directory is none; where volumes go with it, that has another name now and
    /// says which.
    ///
    /// # Errors
    /// Where it cannot be removed or renamed.
    pub(super) fn condemn(&self, with_volumes: bool) -> Result<()> {
        let config = self.directory.join("config.json");
        let done = match with_volumes {
            true => std::fs::rename(&config, self.directory.join(CONDEMNED)),
            false => std::fs::remove_file(&config),
        };
        match done {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).at("remove", &config)
            }
            _ => Ok(()),
        }
    }

    /// Removes all of it.
    ///
    /// # Errors
    /// With the path that could not be removed; the next engine that is opened tries again.
    pub fn remove(self) -> Result<()> {
        self.condemn(false)?;
        remove(&self.directory, &self.running)
    }
}

/// The record of a container whose volumes are removed with it.
const CONDEMNED: &str = "removed.json";

/// The record of a container that is being removed with its volumes.
pub(super) fn condemned(directory: &Path) -> Option<Record> {
    durable::read_json(&directory.join(CONDEMNED)).unwrap_or(None)
}

/// Removes the directory of what is no container any more. The file in `running/` stays until the last
/// byte is gone, so that a crash in between is repaired.
pub(super) fn remove(directory: &Path, running: &Path) -> Result<()> {
    // A container may nest directories deeper than this process may hold descriptors, which
    // `std::fs::remove_dir_all` would need.
    if let (Some(parent), Some(name)) = (directory.parent(), directory.file_name()) {
        let parent = File::open(parent).at("open", parent)?;
        match corten_unionfs::remove::remove_tree(parent.as_fd(), name) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno).at("remove", directory),
        }
    }
    std::fs::remove_file(running).at("remove", running)
}
