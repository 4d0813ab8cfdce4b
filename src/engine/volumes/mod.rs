//! Volumes: directories that outlive containers.
//!
//! ```text
//! volumes/NAME/volume.json   what it is; never changes
//! volumes/NAME/_data         what is in it
//! volumes/NAME/_data.new     the image's content, while it is copied
//! volumes/NAME/_data.ready   the same, whole, while it is moved into _data
//! volumes/.new-…, .gone-…    volumes that are being made or removed
//! volumes.lock               shared: makes or uses volumes; exclusive: removes them
//! ```
//!
//! A volume is made under another name and renamed, and removed in the other order: whatever
//! crashes, it is there or it is not. Nothing counts who uses it. That is read from the containers'
//! `config.json` when somebody wants to know.
//!
//! | module | what |
//! |---|---|
//! | [`point`] | `Binds`, `Mounts` … of a request, to one list of mounts |
//! | [`name`], [`driver`] | what a name may be; the options of the driver `local` |
//! | [`mod@attach`] | before a container starts: what is missing is made, sources are filled in |
//! | [`mod@fill`] | the image's content, copied into a new volume |
//! | [`filter`], [`usage`] | choosing volumes; who uses one |

pub mod attach;
pub mod driver;
pub mod fill;
pub mod filter;
pub mod name;
pub mod point;
pub mod propagation;
pub mod usage;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, RenameFlags};

use super::error::{At, Error, Result};
use super::options::api;
use super::{clock, state};
use corten_supervisor::durable::{self, Worth};

pub use driver::Device;
pub use filter::Filters;
pub use point::{MountPoint, mount_points};

/// The label of a volume that has no name of the user's: such are removed with their container, and
/// by `prune`.
pub const ANONYMOUS: &str = "com.docker.volume.anonymous";

api! {
    /// A volume, as `docker volume inspect` shows it, but for `Mountpoint` and `Scope`.
    pub struct Volume {
        /// Its name, which is its id.
        pub name: String,
        /// Who made it.
        pub driver: String,
        /// When.
        pub created_at: String,
        /// Names and values for whoever manages volumes.
        pub labels: BTreeMap<String, String>,
        /// The driver's options.
        pub options: BTreeMap<String, String>,
    }
}

impl Volume {
    /// Whether it has no name of the user's.
    pub fn is_anonymous(&self) -> bool {
        self.labels.contains_key(ANONYMOUS)
    }
}

/// What a new volume shall be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// Its name; a random one where empty.
    pub name: String,
    /// `local`, or nothing.
    pub driver: String,
    /// The driver's options.
    pub options: BTreeMap<String, String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// The volumes of one state directory.
#[derive(Debug, Clone)]
pub struct Volumes {
    state: PathBuf,
    root: PathBuf,
}

