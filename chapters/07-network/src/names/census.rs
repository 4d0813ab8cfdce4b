//! Who is attached, read from the files of the networks and kept up to date by inotify(7).
//!
//! There is nothing to be told and nothing to be lost: the file of an endpoint *is* the message.
//! The kernel queues its change before whoever renamed the file goes on, and the server empties
//! that queue before it answers anybody ([`Census::refresh`]). So a name can be resolved as soon as
//! its file is there, and no answer is older than the files.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use serde::Deserialize;

use super::table::{Facts, Table};
use crate::endpoint::Endpoint;
use crate::error::{Context, Error, Result};

/// A network's file, as far as names depend on it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Record {
    name: String,
    #[serde(default)]
    internal: bool,
}

/// What a watched directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Directory {
    /// That of all networks.
    Networks,
    /// That of the network with this id.
    Network(String),
    /// That of its endpoints.
    Endpoints(String),
}

/// The files of all networks of this machine.
#[derive(Debug)]
pub(super) struct Census {
    /// `ROOT/networks`: what the networks are.
    settings: PathBuf,
    /// `STATE/networks`: who is in them.
    state: PathBuf,
    inotify: Inotify,
    watched: HashMap<WatchDescriptor, Directory>,
}

impl Census {
    /// Begins to watch, and reads what is there already.
    ///
    /// # Errors
    /// Where no inotify can be had (`EMFILE`: fs.inotify.max_user_instances is reached).
    pub(super) fn new(root: &Path, state: &Path, table: &mut Table) -> Result<Census> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
            .during("make an inotify (see fs.inotify.max_user_instances)")?;
        let mut census = Census {
            settings: root.join("networks"),
            state: state.join("networks"),
            inotify,
            watched: HashMap::new(),
        };
        census.read_all(table, &mut BTreeSet::new())?;
        Ok(census)
    }

    // ANCHOR: refresh
    /// Takes in what has changed since the last time; which containers that was about. Costs one
    /// system call where nothing has.
    pub(super) fn refresh(&mut self, table: &mut Table) -> Result<BTreeSet<String>> {
        let mut touched = BTreeSet::new();
        loop {
            match self.inotify.read_events() {
                Ok(events) => {
                    for event in events {
                        self.take(event, table, &mut touched)?;
                    }
                }
                Err(Errno::EAGAIN) => return Ok(touched),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).during("read what has changed"),
            }
        }
    }
    // ANCHOR_END: refresh

    /// Takes in endpoints of a network that were not seen yet, however their files have come, and
    /// forgets those whose files have gone. For whoever asks, and waits for the answer: one look
    /// into a directory.
    pub(super) fn compare(&self, network: &str, table: &mut Table) -> BTreeSet<String> {
        let there: BTreeSet<OsString> =
            names(&self.state.join(network).join("endpoints")).into_iter().collect();
        let known: BTreeSet<OsString> =
            table.endpoints(network).map(|(id, _)| format!("{id}.json").into()).collect();
        let mut touched = BTreeSet::new();
        for file in there.symmetric_difference(&known) {
            self.read_endpoint(network, file, table, &mut touched);
        }
        touched
    }

    fn take(
        &mut self,
        event: InotifyEvent,
        table: &mut Table,
        touched: &mut BTreeSet<String>,
    ) -> Result<()> {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            // More has changed than the kernel remembers: read everything again.
            return self.read_all(table, touched);
        }
        let Some(directory) = self.watched.get(&event.wd).cloned() else { return Ok(()) };
        let name = event.name.as_deref();
        match directory {
            Directory::Networks => match name.and_then(id) {
                Some(network) => self.read_network(network, table, touched),
                None => Ok(()),
            },
            // Beside the endpoints there are addresses, locks.
            Directory::Network(_) if name.is_some_and(|name| name != "endpoints") => Ok(()),
            Directory::Network(network) => self.read_network(&network, table, touched),
            Directory::Endpoints(_) if event.mask.contains(AddWatchFlags::IN_IGNORED) => {
                self.watched.remove(&event.wd);
                Ok(())
            }
            Directory::Endpoints(network) => {
                if let Some(name) = name {
                    self.read_endpoint(&network, name, table, touched);
                }
                Ok(())
            }
        }
    }

    fn read_all(&mut self, table: &mut Table, touched: &mut BTreeSet<String>) -> Result<()> {
        self.watch(&self.state.clone(), Directory::Networks)?;
        for network in names(&self.state) {
            if let Some(network) = id(&network) {
                self.read_network(network, table, touched)?;
            }
        }
        Ok(())
    }

    /// Reads what is to be known of one network. It may be there in part only: whoever makes it
    /// makes one thing after the other, and each wakes us again.
    fn read_network(
        &mut self,
        network: &str,
        table: &mut Table,
        touched: &mut BTreeSet<String>,
    ) -> Result<()> {
        let directory = self.state.join(network);
        // Watched first and read afterwards: what comes in between is read twice, not never.
        let endpoints = directory.join("endpoints");
        if !self.watch(&directory, Directory::Network(network.to_owned()))? {
            touched.extend(table.remove_network(network).into_iter().map(|e| e.container));
            return Ok(());
        }
        table.set_facts(network, self.facts(network));
        self.watch(&endpoints, Directory::Endpoints(network.to_owned()))?;
        let mut files: BTreeSet<OsString> = names(&endpoints).into_iter().collect();
        files.extend(table.endpoints(network).map(|(id, _)| OsString::from(format!("{id}.json"))));
        for file in files {
            self.read_endpoint(network, &file, table, touched);
        }
        Ok(())
    }

    /// What the network's own file says. Where it cannot be read, nothing leaves.
    fn facts(&self, network: &str) -> Facts {
        let file = self.settings.join(format!("{network}.json"));
        let record = std::fs::read(file).ok();
        match record.and_then(|text| serde_json::from_slice::<Record>(&text).ok()) {
            Some(Record { name, internal }) => Facts { name: name.to_ascii_lowercase(), internal },
            None => Facts { name: network.get(..12).unwrap_or(network).into(), internal: true },
        }
    }

    /// Reads one endpoint's file again, or notes that it is gone.
    fn read_endpoint(
        &self,
        network: &str,
        file: &OsStr,
        table: &mut Table,
        touched: &mut BTreeSet<String>,
    ) {
        let Some(id) = file.to_str().and_then(|file| file.strip_suffix(".json")) else { return };
        let path = self.state.join(network).join("endpoints").join(file);
        let parsed = std::fs::read(&path)
            .ok()
            .and_then(|text| serde_json::from_slice::<Endpoint>(&text).ok());
        let known = table.endpoints(network).find(|(other, _)| *other == id);
        if known.map(|(_, endpoint)| endpoint) == parsed.as_ref() {
            return;
        }
        touched.extend(table.remove(network, id).map(|endpoint| endpoint.container));
        if let Some(endpoint) = parsed {
            touched.insert(endpoint.container.clone());
            table.insert(network, id, endpoint);
        }
    }

    /// Watches a directory; whether there is one.
    fn watch(&mut self, path: &Path, directory: Directory) -> Result<bool> {
        let mut changes = AddWatchFlags::IN_ONLYDIR
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE;
        if let Directory::Endpoints(_) = directory {
            // What is linked or renamed into place is complete; anything else when it is closed.
            changes |= AddWatchFlags::IN_CLOSE_WRITE;
        }
        match self.inotify.add_watch(path, changes) {
            Ok(descriptor) => {
                self.watched.insert(descriptor, directory);
                Ok(true)
            }
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(false),
            Err(errno) => Err(Error::path("watch", path, errno.into())),
        }
    }
}

impl AsFd for Census {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

/// The id of a network, where a name is one: other things lie beside the networks.
fn id(name: &OsStr) -> Option<&str> {
    name.to_str().filter(|name| name.len() == 64 && name.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// The names in a directory; none where it is not there.
fn names(directory: &Path) -> Vec<OsString> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries.filter_map(io::Result::ok).map(|entry| entry.file_name()).collect()
}
