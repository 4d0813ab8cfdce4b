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

    /// Removes all of it.
    ///
    /// # Errors
    /// With the path that could not be removed; the next engine that is opened tries again.
    pub fn remove(self) -> Result<()> {
        // A crash in between must not leave a container that looks complete.
        remove(&self.directory, &self.running)
    }
}

/// Without its `config.json`, a directory is no container any more; the file in `running/` stays
/// until the last byte is gone, so that a crash in between is repaired.
pub(super) fn remove(directory: &Path, running: &Path) -> Result<()> {
    let config = directory.join("config.json");
    match std::fs::remove_file(&config) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).at("remove", &config);
        }
        _ => {}
    }
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
