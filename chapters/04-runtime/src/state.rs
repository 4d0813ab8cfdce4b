//! What is known of containers between two invocations: a directory per container below `--root`.
//!
//! ```text
//! ROOT/ID/state.json    written by rename, so it is whole or absent
//! ROOT/ID/config.json   the configuration as it was when the container was created
//! ROOT/ID/start.sock    there while the container is created and not yet started
//! ```
//!
//! The directory is the lock, too: who changes a container holds flock(2) on it, which ends with
//! its holder however that ends.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use corten_namespaces::error::{Context, KernelError};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::cgroup;
use crate::error::{Error, Result};
use crate::id::ContainerId;

// ANCHOR: state
/// What state.json holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The version of the specification that the configuration names.
    pub oci_version: String,
    /// The container's name.
    pub id: String,
    /// Its bundle, absolute.
    pub bundle: PathBuf,
    /// Its root file system, absolute.
    pub rootfs: PathBuf,
    /// When it was created, in RFC 3339.
    pub created: String,
    /// The user who created it.
    pub owner: String,
    /// The configuration's annotations.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Its first process; absent until there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<Init>,
    /// Whether `create` has come to its end.
    #[serde(default)]
    pub complete: bool,
    /// Its control groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<cgroup::Saved>,
    /// How many mounts there were at its root before it, where it has no mount namespace: one more
    /// is its own, in the caller's namespace, and goes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mounts_before: Option<usize>,
    /// The intelRdt group to be removed with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rdt: Option<PathBuf>,
    /// Whether its descriptors 0, 1, 2 are pipes or files: CRIU wants their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stdio: Vec<String>,
}

/// A process that cannot be mistaken for another: numbers are used again, start times are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Init {
    /// Its number.
    pub pid: libc::pid_t,
    /// When it started, in clock ticks after boot (field 22 of /proc/PID/stat).
    pub start_time: u64,
}
// ANCHOR_END: state

// ANCHOR: init
impl Init {
    /// The process with this number, as it is now.
    ///
    /// # Errors
    /// `ENOENT` where there is none.
    pub fn of(pid: libc::pid_t) -> Result<Init> {
        let path = format!("/proc/{pid}/stat");
        let stat = std::fs::read_to_string(&path).on("read", &path)?;
        let start_time = parse_stat(&stat).map_or(0, |(_, start_time)| start_time);
        Ok(Init { pid, start_time })
    }

    /// Whether it still runs: not ended, not a zombie, not another one with its number.
    pub fn is_alive(&self) -> bool {
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)) else {
            return false;
        };
        parse_stat(&stat).is_some_and(|(state, start_time)| {
            start_time == self.start_time && state != 'Z' && state != 'X'
        })
    }
}
// ANCHOR_END: init

/// The state's letter and the start time. The name before them may hold anything, `)` included.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// The directory of one container below `--root`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    path: PathBuf,
    id: ContainerId,
}

/// A held lock on a [`Directory`].
#[derive(Debug)]
pub struct Lock(ManuallyDrop<Flock<File>>);

impl Drop for Lock {
    /// Closing gives the lock up. [`Flock`]'s own drop unlocks first, and panics where that fails.
    fn drop(&mut self) {
        let _ = nix::unistd::close(self.0.as_raw_fd());
    }
}

