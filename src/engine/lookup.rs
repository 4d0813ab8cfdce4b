//! Finding containers: by name, by the beginning of an id, all of them.

use std::panic::resume_unwind;
use std::slice::Chunks;
use std::thread::Builder;

use corten_supervisor::record::Status;

use super::clock;
use super::error::{At, Error, Result};
use super::record::{Record, State};
use super::state::{Containers, running};
use corten_supervisor::durable;

/// So many containers take longer to read than a thread to start.
const WORTH_A_THREAD: usize = 50;

/// The digits of a whole id.
const ID_LENGTH: usize = 64;

/// A container as it is found on the disk.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) record: Record,
    pub(super) state: State,
    /// What its supervisor has written last, where that certainly lives.
    pub(super) status: Option<Status>,
}

impl Seen {
    fn known(self) -> (Record, State) {
        (self.record, self.state)
    }
}

impl Containers {
    /// Makes the index of names: nobody has since the machine was booted.
    pub(super) fn index(&self) -> Result<()> {
        let _turn = self.turn()?;
        if self.names.is_of_this_boot() {
            return Ok(());
        }
        let list = self.list()?;
        let name =
            |(record, _): &'_ (Record, State)| Some((record.name.clone()?, record.id.clone()));
        let all: Vec<(String, String)> = list.iter().filter_map(name).collect();
        self.names.rebuild(all.iter().map(|(name, id)| (name.as_str(), id.as_str())))
    }

    pub(super) fn check_name(&self, name: &str) -> Result<()> {
        let taken = match self.holder(name)? {
            None if name.len() >= 12 => self.beginning(name)?.into_iter().next(),
            holder => holder,
        };
        taken.map_or(Ok(()), |id| {
            let id = id.get(..12).unwrap_or(&id).to_owned();
            Err(Error::NameTaken { name: name.to_owned(), id })
        })
    }

    /// The id of the container that has this name, or is being made under it.
    fn holder(&self, name: &str) -> Result<Option<String>> {
        let Some(id) = self.names.get(name) else { return Ok(None) };
        let has_it = match self.read(&id)? {
            Some(seen) => seen.record.name.as_deref() == Some(name),
            None => running(&self.root, &id).exists(),
        };
        Ok(has_it.then_some(id))
    }

    /// The container of this name.
    fn named(&self, name: &str) -> Result<Option<(Record, State)>> {
        let Some(id) = self.names.get(name) else { return Ok(None) };
        let found = self.read(&id)?.map(Seen::known);
        Ok(found.filter(|(record, _)| record.name.as_deref() == Some(name)))
    }

    /// The ids that begin so.
    fn beginning(&self, prefix: &str) -> Result<Vec<String>> {
        let path = self.root.join("containers");
        let mut ids = Vec::new();
        for entry in std::fs::read_dir(&path).at("read", &path)? {
            let id = entry.at("read", &path)?.file_name().to_string_lossy().into_owned();
            ids.extend(Some(id).filter(|id| id.starts_with(prefix)));
        }
        Ok(ids)
    }

    /// One container; `None` where it is not whole: it is being made or removed. What a supervisor
    /// that is known to live has written needs no other file.
    fn read(&self, id: &str) -> Result<Option<Seen>> {
        let directory = self.directory_of(id);
        let Some(record) = durable::read_json::<Record>(&directory.join("config.json"))? else {
            return Ok(None);
        };
        if let Some(status) = self.shims.status(id).filter(|_| self.shims.is_alive(id)) {
            let state = running_state(&status);
            return Ok(Some(Seen { record, state, status: Some(status) }));
        }
        let state = durable::read_json::<State>(&directory.join("state.json"))?;
        Ok(state.map(|state| {
            let state = self.caught_up(id, state);
            Seen { record, state, status: None }
        }))
    }

