//! A whole engine without root: namespaces of a user's that last as long as somebody is in them.
//!
//! A user namespace gives all capabilities over what belongs to it: mounts, networks, firewalls, further
//! namespaces. So an engine need not be changed to run without root. It is put into one, together with all
//! its containers, and believes to be root on a machine of its own.
//!
//! ```text
//!              DIRECTORY/lock, alive, holder                       host's namespaces
//! corten ─────────────▶ corten-holder ──▶ pasta ── sockets of the user ──▶ the world
//!    │ setns               │ clone3              │ a network card (/dev/net/tun)
//! ───┼─────────────────────┼─────────────────────┼──────────────────────────────────
//!    ▼                     ▼                     ▼                 user, mount, net
//! the engine          corten-anchor          namespace's network
//! shims, containers   waits
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`holder`] | the process that makes the namespaces and ends with their last user |
//! | [`carrier`] | pasta or slirp4netns |
//! | [`mod@outside`] | a thread that stays in the host's network |
//! | [`lack`] | what a user lacks, and who can give it |

pub mod carrier;
pub mod holder;
pub mod lack;
pub mod outside;

use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

use crate::error::{Context, Error, Result};
use crate::namespace::{Namespace, NamespaceSet};
use crate::{lock, sys};

/// The namespaces that a user's engine is in.
pub const NAMESPACES: NamespaceSet =
    NamespaceSet::EMPTY.with(Namespace::User).with(Namespace::Mount).with(Namespace::Net);

/// How long a holder that is ending may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether this process needs namespaces of its user's to be root somewhere.
pub fn needed() -> bool {
    !nix::unistd::geteuid().is_root()
}

/// Whether this process's user namespace is another than the machine's first one, which maps every id
/// to itself.
pub fn inside() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let numbers: Vec<&str> = map.split_whitespace().collect();
    !numbers.is_empty() && numbers != ["0", "0", "4294967295"]
}

/// Where a user's namespaces are noted down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    directory: PathBuf,
}

impl Place {
    /// The directory `corten` in XDG_RUNTIME_DIR; in /run/user/UID, where nobody has said so; and where
    /// there is none either, as after su(1), `corten-UID` in /tmp. It is looked at before it is used.
    pub fn usual() -> Place {
        let uid = nix::unistd::geteuid().as_raw();
        let named = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let login = PathBuf::from(format!("/run/user/{uid}"));
        let own = |path: &PathBuf| {
            path.is_absolute() && fs::metadata(path).is_ok_and(|it| it.is_dir() && it.uid() == uid)
        };
        if let Some(path) = named.into_iter().chain([login]).find(own) {
            return Place { directory: path.join("corten") };
        }
        Place { directory: format!("/tmp/corten-{uid}").into() }
    }