/// While this lives no volume is removed: held until a container's `config.json` names them.
#[derive(Debug)]
pub struct Held(#[expect(dead_code, reason = "held, not read")] Flock<File>);

impl Volumes {
    /// Opens the volumes of the state directory `state`, and finishes what killed processes left.
    ///
    /// # Errors
    /// Where the directory cannot be made or read.
    pub fn open(state: &Path) -> Result<Volumes> {
        let root = state.join("volumes");
        let mut builder = std::fs::DirBuilder::new();
        // Below lies what containers wrote, set-user-ID programs too. Docker's mode, so that a
        // process of another user in a container may walk through a volume's path.
        builder.recursive(true).mode(0o701).create(&root).at("make", &root)?;
        let volumes = Volumes { state: state.to_path_buf(), root };
        volumes.sweep()?;
        Ok(volumes)
    }

    /// Removes what was being made or removed, unless somebody is doing that now.
    fn sweep(&self) -> Result<()> {
        let mut left = Vec::new();
        for entry in std::fs::read_dir(&self.root).at("read", &self.root)? {
            let name = entry.at("read", &self.root)?.file_name();
            let text = name.to_string_lossy();
            if text.starts_with(".new-") || text.starts_with(".gone-") {
                left.push(name);
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        let path = self.lock_path();
        match Flock::lock(open_lock(&path)?, FlockArg::LockExclusiveNonblock) {
            Ok(_lock) => left.iter().try_for_each(|name| self.erase(Path::new(name))),
            Err((_, Errno::EWOULDBLOCK)) => Ok(()),
            Err((_, errno)) => Err(errno).at("lock", &path),
        }
    }

    fn lock_path(&self) -> PathBuf {
        self.state.join("volumes.lock")
    }

    fn lock(&self, how: FlockArg) -> Result<Flock<File>> {
        let path = self.lock_path();
        Flock::lock(open_lock(&path)?, how).map_err(|(_, errno)| errno).at("lock", &path)
    }

    /// Keeps every volume until the value is dropped. The same thread must not remove one meanwhile.
    ///
    /// # Errors
    /// Where the lock file cannot be opened.
    pub fn hold(&self) -> Result<Held> {
        self.lock(FlockArg::LockShared).map(Held)
    }

    /// The directory of a volume's content.
    pub fn data(&self, name: &str) -> PathBuf {
        self.directory(name).join("_data")
    }

    fn directory(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Makes a volume. One that is there already is given back as it is.
    ///
    /// # Errors
    /// For a name or an option that is none, or another driver than `local`.
    pub fn create(&self, wish: &Wish) -> Result<Volume> {
        let _held = self.hold()?;
        let mut labels = wish.labels.clone();
        let name = match wish.name.as_str() {
            "" => {
                labels.insert(ANONYMOUS.to_owned(), String::new());
                state::new_id()?
            }
            name => name.to_owned(),
        };
        name::check(&name)?;
        driver::check(&name, &wish.driver, &wish.options)?;
        if let Some(there) = self.find(&name)? {
            return Ok(there);
        }
        let volume = Volume {
            name: name.clone(),
            driver: "local".to_owned(),
            created_at: clock::now(),
            labels,
            options: wish.options.clone(),
        };
        self.make(&volume)?;
        // Another process may have been faster.
        self.get(&name)
    }

    /// The whole volume under another name, then the rename.
    fn make(&self, volume: &Volume) -> Result<()> {
        let staging = format!(".new-{}", state::new_id()?);
        let path = self.root.join(&staging);
        let make =
            |path: &Path, mode| std::fs::DirBuilder::new().mode(mode).create(path).at("make", path);
        make(&path, 0o701)?;
        make(&path.join("_data"), 0o755)?;
        durable::write_json(&path.join("volume.json"), volume, Worth::Durable)?;
        let target = self.directory(&volume.name);
        let cwd = nix::fcntl::AT_FDCWD;
        match nix::fcntl::renameat2(cwd, &path, cwd, &target, RenameFlags::RENAME_NOREPLACE) {
            Ok(()) => {
                self.note("create", &volume.name);
                Ok(durable::sync_directory(&self.root)?)
            }
            Err(Errno::EEXIST) => self.erase(Path::new(&staging)),
            Err(errno) => Err(errno).at("rename to", &target),
        }
    }

    fn note(&self, action: &str, name: &str) {
        super::events::note(&self.state, "volume", action, name, [("driver", "local")]);
    }

    /// Removes a directory of `volumes/` with all that is in it, however deep.
    fn erase(&self, name: &Path) -> Result<()> {
        let root = File::open(&self.root).at("open", &self.root)?;
        match corten_unionfs::remove::remove_tree(root.as_fd(), name.as_os_str()) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno).at("remove", &self.root.join(name)),
        }
    }

    /// A volume, if there is one of that name.
    ///
    /// # Errors
    /// Where its `volume.json` is damaged.
    pub fn find(&self, name: &str) -> Result<Option<Volume>> {
        // A name that none can have must not become a path.
        if name::check(name).is_err() {
            return Ok(None);
        }
        Ok(durable::read_json(&self.directory(name).join("volume.json"))?)
    }

    /// A volume.
    ///
    /// # Errors
    /// [`Error::NoSuchVolume`].
    pub fn get(&self, name: &str) -> Result<Volume> {
        self.find(name)?.ok_or_else(|| Error::NoSuchVolume { name: name.to_owned() })
    }

    /// The volumes that `filters` choose, by name.
    ///
    /// # Errors
    /// Where one is damaged.
    pub fn list(&self, filters: &Filters) -> Result<Vec<Volume>> {
        let mut list = Vec::new();
        for entry in std::fs::read_dir(&self.root).at("read", &self.root)? {
            let name = entry.at("read", &self.root)?.file_name();
            list.extend(self.find(&name.to_string_lossy())?);
        }
        let users =
            if filters.wants_users() { usage::users(&self.state)? } else { BTreeMap::new() };
        list.retain(|volume| filters.choose(volume, users.contains_key(&volume.name)));
        list.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(list)
    }

    /// Removes a volume that no container uses. With `force` it is no error that there is none.
    ///
    /// # Errors
    /// [`Error::NoSuchVolume`], [`Error::VolumeInUse`].
    pub fn remove(&self, name: &str, force: bool) -> Result<()> {
        let lock = self.lock(FlockArg::LockExclusive)?;
        if self.find(name)?.is_none() {
            return if force { Ok(()) } else { Err(Error::NoSuchVolume { name: name.to_owned() }) };
        }
        if let Some(users) = usage::users(&self.state)?.remove(name) {
            return Err(Error::VolumeInUse { name: name.to_owned(), users });
        }
        let gone = self.forget(name)?;
        drop(lock);
        self.erase(&gone)
    }

    /// Takes a volume's name away, for good; what is left of it is the sweep's, whatever happens.
    fn forget(&self, name: &str) -> Result<PathBuf> {
        let gone = PathBuf::from(format!(".gone-{}", state::new_id()?));
        let path = self.directory(name);
        std::fs::rename(&path, self.root.join(&gone)).at("rename", &path)?;
        durable::sync_directory(&self.root)?;
        self.note("destroy", name);
        Ok(gone)
    }

    /// Removes the volumes that no container uses: those without a name of the user's, or with
    /// `all` every one. Returns their names, and how many bytes they took.
    ///
    /// # Errors
    /// For a filter that is none, or where one cannot be removed.
    pub fn prune(&self, filters: &Filters) -> Result<(Vec<String>, u64)> {
        let lock = self.lock(FlockArg::LockExclusive)?;
        let users = usage::users(&self.state)?;
        let (mut names, mut gone, mut bytes) = (Vec::new(), Vec::new(), 0);
        for volume in self.list(filters)? {
            if !users.contains_key(&volume.name) && (filters.all() || volume.is_anonymous()) {
                bytes += usage::bytes(&self.data(&volume.name));
                gone.push(self.forget(&volume.name)?);
                names.push(volume.name);
            }
        }
        drop(lock);
        gone.iter().try_for_each(|path| self.erase(path))?;
        super::events::note_prune(&self.state, "volume", bytes);
        Ok((names, bytes))
    }
}

fn open_lock(path: &Path) -> Result<File> {
    corten_namespaces::lock::open(path).at("open", path)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
