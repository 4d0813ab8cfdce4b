//! The containers of one state directory: what is written about each, and who may touch it.
//!
//! ```text
//! containers/ID/config.json   what was decided when it was made; never changes
//! containers/ID/state.json    how far it is
//! containers/ID/{upper,work}  what it has written, and the overlay's own
//! containers/ID/rootfs        an empty directory, where the root is attached for it alone
//! containers/ID/exit.json     how it ended: its supervisor's word
//! events.jsonl                what has happened to all of them
//! running/ID                  there while it may run; locked (flock(2)) by who starts or removes it
//! running.lock                held while a file in running/ is made and locked, or looked for
//! lock                        shared: uses images; exclusive: removes images
//! ```
//!
//! A lock is gone with its process, however that ends. So a file in `running/` that nobody has
//! locked, of a container without a living supervisor, belongs to a container that has ended or to
//! an engine that was killed: [`Containers::open`] finishes that. It looks at the containers that
//! run, not at all that there are.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::error::{At, Error, Result};
use super::names::Names;
use super::networks::Shelf;
pub use super::owned::Owned;
use super::owned::{condemned, remove};
pub use super::record::{LogChoice, Record, State, Supervision};
use super::shims::Shims;
use super::volumes::Volumes;
use corten_supervisor::durable::{self, Worth};
use corten_supervisor::record::Exit;

/// The directories `containers/` and `running/`.
#[derive(Debug)]
pub struct Containers {
    pub(super) root: PathBuf,
    pub(super) names: Names,
    /// Their networks.
    pub(super) shelf: Shelf,
    /// Their supervisors.
    pub shims: Shims,
    /// Their volumes.
    volumes: Volumes,
    /// What could not be finished of the work of killed processes; the next start tries again.
    pub problems: Vec<Error>,
}

impl Containers {
    /// Opens the containers of the state directory `root`, and finishes what killed processes left:
    /// `--rm` containers are removed, others are marked as ended.
    ///
    /// # Errors
    /// Where a directory cannot be made or read. What cannot be finished is in `problems`: one
    /// container that resists must not keep all others from running.
    pub fn open(root: &Path, shims: Shims, volumes: Volumes) -> Result<Containers> {
        for name in ["containers", "running"] {
            let path = root.join(name);
            // Below lies what containers wrote, set-user-ID programs too: nobody else may pass.
            let mut builder = std::fs::DirBuilder::new();
            builder.recursive(true).mode(0o700).create(&path).at("make", &path)?;
        }
        let state = shims.directory();
        let (names, shelf) = (Names::of(state), Shelf::new(root, state));
        let root = root.to_path_buf();
        let mut containers =
            Containers { root, names, shelf, shims, volumes, problems: Vec::new() };
        if !containers.names.is_of_this_boot() {
            containers.index()?;
        }
        containers.problems = containers.repair()?;
        Ok(containers)
    }

    fn repair(&self) -> Result<Vec<Error>> {
        let running = self.root.join("running");
        let mut paths = Vec::new();
        let mut problems: Vec<Error> = self.shelf.finish().err().into_iter().collect();
        for entry in std::fs::read_dir(&running).at("read", &running)? {
            paths.push(entry.at("read", &running)?.path());
        }
        // Those that live need nothing.
        let id = |path: &PathBuf| path.file_name().and_then(OsStr::to_str).map(str::to_owned);
        paths.retain(|path| !id(path).is_some_and(|id| self.shims.is_alive(&id)));
        if paths.is_empty() {
            return Ok(problems);
        }
        // Not while another process is between making such a file and locking it.
        let _turn = self.turn()?;
        for path in paths {
            problems.extend(self.repair_one(path).err());
        }
        Ok(problems)
    }

