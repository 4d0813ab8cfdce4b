//! The store's lock, and who keeps garbage collection away from blobs that no name reaches yet.
//!
//! A pull writes blobs first and the name last, so in between they look like garbage. A [`Lease`]
//! protects them: a directory with a file that lists digests and is held by flock(2) for as long as
//! its owner lives. The kernel releases the lock with the process, however it ends; so a lease
//! whose lock can be had is dead, and what lies in its directory is the rest of a crashed pull.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::digest::Digest;
use crate::error::{At, Result};

/// Name of the file in a lease's directory that lists digests and carries the lock.
const HELD: &str = "held";

/// The lock of index.json and of the blobs' existence. Released when dropped.
#[derive(Debug)]
pub(super) struct StoreLock {
    _file: Flock<File>,
}

impl StoreLock {
    /// Waits for the lock. `shared` where only a lease is touched.
    pub(super) fn wait(dir: &Path, shared: bool) -> Result<StoreLock> {
        let argument = if shared { FlockArg::LockShared } else { FlockArg::LockExclusive };
        loop {
            match Flock::lock(open_lock(dir)?, argument) {
                Ok(file) => return Ok(StoreLock { _file: file }),
                Err((_, Errno::EINTR)) => {}
                Err((_, errno)) => return Err(errno).at("flock", &dir.join("lock")),
            }
        }
    }

    /// Takes the lock alone if nobody has it.
    pub(super) fn try_exclusive(dir: &Path) -> Result<Option<StoreLock>> {
        match Flock::lock(open_lock(dir)?, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Some(StoreLock { _file: file })),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno).at("flock", &dir.join("lock")),
        }
    }
}

fn open_lock(dir: &Path) -> Result<File> {
    let path = dir.join("lock");
    corten_namespaces::lock::open(&path).at("open", &path)
}

// ANCHOR: lease
/// Protects blobs that no name reaches yet, and has a directory for temporary files.
///
/// Dropping it removes the directory; so does the next [`crate::Store::open`] after a crash.
#[derive(Debug)]
pub struct Lease {
    /// Where the store's lock is.
    lock_dir: PathBuf,
    dir: PathBuf,
    held: Flock<File>,
}
// ANCHOR_END: lease

impl Lease {
    pub(super) fn new(lock_dir: &Path) -> Result<Lease> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        // The lock keeps a sweep from taking the directory before its file is locked.
        let _lock = StoreLock::wait(lock_dir, true)?;
        let dir = loop {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let dir = leases(lock_dir).join(format!("{}-{number}", std::process::id()));
            match fs::create_dir(&dir) {
                Ok(()) => break dir,
                // A dead process had our pid; or a living one has it in another pid namespace.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e).at("create directory", &dir),
            }
        };
        let path = dir.join(HELD);
        let file =
            OpenOptions::new().append(true).create_new(true).open(&path).at("create", &path)?;
        let held = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, errno)| errno)
            .at("flock", &path)?;
        Ok(Lease { lock_dir: lock_dir.to_path_buf(), dir, held })
    }

    /// From the return of this call until the lease is dropped, no sweep takes these blobs, whether
    /// they are in the store already or come later.
    ///
    /// # Errors
    /// Where the list cannot be written.
    pub fn hold<'a>(&self, digests: impl IntoIterator<Item = &'a Digest>) -> Result<()> {
        let lines: String = digests.into_iter().map(|digest| format!("{digest}\n")).collect();
        let _lock = StoreLock::wait(&self.lock_dir, true)?;
        (&*self.held).write_all(lines.as_bytes()).at("append to", &self.dir.join(HELD))
    }

    /// Where a temporary file for `digest` belongs.
    pub(super) fn temporary(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next sweep.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn leases(lock_dir: &Path) -> PathBuf {
    lock_dir.join("leases")
}

/// Makes the directories that this module needs.
pub(super) fn prepare(lock_dir: &Path) -> Result<()> {
    for dir in [leases(lock_dir), lock_dir.join("partial"), lock_dir.join("signatures")] {
        fs::create_dir_all(&dir).at("create directory", &dir)?;
    }
    Ok(())
}

/// Removes what dead leases left and gives the digests that living ones hold. The caller has the
/// store's lock alone.
pub(super) fn clear_dead(lock_dir: &Path, _alone: &StoreLock) -> Result<Vec<Digest>> {
    let leases = leases(lock_dir);
    let mut living = Vec::new();
    for entry in fs::read_dir(&leases).at("read directory", &leases)? {
        let dir = entry.at("read directory", &leases)?.path();
        let path = dir.join(HELD);
        let file = match File::open(&path) {
            Ok(file) => Some(file),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(e).at("open", &path),
        };
        let dead = match file.map(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock)) {
            None | Some(Ok(_)) => true,
            Some(Err((_, Errno::EWOULDBLOCK))) => false,
            Some(Err((_, errno))) => return Err(errno).at("flock", &path),
        };
        if dead {
            match fs::remove_dir_all(&dir) {
                // Its owner is just dropping it.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                result => result.at("remove", &dir)?,
            }
        } else {
            let text = match fs::read_to_string(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
                result => result.at("read", &path)?,
            };
            living.extend(text.lines().filter_map(|line| line.parse::<Digest>().ok()));
        }
    }
    Ok(living)
}
