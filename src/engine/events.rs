//! What has happened, and what happens: the history that supervisors and engines write.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Take};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use corten_network::Network;
use corten_supervisor::journal::{self, Actor, Entry, Journal};
use corten_supervisor::record::Time;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::Engine;
use super::error::{At, Result};
use super::filter::Filters;
use super::options::MountType;
use super::record::Record;
use super::state::Containers;

/// The history's file in the state directory.
pub(super) const FILE: &str = "events.jsonl";

/// The filters of `events`.
pub(crate) const KNOWN: [&str; 8] =
    ["container", "event", "image", "label", "network", "scope", "type", "volume"];

/// Which events are wanted.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Not before.
    pub since: Option<Time>,
    /// Not after; without it, whatever comes is waited for.
    pub until: Option<Time>,
    /// `NAME=VALUE`.
    pub filters: Vec<String>,
}

/// How long nothing may happen before the time is looked at.
const PATIENCE: u16 = 500;

impl Containers {
    /// Where a container's events are written, and whose they are.
    pub fn journal(&self, record: &Record) -> Journal {
        let mut attributes = record.config.labels.clone();
        attributes.insert("image".to_owned(), record.config.image.clone());
        attributes.insert("name".to_owned(), record.shown_name().to_owned());
        let actor = Actor { id: record.id.clone(), attributes };
        Journal { path: self.events_path(), actor }
    }

    /// Writes down what an engine has done to a container. That it is done counts more than that it
    /// is written down.
    pub(crate) fn note(&self, record: &Record, action: &str, more: &[(&str, String)]) {
        drop(self.journal(record).tell(action, more));
    }

    /// Writes down what was done to a network.
    pub(super) fn note_network(&self, action: &str, network: &Network, container: Option<&str>) {
        let own = [("name", network.name.as_str()), ("type", network.driver.as_str())];
        let attributes = own.into_iter().chain(container.map(|id| ("container", id)));
        note(&self.root, "network", action, &network.id, attributes);
    }

    /// Writes down that a container's volumes are `in_use`, or no more.
    pub(super) fn note_volumes(&self, record: &Record, in_use: bool) {
        let action = if in_use { "mount" } else { "unmount" };
        let volumes = record.mount_points.iter().filter(|point| point.kind == MountType::Volume);
        for point in volumes {
            let driver = if point.driver.is_empty() { "local" } else { &point.driver };
            let mut attributes = vec![("container", record.id.as_str()), ("driver", driver)];
            if in_use {
                attributes.extend([
                    ("destination", point.destination.as_str()),
                    ("propagation", point.propagation.as_str()),
                    ("read/write", if point.writable { "true" } else { "false" }),
                ]);
            }
            note(&self.root, "volume", action, &point.name, attributes);
        }
    }
}

/// Writes down in a state directory what was done to something.
pub(super) fn note<'a>(
    root: &Path,
    kind: &str,
    action: &str,
    id: &str,
    attributes: impl IntoIterator<Item = (&'a str, &'a str)>,
) {
    let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let attributes = attributes.into_iter().map(own).collect();
    let entry = Entry::now(kind, action, Actor { id: id.to_owned(), attributes });
    drop(journal::append(&root.join(FILE), &entry));
}

/// Writes down in a state directory that unused things of a kind were removed, and how many bytes they had.
pub(super) fn note_prune(root: &Path, kind: &str, reclaimed: u64) {
    note(root, kind, "prune", "", [("reclaimed", reclaimed.to_string().as_str())]);
}

impl Engine {
    /// Writes down that unused things of a kind were removed, and how many bytes they had.
    pub(crate) fn note_prune(&self, kind: &str, reclaimed: u64) {
        note_prune(&self.root, kind, reclaimed);
    }

    /// Writes down what was done to an image.
    pub(crate) fn note_image(&self, action: &str, id: &str, name: &str) {
        note(&self.root, "image", action, id, [("name", name)]);
    }