    fn repair_one(&self, path: PathBuf) -> Result<()> {
        // Not made anew where somebody else has put it in order and removed it meanwhile.
        let Some(file) = existing(&path)? else { return Ok(()) };
        let Some(lock) = locked(file, FlockArg::LockExclusiveNonblock, &path)? else {
            return Ok(());
        };
        let directory = self.directory(&path);
        // A file that a power cut left empty was a volatile one: of a container to be removed.
        let record = durable::read_json::<Record>(&directory.join("config.json")).unwrap_or(None);
        match record {
            // It has been started meanwhile.
            Some(record) if self.shims.is_alive(&record.id) => Ok(()),
            Some(record) => {
                let owned = Owned { record, directory, running: path, _lock: lock };
                self.settle(owned).map(drop)
            }
            None => {
                let id = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                self.shims.bury(&id)?;
                self.shelf.forget(&id)?;
                if let Some(record) = condemned(&directory) {
                    self.volumes.discard(&record.mount_points)?;
                }
                remove(&directory, &path)
            }
        }
    }

    // ANCHOR: settle
    /// Puts a container in order whose supervisor has ended: what it wrote is taken over, what a
    /// killed one has left is removed. Gives the container's end, where it was started.
    ///
    /// # Errors
    /// Where something cannot be removed or written.
    pub fn settle(&self, owned: Owned) -> Result<Option<Exit>> {
        // Without a state it was never whole: whoever made it was killed.
        if owned.record.auto_remove() || !owned.directory.join("state.json").exists() {
            return self.settle_for_good(owned);
        }
        let exit = self.conclude(&owned)?;
        owned.release()?;
        Ok(exit)
    }

    /// The same for one that is removed at its end. It is told that it is gone before its supervisor has
    /// ended and its files are removed: nobody can find it any more, nothing of it is on a network, and
    /// what a crash leaves here the next engine removes.
    fn settle_for_good(&self, owned: Owned) -> Result<Option<Exit>> {
        self.shims.take_over(&owned.record.id);
        let ran = owned.ran()?;
        let exit = self.found_end(&owned, ran)?;
        self.leave(&owned.record, ran)?;
        self.vanish(&owned, true)?;
        self.shims.bury(&owned.record.id)?;
        self.remove_files(owned, true)?;
        Ok(exit)
    }

    /// Writes down how the last run ended, and removes what is left of it: the next begins with
    /// nothing.
    pub(super) fn conclude(&self, owned: &Owned) -> Result<Option<Exit>> {
        let id = &owned.record.id;
        self.shims.take_over(id);
        self.shims.wait(id);
        let ran = owned.ran()?;
        let exit = self.found_end(owned, ran)?;
        if let Some(exit) = exit.as_ref().filter(|_| !owned.record.auto_remove()) {
            self.write_end(owned, exit)?;
        }
        self.shims.bury(id)?;
        self.leave(&owned.record, ran)?;
        Ok(exit)
    }

    /// How the last run ended. Before a start the last end is forgotten: what is found is of the last
    /// run, whatever the state says, which is written when the run has begun.
    fn found_end(&self, owned: &Owned, ran: bool) -> Result<Option<Exit>> {
        let id = &owned.record.id;
        Ok(match self.exit(id)? {
            None if ran || self.shims.status(id).is_some() => {
                Some(Exit { error: Some("its supervisor was killed".into()), ..Exit::killed() })
            }
            found => found,
        })
    }
    // ANCHOR_END: settle

    fn write_end(&self, owned: &Owned, exit: &Exit) -> Result<()> {
        if Exit::read(owned.directory())?.is_none() {
            exit.write(owned.directory())?;
        }
        let finished = super::clock::at(exit.finished);
        let state = State::Exited { exit_code: exit.status, finished, error: exit.error.clone() };
        if owned.state()? == state { Ok(()) } else { owned.set_state(&state) }
    }

    /// How the container ended last: what its supervisor has written, beside the container or, on a
    /// disk that took nothing, in its own directory.
    ///
    /// # Errors
    /// Where a file cannot be read or understood.
    pub fn exit(&self, id: &str) -> Result<Option<Exit>> {
        Ok(match Exit::read(&self.directory_of(id))? {
            None => Exit::read(&self.shims.of(id))?,
            found => found,
        })
    }

    /// Removes a container, and with `volumes` those that have no name of the user's.
    ///
    /// # Errors
    /// With the path that could not be removed.
    pub fn dispose(&self, owned: Owned, volumes: bool) -> Result<()> {
        self.vanish(&owned, volumes)?;
        self.remove_files(owned, volumes)
    }