    /// A directory that the user alone can look into; it is made where it is missing.
    pub fn at(directory: impl Into<PathBuf>) -> Place {
        Place { directory: directory.into() }
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where engines keep what ends with the namespaces: a file system that only they see.
    pub fn state(&self) -> PathBuf {
        self.directory.join("state")
    }

    fn lock_file(&self) -> PathBuf {
        self.directory.join("lock")
    }

    /// The pipe that everybody inside has open for writing, and the holder for reading.
    fn alive(&self) -> PathBuf {
        self.directory.join("alive")
    }

    /// The number of the process whose namespaces are joined.
    fn holder(&self) -> PathBuf {
        self.directory.join("holder")
    }

    /// Removes all of it. Only called with the lock.
    fn clear(&self) {
        for path in [self.alive(), self.holder()] {
            let _ = fs::remove_file(path);
        }
        let _ = fs::remove_dir(self.state());
        let _ = fs::remove_file(self.lock_file());
        let _ = fs::remove_dir(&self.directory);
    }

    // ANCHOR: lock
    /// Takes the turn of who starts, joins or ends the namespaces. The last holder has removed the file
    /// together with its directory: who has opened it before holds a lock on nothing.
    fn lock(&self) -> Result<Flock<File>> {
        let path = self.lock_file();
        let begun = Instant::now();
        loop {
            private(&self.directory)?;
            match lock::open(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                other => {
                    let file = other.on("open", &path)?;
                    let held = Flock::lock(file, FlockArg::LockExclusive)
                        .map_err(|(_, errno)| errno)
                        .on("lock", &path)?;
                    let ours = held.metadata().on("stat", &path)?.ino();
                    if fs::metadata(&path).is_ok_and(|there| there.ino() == ours) {
                        return Ok(held);
                    }
                }
            }
            if begun.elapsed() > PATIENCE {
                return Err(Error::invalid(path.display().to_string(), "is removed all the time"));
            }
        }
    }
    // ANCHOR_END: lock

    // ANCHOR: enter
    /// Moves this process, which has one thread, into `namespaces` of its user, and the user namespace is
    /// among them; they are made where there are none. It is root there. What it starts is in there, too, and as
    /// long as one of them lives the namespaces are.
    ///
    /// # Errors
    /// [`Error::Rootless`] says what the user lacks.
    pub fn enter(&self, namespaces: NamespaceSet) -> Result<()> {
        let directory = std::env::current_dir();
        let turn = self.lock()?;
        let (life, anchor) = match self.join()? {
            Some(found) => found,
            None => holder::start(self)?,
        };
        drop(turn);
        // The user namespace first, and with the others that a process joins as a whole. The network is
        // joined by threads: one stays.
        let join = |set: NamespaceSet| sys::setns(anchor.as_raw_fd(), set.flags() as i32);
        join(namespaces.without(Namespace::Net)).during("enter the user's namespaces")?;
        if namespaces.contains(Namespace::Net) {
            outside::leave_behind().during("start a thread")?;
            join(NamespaceSet::EMPTY.with(Namespace::Net)).during("enter the user's network")?;
        }
        // Descriptors above the three that a program is started with are closed by execve(2), but
        // this one: so supervisors and servers have it, and containers, whose runtime closes all, do not.
        keep_open(life)?;
        // The kernel has moved it to the root of the mount namespace. Where it was may be out of reach.
        if let Ok(directory) = directory {
            let _ = std::env::set_current_dir(directory);
        }
        Ok(())
    }
    // ANCHOR_END: enter

    /// The pipe and the process to be joined, where there is a holder. Only called with the lock, with
    /// which no holder ends.
    fn join(&self) -> Result<Option<(OwnedFd, OwnedFd)>> {
        let path = self.holder();
        let begun = Instant::now();
        let (life, text) = loop {
            let Some(life) = self.sign_in()? else { return Ok(None) };
            match fs::read_to_string(&path) {
                // Who has started it was killed, and it goes on: it sees us when it is ready.
                Err(error)
                    if error.kind() == std::io::ErrorKind::NotFound
                        && begun.elapsed() < PATIENCE =>
                {
                    std::thread::sleep(Duration::from_millis(5));
                }
                other => break (life, other.on("read", &path)?),
            }
        };
        let pid = text.trim().parse().map_err(|_| {
            Error::invalid(path.display().to_string(), "holds no number of a process")
        })?;
        let anchor = sys::pidfd_open(pid).on("find the process named by", &path)?;
        // The number has not been given to another one since, as long as who waits for it lives.
        Ok(self.sign_in()?.map(|_| (life, anchor)))
    }

    /// The pipe, open for writing; `None` where nobody reads it.
    fn sign_in(&self) -> Result<Option<OwnedFd>> {
        let path = self.alive();
        let mut options = fs::OpenOptions::new();
        let opened = options
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOFOLLOW)
            .open(&path);
        match opened.map_err(|error| (error.raw_os_error(), error)) {
            Ok(file) => Ok(Some(file.into())),
            Err((Some(libc::ENOENT | libc::ENXIO), _)) => Ok(None),
            Err((_, error)) => Err(error).on("open", &path),
        }
    }
}

/// Leaves a descriptor open, also for programs that this process starts.
fn keep_open(fd: OwnedFd) -> Result<()> {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    fcntl(&fd, FcntlArg::F_SETFD(FdFlag::empty())).during("keep a descriptor open")?;
    std::mem::forget(fd);
    Ok(())
}

/// Makes a directory that nobody else can look into, and checks one that is there.
fn private(path: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().mode(0o700).create(path);
    if let Err(error) = made
        && error.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(error).on("make the directory", path);
    }
    let there = match fs::symlink_metadata(path) {
        // A holder that ends removes it.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.on("stat", path)?,
    };
    if there.is_dir() && there.uid() == nix::unistd::geteuid().as_raw() && there.mode() & 0o077 == 0
    {
        return Ok(());
    }
    Err(Error::Rootless {
        why: format!("{} is no directory of yours alone (0700)", path.display()),
        remedy: "remove it, or let XDG_RUNTIME_DIR name a directory of yours".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_others_can_look_into_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("corten");
        private(&path).unwrap();
        private(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(private(&path).unwrap_err().to_string().contains("0700"));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/etc", &link).unwrap();
        assert!(private(&link).is_err());
    }

    #[test]
    fn who_locks_a_file_that_was_removed_takes_the_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::at(dir.path().join("corten"));
        let first = place.lock().unwrap();
        let waits = place.clone();
        let second = std::thread::spawn(move || {
            let held = waits.lock().unwrap();
            held.metadata().unwrap().ino() == fs::metadata(waits.lock_file()).unwrap().ino()
        });
        std::thread::sleep(Duration::from_millis(50));
        fs::remove_file(place.lock_file()).unwrap();
        drop(first);
        assert!(second.join().unwrap());
    }
}