    // ANCHOR: events
    /// Gives what has happened since, and what happens until; `take` says whether it wants more.
    /// Without `since` it begins now.
    ///
    /// # Errors
    /// For a filter that is none; where the history cannot be read.
    pub fn events(&self, wanted: &Wanted, take: &mut dyn FnMut(Entry) -> bool) -> Result<()> {
        let filters = Filters::parse(&wanted.filters, &KNOWN)?;
        let path = self.containers.events_path();
        let bell = bell(&path)?;
        let begin = wanted.since.unwrap_or_else(corten_supervisor::record::now);
        let mut tell = |entries: Vec<Entry>| {
            entries.into_iter().all(|entry| {
                let is_late = wanted.until.is_some_and(|until| entry.time_nano > until);
                entry.time_nano < begin || is_late || !fits(&filters, &entry) || take(entry)
            })
        };
        let mut history = History::whole(&path)?;
        while let Some(entries) = history.next()? {
            if !tell(entries) {
                return Ok(());
            }
        }
        let mut tail = Tail { path, at: history.end };
        while wanted.until.is_none_or(|until| until > corten_supervisor::record::now()) {
            wait(&bell)?;
            if !tell(tail.more()?) {
                return Ok(());
            }
        }
        Ok(())
    }
    // ANCHOR_END: events
}

/// Whether an event is wanted.
pub(crate) fn fits(filters: &Filters, entry: &Entry) -> bool {
    let attribute = |name: &str| entry.actor.attributes.get(name).map_or("", String::as_str);
    let is_of = |kind: &str, name: &str| {
        entry.kind == kind
            && (attribute("name") == name
                || entry.actor.id == name
                || name.len() >= 12 && entry.actor.id.starts_with(name))
    };
    // What follows the colon is a detail: `health_status: healthy`, `exec_start: sh`.
    let action = entry.action.split(':').next().unwrap_or_default();
    filters.one_of("container", |name| is_of("container", name))
        && filters.one_of("network", |name| is_of("network", name))
        && filters.one_of("volume", |name| is_of("volume", name))
        && filters.one_of("image", |name| is_of("image", name) || attribute("image") == name)
        && filters.one_of("event", |name| name == action || name == entry.action)
        && filters.one_of("type", |kind| entry.kind == kind)
        && filters.one_of("scope", |scope| entry.scope == scope)
        && filters.labels_fit(&entry.actor.attributes)
}

/// A place between two lines of the history.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// The file, whatever its name is by now; 0 for none.
    inode: u64,
    /// Bytes before it.
    at: u64,
}

/// What has been, a block at a time: it may be megabytes, and many may want it at the same time.
#[derive(Debug)]
pub(crate) struct History {
    /// The newer file.
    path: PathBuf,
    /// The older file first.
    files: VecDeque<BufReader<Take<File>>>,
    /// Behind what was read last.
    end: Position,
}

/// So many bytes are read of the history at a time.
const BLOCK: usize = 64 << 10;

impl History {
    /// All that there is.
    pub(crate) fn whole(path: &Path) -> Result<History> {
        History::open(path, None)
    }

    /// What was before a position.
    pub(crate) fn before(path: &Path, end: Position) -> Result<History> {
        History::open(path, Some(end))
    }

    fn open(path: &Path, end: Option<Position>) -> Result<History> {
        // The newer one first: what is set aside in between is the older one then.
        let newer = existing(path)?;
        let older = existing(&journal::older(path))?;
        let mut files: Vec<(File, u64)> = [older, newer].into_iter().flatten().collect();
        files.dedup_by_key(|(_, inode)| *inode);
        if let Some(end) = end {
            let last = files.iter().position(|(_, inode)| *inode == end.inode);
            files.truncate(last.map_or(0, |last| last + 1));
        }
        let limit = |inode| end.filter(|end| end.inode == inode).map_or(u64::MAX, |end| end.at);
        let end = Position { inode: files.last().map_or(0, |(_, inode)| *inode), at: 0 };
        let files = files.into_iter().map(|(file, inode)| BufReader::new(file.take(limit(inode))));
        Ok(History { path: path.to_owned(), files: files.collect(), end })
    }

    /// The next ones; `None` where there are no more.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<Entry>>> {
        while let Some(file) = self.files.front_mut() {
            let mut bytes = Vec::with_capacity(BLOCK);
            let mut whole = 0;
            while bytes.len() < BLOCK {
                let read = file.read_until(b'\n', &mut bytes).at("read", &self.path)?;
                // A line that is being written is for the next time.
                if read == 0 || bytes.last() != Some(&b'\n') {
                    break;
                }
                whole = bytes.len();
            }
            if whole > 0 {
                bytes.truncate(whole);
                self.end.at += whole as u64;
                return Ok(Some(journal::parse(&bytes).collect()));
            }
            self.files.pop_front();
            if !self.files.is_empty() {
                self.end.at = 0;
            }
        }
        Ok(None)
    }
}

