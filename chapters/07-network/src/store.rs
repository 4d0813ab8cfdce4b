//! What is on the disk.
//!
//! ```text
//! ROOT/networks/ID.json                    a network; survives everything
//! STATE/networks/lock, ports.lock, tables.lock
//!                router4, router6          whether this host passes packets on because of us
//!                without-frames            whether the kernel has no tables for frames
//!                pending/ENDPOINT.json     what a process is making or undoing, locked while it lives
//!                ports/tcp-8080            who has a port of the host
//!                containers/ID/ENDPOINT    the endpoints of a container, each with its network's id
//!                NETWORK/lock
//!                NETWORK/next4, next6      where the search for a free address goes on
//!                NETWORK/addresses/ADDRESS who has it; it is given exactly when this file is there
//!                NETWORK/endpoints/ENDPOINT.json
//! ```
//!
//! What is below STATE ends with the machine, as the links and rules that it describes do.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, Flock, FlockArg};
use nix::unistd::linkat;
use serde::Serialize;

use corten_supervisor::durable::{TEMPORARY, sync_directory};

use crate::error::{At, Error, Result};

/// A lock that goes with its value, or with the process.
pub(crate) type Lock = Flock<File>;

/// Where everything is.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    networks: PathBuf,
    state: PathBuf,
}

impl Store {
    /// Makes the directories where they are missing.
    pub fn open(root: &Path, state: &Path) -> Result<Store> {
        let store = Store { networks: root.join("networks"), state: state.join("networks") };
        for name in ["pending", "ports", "containers"] {
            directory(&store.state.join(name))?;
        }
        directory(&store.networks)?;
        Ok(store)
    }

    /// The directory of all networks' files.
    pub fn networks(&self) -> &Path {
        &self.networks
    }

    /// A network's file.
    pub fn network(&self, id: &str) -> PathBuf {
        self.networks.join(format!("{id}.json"))
    }

    /// The directory of unfinished work.
    pub fn pending(&self) -> PathBuf {
        self.state.join("pending")
    }

    /// The directory of claims on ports.
    pub fn ports(&self) -> PathBuf {
        self.state.join("ports")
    }

    /// The directory of all containers.
    pub fn containers(&self) -> PathBuf {
        self.state.join("containers")
    }

    /// The file that says that this host passes packets on because of us.
    pub fn router(&self, ipv6: bool) -> PathBuf {
        self.state.join(if ipv6 { "router6" } else { "router4" })
    }

    /// The file that says that the kernel has no tables for frames.
    pub fn without_frames(&self) -> PathBuf {
        self.state.join("without-frames")
    }

    /// What a network has below STATE.
    pub fn of_network(&self, id: &str) -> PathBuf {
        self.state.join(id)
    }

    /// The directory of a network's endpoints.
    pub fn endpoints(&self, network: &str) -> PathBuf {
        self.of_network(network).join("endpoints")
    }

    /// The directory of the addresses that a network has given.
    pub fn addresses(&self, network: &str) -> PathBuf {
        self.of_network(network).join("addresses")
    }

    /// Makes a network's directories below STATE.
    pub fn prepare(&self, network: &str) -> Result<()> {
        directory(&self.endpoints(network))?;
        directory(&self.addresses(network))
    }

    /// Waits for the lock of all networks' names and subnets.
    pub fn lock(&self) -> Result<Lock> {
        lock(&self.state.join("lock"))
    }

    /// Waits for the lock of all ports.
    pub fn lock_ports(&self) -> Result<Lock> {
        lock(&self.state.join("ports.lock"))
    }

    /// Waits for the lock of the packet filter's tables as a whole.
    pub fn lock_tables(&self) -> Result<Lock> {
        lock(&self.state.join("tables.lock"))
    }

    /// Waits for a network's lock.
    pub fn lock_network(&self, id: &str) -> Result<Lock> {
        lock(&self.of_network(id).join("lock"))
    }
}

/// Makes a directory that only its owner can enter.
pub(crate) fn directory(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).at("make", path)
}

fn lock(path: &Path) -> Result<Lock> {
    let mut file = corten_namespaces::lock::open(path).at("open", path)?;
    loop {
        match Flock::lock(file, FlockArg::LockExclusive) {
            Ok(lock) => return Ok(lock),
            Err((back, Errno::EINTR)) => file = back,
            Err((_, errno)) => return Err(Error::path("lock", path, errno.into())),
        }
    }
}

/// The lock of a file that exists, where nobody has it; `None` where somebody does, or where it is gone.
pub(crate) fn try_lock(path: &Path) -> Result<Option<Lock>> {
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.at("open", path)?,
    };
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(Error::path("lock", path, errno.into())),
    }
}

fn text(path: &Path, value: &impl Serialize) -> Result<Vec<u8>> {
    let json = |source| Error::Json { path: path.to_owned(), source };
    let mut text = serde_json::to_vec_pretty(value).map_err(json)?;
    text.push(b'\n');
    Ok(text)
}

// ANCHOR: write_new
/// Writes `value` as JSON where nothing is: a file that has no name before it is whole, and is locked
/// from before that moment on, until the caller drops it. Killed in between, nobody leaves anything.
///
/// # Errors
/// `EEXIST`.
pub(crate) fn write_new(path: &Path, value: &impl Serialize) -> Result<Lock> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(libc::O_TMPFILE).mode(0o600);
    let mut file = options.open(directory).at("create a file in", directory)?;
    file.write_all(&text(path, value)?).at("write", path)?;
    let lock = Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| Error::path("lock", path, errno.into()))?;
    let nameless = format!("/proc/self/fd/{}", lock.as_raw_fd());
    linkat(AT_FDCWD, nameless.as_str(), AT_FDCWD, path, AtFlags::AT_SYMLINK_FOLLOW)
        .at("link to", path)?;
    Ok(lock)
}
// ANCHOR_END: write_new

/// Removes the temporary files in a directory. The caller has the lock that their writers had.
pub(crate) fn sweep(directory: &Path) -> Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.at("list", directory)?,
    };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().ends_with(TEMPORARY) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes a file; one that is gone is no error.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).at("remove", path),
        _ => Ok(()),
    }
}

/// Removes a file for ever.
pub(crate) fn remove_durably(path: &Path) -> Result<()> {
    remove(path)?;
    Ok(sync_directory(path.parent().unwrap_or(Path::new("/")))?)
}

/// The names in a directory, without those of temporary files; none where it is missing.
pub(crate) fn names(path: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.at("list", path)?,
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.ends_with(TEMPORARY))
        .collect();
    names.sort_unstable();
    Ok(names)
}

/// The names without `.json` of the files of JSON in a directory.
pub(crate) fn ids(path: &Path) -> Result<Vec<String>> {
    let names = names(path)?;
    Ok(names.iter().filter_map(|name| name.strip_suffix(".json").map(str::to_owned)).collect())
}