impl Lock {
    /// Its descriptor, which a forked child must close, or it would hold the lock, too.
    pub fn number(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Directory {
    /// Where the container `id` has its files, whether it exists or not.
    pub fn new(root: &Path, id: &ContainerId) -> Directory {
        Directory { path: root.join(id.as_str()), id: id.clone() }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the files of a container are that is gone, while its control groups are removed. No
    /// container's name begins with this.
    fn grave(&self) -> PathBuf {
        self.path.with_file_name(format!(".removed {}", self.id))
    }

    // ANCHOR: bury
    /// Makes the container disappear: from here on there is none of this name. What is left of it
    /// is removed later, by the holder of `lock`, or by whoever finds that nobody holds it.
    ///
    /// # Errors
    /// What rename(2) says.
    pub fn bury(&self) -> Result<Directory> {
        let grave = self.grave();
        std::fs::rename(&self.path, &grave).on("rename", &self.path)?;
        Ok(Directory { path: grave, id: self.id.clone() })
    }

    /// Waits until the last container of this name has been removed. Where its remover was killed,
    /// gives what it has left behind.
    pub(crate) fn exhume(&self) -> Result<Option<(Directory, Lock)>> {
        let Ok(file) = File::open(self.grave()) else { return Ok(None) };
        let waited = Flock::lock(file, FlockArg::LockExclusive);
        let lock = waited.map_err(|(_, errno)| errno).on("lock", self.grave())?;
        if !self.grave().exists() {
            return Ok(None);
        }
        Ok(Some((
            Directory { path: self.grave(), id: self.id.clone() },
            Lock(ManuallyDrop::new(lock)),
        )))
    }
    // ANCHOR_END: bury

    /// Makes it, and takes the lock.
    ///
    /// # Errors
    /// [`Error::Exists`].
    pub fn create(root: &Path, id: &ContainerId) -> Result<(Directory, Lock)> {
        if let Some((left, _lock)) = Directory::new(root, id).exhume()? {
            crate::delete::finish(&left)?;
        }
        let mut private = std::fs::DirBuilder::new();
        private.mode(0o711).recursive(true);
        private.create(root).on("create", root)?;
        let directory = Directory::new(root, id);
        match std::fs::DirBuilder::new().mode(0o711).create(&directory.path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(Error::Exists { id: id.to_string() })
            }
            other => {
                other.on("create", &directory.path)?;
                match directory.lock() {
                    Ok(lock) => Ok((directory, lock)),
                    Err(error) => {
                        let _ = std::fs::remove_dir(&directory.path);
                        Err(error)
                    }
                }
            }
        }
    }

    // ANCHOR: lock
    /// Takes the lock, or fails at once.
    ///
    /// # Errors
    /// [`Error::Busy`] where another process holds it, [`Error::NotFound`] without a container.
    pub fn lock(&self) -> Result<Lock> {
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NotFound { id: self.id.to_string() });
            }
            other => other.on("open", &self.path)?,
        };
        let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Lock(ManuallyDrop::new(lock)),
            Err((_, Errno::EWOULDBLOCK)) => {
                return Err(Error::Busy { id: self.id.to_string() });
            }
            Err((_, errno)) => {
                let error = KernelError::new("lock", Some(&self.path), errno);
                return Err(corten_namespaces::Error::from(error).into());
            }
        };
        // Deleted, and perhaps made anew, between open and lock: this lock is nobody's then.
        let same = |a: nix::sys::stat::FileStat, b: nix::sys::stat::FileStat| {
            (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
        };
        let held = nix::sys::stat::fstat(&**lock.0).on("stat", &self.path)?;
        match nix::sys::stat::stat(&self.path) {
            Ok(there) if same(held, there) => Ok(lock),
            _ => Err(Error::NotFound { id: self.id.to_string() }),
        }
    }
    // ANCHOR_END: lock

    /// Reads state.json: `None` where the container is being created, or its creation was cut off
    /// before there was anything to write.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Json`].
    pub fn read(&self) -> Result<Option<State>> {
        let path = self.path.join("state.json");
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let json = |source| Error::Json { path, source };
                crate::json::parse(&text).map(Some).map_err(json)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if self.path.is_dir() {
                    return Ok(None);
                }
                Err(Error::NotFound { id: self.id.to_string() })
            }
            Err(error) => {
                let failed: std::io::Result<Option<State>> = Err(error);
                Ok(failed.on("read", &path)?)
            }
        }
    }

    // ANCHOR: write
    /// Writes state.json: a new file under another name, then renamed, so that no reader and no
    /// crash ever sees half of it.
    ///
    /// # Errors
    /// `ENOSPC` and what else writing a file says.
    pub fn write(&self, state: &State) -> Result<()> {
        let json = |source| Error::Json { path: self.path.join("state.json"), source };
        let text = serde_json::to_vec_pretty(state).map_err(json)?;
        self.write_file("state.json", &text)
    }
    // ANCHOR_END: write

    /// Writes a file of the directory by rename.
    ///
    /// # Errors
    /// As [`Directory::write`].
    pub fn write_file(&self, name: &str, content: &[u8]) -> Result<()> {
        write_whole(&self.path.join(name), content)
    }

    /// Removes the directory and all in it. The state goes last, so that a removal that was cut
    /// off can be done again.
    ///
    /// # Errors
    /// What removing files says.
    pub fn remove(&self) -> Result<()> {
        let entries = match std::fs::read_dir(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => other.on("read", &self.path)?,
        };
        let mut last = None;
        for entry in entries.flatten() {
            let path = entry.path();
            if entry.file_name() == "state.json" {
                last = Some(path);
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                std::fs::remove_dir_all(&path).on("remove", &path)?;
            } else {
                std::fs::remove_file(&path).on("remove", &path)?;
            }
        }
        if let Some(path) = last {
            std::fs::remove_file(&path).on("remove", &path)?;
        }
        Ok(std::fs::remove_dir(&self.path).on("remove", &self.path)?)
    }
}

/// Writes a file under another name and renames it, so that it is whole or absent.
///
/// # Errors
/// What writing a file says; nothing is left then.
pub fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(name);
    let mut options = std::fs::OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let written = options
        .open(&temporary)
        .and_then(|mut file| file.write_all(content))
        .and_then(|()| std::fs::rename(&temporary, path));
    written.inspect_err(|_| drop(std::fs::remove_file(&temporary))).on("write", path)?;
    Ok(())
}

/// The names below `--root`, sorted.
///
/// # Errors
/// Where `root` cannot be read; that it is missing means that there are none.
pub fn ids(root: &Path) -> Result<Vec<ContainerId>> {
    let entries = match std::fs::read_dir(root) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.on("read", root)?,
    };
    // A name that begins with a dot is none.
    let mut ids: Vec<ContainerId> = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    ids.sort();
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_may_hold_parentheses() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 1 2";
        assert_eq!(parse_stat(stat), Some(('S', 4711)));
    }

    #[test]
    fn two_callers_get_one_lock() {
        let root = tempfile::tempdir().unwrap();
        let id = "one".parse().unwrap();
        let (directory, lock) = Directory::create(root.path(), &id).unwrap();
        assert!(matches!(Directory::create(root.path(), &id), Err(Error::Exists { .. })));
        assert!(matches!(directory.lock(), Err(Error::Busy { .. })));
        drop(lock);
        assert!(directory.lock().is_ok());
        directory.remove().unwrap();
        assert!(matches!(directory.lock(), Err(Error::NotFound { .. })));
    }

    #[test]
    fn this_process_is_alive_and_another_start_time_is_not_it() {
        let init = Init::of(std::process::id() as i32).unwrap();
        assert!(init.is_alive());
        assert!(!Init { start_time: init.start_time + 1, ..init }.is_alive());
    }
}