    /// From now on it is no container any more, and its name is free.
    fn vanish(&self, owned: &Owned, volumes: bool) -> Result<()> {
        let record = &owned.record;
        owned.condemn(volumes)?;
        record.name.iter().for_each(|name| self.names.remove(name, &record.id));
        self.note(record, "destroy", &[]);
        Ok(())
    }

    fn remove_files(&self, owned: Owned, volumes: bool) -> Result<()> {
        let Owned { record, directory, running, .. } = &owned;
        if volumes {
            self.volumes.discard(&record.mount_points)?;
        }
        remove(directory, running)
    }

    /// The history of all containers.
    pub(crate) fn events_path(&self) -> PathBuf {
        self.root.join(super::events::FILE)
    }

    /// The directory of the container with this id.
    pub fn directory_of(&self, id: &str) -> PathBuf {
        self.root.join("containers").join(id)
    }

    /// The directory of the container whose file in `running/` is `path`.
    fn directory(&self, path: &Path) -> PathBuf {
        self.root.join("containers").join(path.file_name().unwrap_or_default())
    }

    /// Makes the directory of a new container and owns it. The caller holds [`ImageLock`], so that
    /// no image that `record` names is removed meanwhile.
    ///
    /// # Errors
    /// [`Error::NameTaken`], or where a file cannot be made; nothing is left then.
    pub fn create(&self, mut record: Record) -> Result<Owned> {
        let turn = self.turn()?;
        match &record.name {
            Some(name) => {
                self.check_name(name)?;
                self.names.put(name, &record.id)?;
            }
            None => record.name = Some(self.nickname(&record.id)?),
        }
        let running = self.running(&record);
        let file = File::create_new(&running).at("create", &running)?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, errno)| errno)
            .at("lock", &running)?;
        let directory = self.root.join("containers").join(&record.id);
        let owned = Owned { record, directory, running, _lock: lock };
        // From here on its name is taken, and it is seen that it is being made.
        drop(turn);
        match owned.fill() {
            Ok(()) => Ok(owned),
            Err(error) => {
                let record = owned.record.clone();
                // The first error tells more than one of cleaning up.
                let _ = owned.remove();
                record.name.iter().for_each(|name| self.names.remove(name, &record.id));
                Err(error)
            }
        }
    }

    /// A name for a container that nobody has named.
    fn nickname(&self, id: &str) -> Result<String> {
        for attempt in 0.. {
            let name = super::nickname::random(attempt)?;
            if self.names.claim(&name, id)? {
                return Ok(name);
            }
        }
        Err(Error::invalid("container name", "there is none left"))
    }

    pub(super) fn turn(&self) -> Result<Flock<File>> {
        lock(&self.root.join("running.lock"), FlockArg::LockExclusive)
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// [`Error::NameTaken`].
    pub fn rename(&self, id: &str, name: &str) -> Result<()> {
        let _turn = self.turn()?;
        self.check_name(name)?;
        self.names.put(name, id)?;
        let mut before = None;
        self.rewrite(id, |record| before = record.name.replace(name.to_owned()))?;
        before.iter().for_each(|before| self.names.remove(before, id));
        Ok(())
    }

    /// Changes what was decided about a container.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`], where it is removed meanwhile.
    pub fn modify(&self, id: &str, change: impl FnOnce(&mut Record)) -> Result<()> {
        let _turn = self.turn()?;
        self.rewrite(id, change)
    }

    /// The caller holds the turn, so that no change is lost in another's.
    fn rewrite(&self, id: &str, change: impl FnOnce(&mut Record)) -> Result<()> {
        let path = self.directory_of(id).join("config.json");
        let mut record = durable::read_json::<Record>(&path)?
            .ok_or_else(|| Error::NoSuchContainer { name: id.to_owned() })?;
        change(&mut record);
        Ok(durable::write_json(&path, &record, Worth::Durable)?)
    }

    /// Takes over a container that has ended; `None` while another process has it.
    ///
    /// # Errors
    /// Where the lock cannot be taken.
    pub fn own(&self, record: &Record) -> Result<Option<Owned>> {
        let running = self.running(record);
        let lock = locked(open_lock(&running)?, FlockArg::LockExclusiveNonblock, &running)?;
        Ok(lock.map(|lock| self.owned(record, lock)))
    }

    /// Waits until no other process has it, and takes it over; `None` where it is removed then.
    ///
    /// # Errors
    /// Where the lock cannot be taken.
    pub fn wait_and_own(&self, record: &Record) -> Result<Option<Owned>> {
        let running = self.running(record);
        let lock = loop {
            // Where whoever had it has removed the file, a third one may be before us at the next.
            if let Some(lock) = locked(open_lock(&running)?, FlockArg::LockExclusive, &running)? {
                break lock;
            }
        };
        let owned = self.owned(record, lock);
        if owned.directory.exists() {
            return Ok(Some(owned));
        }
        owned.release()?;
        Ok(None)
    }

    /// Waits until no other process has it, and takes it over, where it was started and nobody has put
    /// it in order since.
    ///
    /// # Errors
    /// Where the lock cannot be taken.
    pub fn wait_and_own_started(&self, record: &Record) -> Result<Option<Owned>> {
        let running = self.running(record);
        let Some(file) = existing(&running)? else { return Ok(None) };
        let lock = locked(file, FlockArg::LockExclusive, &running)?;
        Ok(lock.map(|lock| self.owned(record, lock)))
    }

    fn running(&self, record: &Record) -> PathBuf {
        running(&self.root, &record.id)
    }

    fn owned(&self, record: &Record, lock: Flock<File>) -> Owned {
        Owned {
            record: record.clone(),
            directory: self.root.join("containers").join(&record.id),
            running: self.running(record),
            _lock: lock,
        }
    }
}