    /// When a container ended before the run that it is in; `None` for its first, and where it does not run.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub fn ended_before(&self, id: &str) -> Result<Option<String>> {
        Ok(match durable::read_json(&self.directory_of(id).join("state.json"))? {
            Some(State::Running { ended, .. }) => ended,
            _ => None,
        })
    }

    /// That it runs, where the engine that started it was killed before it could write that.
    fn caught_up(&self, id: &str, state: State) -> State {
        if matches!(state, State::Running { .. }) || !self.shims.is_alive(id) {
            return state;
        }
        // Without one it waits for the word to start.
        self.shims.status(id).as_ref().map_or(state, running_state)
    }

    /// The ids of those that were started and have not been put in order since.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn started(&self) -> Result<Vec<String>> {
        let path = self.root.join("running");
        let mut ids = Vec::new();
        for entry in std::fs::read_dir(&path).at("read", &path)? {
            ids.push(entry.at("read", &path)?.file_name().to_string_lossy().into_owned());
        }
        Ok(ids)
    }

    /// The ids of all, in no order; some may be being made or removed.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn ids(&self) -> Result<Vec<String>> {
        self.beginning("")
    }

    /// All containers, the newest first.
    ///
    /// # Errors
    /// Where one cannot be read; one that is being made or removed is left out.
    pub fn list(&self) -> Result<Vec<(Record, State)>> {
        Ok(self.see_all()?.into_iter().map(Seen::known).collect())
    }

    /// The same, with what their supervisors have written. Many are read by all processors: it is the
    /// time of `ps`.
    pub(super) fn see_all(&self) -> Result<Vec<Seen>> {
        let ids = self.beginning("")?;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let parts = ids.chunks(ids.len().div_ceil(processors).max(WORTH_A_THREAD));
        let mut list = self.read_at_once(parts)?;
        list.sort_by(|a, b| b.record.created.cmp(&a.record.created));
        Ok(list)
    }

    /// Each part by a thread of its own.
    fn read_at_once(&self, mut parts: Chunks<'_, String>) -> Result<Vec<Seen>> {
        let read = |part: &[String]| -> Result<Vec<Seen>> {
            part.iter().filter_map(|id| self.read(id).transpose()).collect()
        };
        let own = parts.next().unwrap_or_default();
        std::thread::scope(|scope| {
            let start = |part| {
                let thread = Builder::new().spawn_scoped(scope, move || read(part));
                thread.map_err(|_| part)
            };
            let others: Vec<_> = parts.map(start).collect();
            let mut list = read(own)?;
            for other in others {
                list.extend(match other {
                    Ok(thread) => thread.join().unwrap_or_else(|why| resume_unwind(why))?,
                    // The machine has no thread for us.
                    Err(part) => read(part)?,
                });
            }
            Ok(list)
        })
    }

    /// The container of a name, an id or the beginning of one.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`], [`Error::Ambiguous`].
    pub fn find(&self, name_or_id: &str) -> Result<(Record, State)> {
        if let Some(found) = self.named(name_or_id)? {
            return Ok(found);
        }
        let missing = || Error::NoSuchContainer { name: name_or_id.to_owned() };
        // Nothing but an id leads into the directory.
        if name_or_id.is_empty() || !name_or_id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(missing());
        }
        if name_or_id.len() == ID_LENGTH {
            let found = self.read(name_or_id)?;
            return found.map(Seen::known).ok_or_else(missing);
        }
        let mut found = Vec::new();
        for id in self.beginning(name_or_id)? {
            found.extend(self.read(&id)?.map(Seen::known));
        }
        if found.len() > 1 {
            return Err(Error::Ambiguous {
                prefix: name_or_id.to_owned(),
                candidates: found.iter().map(|(record, _)| record.short().to_owned()).collect(),
            });
        }
        found.pop().ok_or_else(missing)
    }
}

fn running_state(status: &Status) -> State {
    let started = clock::at(status.started);
    // What is written about the run before it, nobody asks for here.
    State::Running { pid: status.pid, supervisor: status.supervisor, started, ended: None }
}
