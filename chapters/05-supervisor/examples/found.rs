//! Exercise 5.3: what an engine finds when it comes back.
//!
//! `cargo run -p corten-supervisor --example found -- ROOT`
#![deny(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::ExitCode;

use corten_supervisor::error::{Context, Error, Result};
use corten_supervisor::record::Exit;
use corten_supervisor::settings::Settings;
use corten_supervisor::shim::LOCK;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

// ANCHOR: found
/// What has become of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Its supervisor lives and can be asked.
    Lives,
    /// It has ended with this status.
    Ended(u8),
    /// Its supervisor has been killed: nobody knows.
    Lost,
}

/// What has become of each container below `root`.
///
/// # Errors
/// Where a file of one cannot be read.
pub fn look(root: &Path) -> Result<BTreeMap<String, Found>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(root).during("list the supervisors")?.flatten() {
        let id = entry.file_name().to_string_lossy().into_owned();
        if !id.starts_with('.') {
            found.insert(id, look_at(&entry.path())?);
        }
    }
    Ok(found)
}

fn look_at(directory: &Path) -> Result<Found> {
    let record = Settings::read(directory)?.record;
    // In this order: the end is written before the lock is given up. The other way round, it may be
    // written, and the lock be given up, between our two looks.
    if is_locked(&directory.join(LOCK))? {
        return Ok(Found::Lives);
    }
    Ok(Exit::read(&record)?.map_or(Found::Lost, |exit| Found::Ended(exit.status)))
}

fn is_locked(path: &Path) -> Result<bool> {
    let file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        other => other.map_err(|error| Error::path("open", path, error))?,
    };
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Ok(_) => Ok(false),
        Err((_, Errno::EWOULDBLOCK)) => Ok(true),
        Err((_, errno)) => Err(Error::path("lock", path, errno.into())),
    }
}
// ANCHOR_END: found

fn main() -> ExitCode {
    let Some(root) = std::env::args_os().nth(1) else {
        eprintln!("usage: found ROOT");
        return ExitCode::FAILURE;
    };
    match look(root.as_ref()) {
        Ok(found) => {
            found.iter().for_each(|(id, what)| println!("{id}: {what:?}"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("found: {error}");
            ExitCode::FAILURE
        }
    }
}