/// Held while images are used (shared) or removed (exclusive).
#[derive(Debug)]
pub struct ImageLock(#[expect(dead_code, reason = "held, not read")] Flock<File>);

impl ImageLock {
    /// Images may be used until this is dropped.
    ///
    /// # Errors
    /// Where the lock file cannot be opened.
    pub fn shared(root: &Path) -> Result<ImageLock> {
        lock(&root.join("lock"), FlockArg::LockShared).map(ImageLock)
    }

    /// Nobody else uses images until this is dropped.
    ///
    /// # Errors
    /// As [`ImageLock::shared`].
    pub fn exclusive(root: &Path) -> Result<ImageLock> {
        lock(&root.join("lock"), FlockArg::LockExclusive).map(ImageLock)
    }
}

/// The file of a container that was started, or is being made or removed, and not put in order since.
pub(super) fn running(root: &Path, id: &str) -> PathBuf {
    root.join("running").join(id)
}

fn open_lock(path: &Path) -> Result<File> {
    corten_namespaces::lock::open(path).at("open", path)
}

fn lock(path: &Path, how: FlockArg) -> Result<Flock<File>> {
    Flock::lock(open_lock(path)?, how).map_err(|(_, errno)| errno).at("lock", path)
}

/// A file in `running/` that is there.
fn existing(path: &Path) -> Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some).at("open", path),
    }
}

/// The lock on `file`, which was opened at `path`; `None` where another process has it, or whoever had it
/// has removed the file.
fn locked(file: File, how: FlockArg, path: &Path) -> Result<Option<Flock<File>>> {
    match Flock::lock(file, how) {
        Ok(lock) => {
            let links = lock.metadata().at("stat", path)?.nlink();
            Ok((links > 0).then_some(lock))
        }
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno).at("lock", path),
    }
}

/// A new container id: 256 random bits as 64 hexadecimal digits.
///
/// # Errors
/// Where the kernel gives no random bytes.
pub fn new_id() -> Result<String> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; 32];
    File::open(path).and_then(|mut file| file.read_exact(&mut bytes)).at("read", path)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Checks a container's name: a letter or digit, then letters, digits, `_`, `.` or `-`.
///
/// # Errors
/// [`Error::Invalid`].
pub fn check_name(name: &str) -> Result<()> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    if first && name.len() >= 2 && name.len() <= 128 && bytes.all(rest) {
        return Ok(());
    }
    Err(Error::invalid(
        format!("container name `{}`", name.escape_debug()),
        "must be 2 to 128 letters, digits, `_`, `.` or `-`, and begin with a letter or digit",
    ))
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
