//! The lines of the list of containers, kept between requests: programs ask for it every second.
//!
//! Nothing tells when a line is old but the files that it was made of. A file that is written anew is
//! another file, or has another time; so a few calls of stat(2) tell whether a line is right, where
//! reading and writing its JSON would take a hundred times as long. What changes by itself, the words of
//! its state, is written at each request.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use corten_daemon::backend::List;
use corten_daemon::version::Version;
use corten_daemon::{Failure, Outcome};
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag};
use nix::sys::stat::Mode;
use serde::Serialize;
use serde_json::Value;

use super::summary::{Health, health};
use super::{Api, locked};
use crate::engine::error::At;
use crate::engine::record::State;
use crate::engine::state::Containers;
use crate::engine::view::View;

/// By which it is told that a file is the same: its number, its size and its times.
type Stamp = Option<(u64, i64, i64, i64)>;

/// The lines, by the containers' ids.
#[derive(Debug, Default)]
pub(super) struct Rows(Mutex<HashMap<String, Arc<Row>>>);

#[derive(Debug)]
struct Row {
    stamps: [Stamp; 5],
    view: View,
    /// The line without its state and without the brace that it begins with.
    rest: String,
}

/// What of a line changes by itself.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Own {
    state: &'static str,
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<Health>,
}

fn stamp(place: impl AsFd, path: &str) -> Stamp {
    let found = nix::sys::stat::fstatat(place, path, AtFlags::empty()).ok()?;
    Some((found.st_ino, found.st_size, found.st_mtime, found.st_mtime_nsec))
}

/// The directories in which the files are: from there the way to them is short, and most of a stat(2) is the
/// way.
#[derive(Debug)]
struct Places {
    containers: OwnedFd,
    shims: OwnedFd,
    /// Where a container has been on a network.
    endpoints: Option<OwnedFd>,
}

impl Places {
    fn open(containers: &Containers) -> crate::engine::Result<Places> {
        let open = |path: PathBuf| {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            nix::fcntl::open(&path, flags, Mode::empty()).at("open", &path)
        };
        Ok(Places {
            containers: open(containers.directory_of(""))?,
            shims: open(containers.shims.of(""))?,
            endpoints: open(containers.endpoints_of("")).ok(),
        })
    }

    // ANCHOR: stamps
    /// The stamps of all that a container's line is made of.
    fn stamps(&self, id: &str, images: Stamp) -> [Stamp; 5] {
        let status = corten_supervisor::record::STATUS_FILE;
        [
            stamp(&self.containers, &format!("{id}/config.json")),
            stamp(&self.containers, &format!("{id}/state.json")),
            stamp(&self.shims, &format!("{id}/{status}")),
            self.endpoints.as_ref().and_then(|endpoints| stamp(endpoints, id)),
            images,
        ]
    }
    // ANCHOR_END: stamps
}

impl Row {
    /// Writes the line.
    fn write(&self, version: Option<Version>, text: &mut Vec<u8>) -> serde_json::Result<()> {
        let health = health(&self.view, version);
        let own = Own { state: self.view.word(), status: self.view.line(), health };
        serde_json::to_writer(&mut *text, &own)?;
        text.pop();
        text.push(b',');
        text.extend_from_slice(self.rest.as_bytes());
        Ok(())
    }

    fn runs(&self) -> bool {
        matches!(self.view.state, State::Running { .. })
    }
}

impl Api {
    pub(super) fn listed(&self, wanted: &List) -> Outcome<String> {
        if wanted.size || !wanted.filters.is_empty() {
            let rows = self.summaries(wanted)?;
            return Ok(Value::Array(rows).to_string());
        }
        let index = self.engine().store().root().join("index.json");
        let images = stamp(AT_FDCWD, &index.to_string_lossy());
        let places = Places::open(self.engine().containers())?;
        let ids = self.engine().containers().ids()?;
        let mut rows: Vec<Arc<Row>> = Vec::with_capacity(ids.len());
        for id in &ids {
            rows.extend(self.row(id, &places, images)?);
        }
        self.forget_rows(&ids);
        if !wanted.all && wanted.limit.is_none() {
            rows.retain(|row| row.runs());
        }
        rows.sort_by(|a, b| b.view.record.created.cmp(&a.view.record.created));
        rows.truncate(wanted.limit.unwrap_or(usize::MAX));
        let mut text = Vec::with_capacity(rows.iter().map(|row| row.rest.len() + 128).sum());
        text.push(b'[');
        for (at, row) in rows.iter().enumerate() {
            if at > 0 {
                text.push(b',');
            }
            row.write(wanted.version, &mut text)
                .map_err(|why| Failure::internal(why.to_string()))?;
        }
        text.push(b']');
        String::from_utf8(text).map_err(|why| Failure::internal(why.to_string()))
    }

    // ANCHOR: row
    /// One line; `None` for what is being made or removed.
    fn row(&self, id: &str, places: &Places, images: Stamp) -> Outcome<Option<Arc<Row>>> {
        let containers = self.engine().containers();
        // Before it is read: what changes meanwhile makes the line old.
        let stamps = places.stamps(id, images);
        let known = locked(&self.0.rows.0).get(id).cloned();
        if let Some(row) = known.filter(|row| row.stamps == stamps)
            && (!row.runs() || self.is_watched(id) || containers.shims.is_alive(id))
        {
            return Ok(Some(row));
        }
        let view = match self.engine().view(id) {
            Ok(view) => view,
            Err(crate::engine::Error::NoSuchContainer { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut line = self.summary(&view, &List::default(), &mut HashMap::new())?;
        if let Some(line) = line.as_object_mut() {
            line.remove("State");
            line.remove("Status");
        }
        let rest = line.to_string().split_off(1);
        let row = Arc::new(Row { stamps, view, rest });
        locked(&self.0.rows.0).insert(id.to_owned(), Arc::clone(&row));
        Ok(Some(row))
    }
    // ANCHOR_END: row

    /// Whether its end would have been noticed.
    fn is_watched(&self, id: &str) -> bool {
        locked(&self.0.watched).contains(id)
    }

    /// Lines of containers that are gone.
    fn forget_rows(&self, ids: &[String]) {
        let mut rows = locked(&self.0.rows.0);
        if rows.len() > ids.len() {
            let there: std::collections::HashSet<&String> = ids.iter().collect();
            rows.retain(|id, _| there.contains(id));
        }
    }
}