/// A file of the history with its inode, where it is there.
fn existing(path: &Path) -> Result<Option<(File, u64)>> {
    match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        other => {
            let file = other.at("open", path)?;
            let inode = file.metadata().at("stat", path)?.ino();
            Ok(Some((file, inode)))
        }
    }
}

/// The end of the history, as it grows.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    path: PathBuf,
    at: Position,
}

impl Tail {
    /// Of the history at `path`, from its end on.
    pub(crate) fn of(path: PathBuf) -> Result<Tail> {
        let mut tail = Tail { path, ..Tail::default() };
        tail.more()?;
        Ok(tail)
    }

    /// How far it has been read.
    pub(crate) fn position(&self) -> Position {
        self.at
    }

    /// What has come since; a file that was set aside is read to its end first.
    pub(crate) fn more(&mut self) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        if self.at.inode != 0 && inode(&self.path) != self.at.inode {
            let older = journal::older(&self.path);
            if inode(&older) == self.at.inode {
                entries.extend(self.read(&older)?);
            }
            self.at = Position::default();
        }
        let path = self.path.clone();
        entries.extend(self.read(&path)?);
        Ok(entries)
    }

    fn read(&mut self, path: &Path) -> Result<Vec<Entry>> {
        let Some((mut file, inode)) = existing(path)? else { return Ok(Vec::new()) };
        self.at.inode = inode;
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(self.at.at)).at("read", path)?;
        file.read_to_end(&mut bytes).at("read", path)?;
        // A line that is being written is for the next time.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        bytes.truncate(whole);
        self.at.at += whole as u64;
        Ok(journal::parse(&bytes).collect())
    }
}

fn inode(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.ino())
}

/// Rings when the history grows.
pub(crate) fn bell(path: &Path) -> Result<Option<Inotify>> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    // All instances of this user may be taken: then by the clock.
    let Ok(inotify) = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK) else {
        return Ok(None);
    };
    let flags = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE;
    inotify.add_watch(directory, flags).at("watch", directory)?;
    Ok(Some(inotify))
}

fn wait(bell: &Option<Inotify>) -> Result<()> {
    let waited = match bell {
        Some(inotify) => {
            let mut fds = [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)];
            let waited = poll(&mut fds, PollTimeout::from(PATIENCE));
            let _ = inotify.read_events();
            waited
        }
        None => poll(&mut [], PollTimeout::from(PATIENCE / 5)),
    };
    match waited {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno).at("wait for", Path::new("events")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Appends so many events, of which a file takes about ten.
    fn happen(path: &Path, from: u64, to: u64) {
        for number in from..to {
            let long = ("long".to_owned(), "x".repeat(100 << 10));
            let actor = Actor { id: number.to_string(), attributes: [long].into() };
            journal::append(path, &Entry::now("container", "die", actor)).unwrap();
        }
    }

    fn ids(entries: Vec<Entry>) -> Vec<u64> {
        entries.iter().map(|entry| entry.actor.id.parse().unwrap()).collect()
    }

    fn all(mut history: History) -> (Vec<u64>, Position) {
        let mut found = Vec::new();
        while let Some(entries) = history.next().unwrap() {
            assert!(entries.len() <= 1, "a block at a time");
            found.extend(ids(entries));
        }
        (found, history.end)
    }

    #[test]
    fn what_has_been_ends_where_what_comes_begins() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        assert!(all(History::whole(&path).unwrap()).0.is_empty());
        let mut tail = Tail::of(path.clone()).unwrap();
        let nothing = tail.position();
        happen(&path, 0, 5);
        // Nobody has looked at these yet, and all of them come.
        assert!(all(History::before(&path, nothing).unwrap()).0.is_empty());
        assert_eq!(ids(tail.more().unwrap()), [0, 1, 2, 3, 4]);
        happen(&path, 5, 7);
        let half = tail.position();
        // The file is set aside, and half a line is there of the next event.
        happen(&path, 7, 14);
        assert!(journal::older(&path).exists());
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        std::io::Write::write_all(&mut file, b"{\"Type\":").unwrap();
        let (before, _) = all(History::before(&path, half).unwrap());
        let after = ids(tail.more().unwrap());
        let every: Vec<u64> = (0..14).collect();
        assert_eq!(before, [0, 1, 2, 3, 4]);
        assert_eq!([before, after].concat(), every);
        let (whole, end) = all(History::whole(&path).unwrap());
        assert_eq!((whole, end), (every, tail.position()));
    }
}
