//! The lines of the list of containers, kept between requests: programs ask for it every second.
//!
//! Nothing tells when a line is old but the files that it was made of. A file that is written anew is
//! another file, or has another time; so a few calls of stat(2) tell whether a line is right, where
//! reading and writing its JSON would take a hundred times as long. What changes by itself, the words of
//! its state, is written at each request.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use corten_daemon::Outcome;
use corten_daemon::backend::List;
use corten_daemon::version::Version;
use serde_json::Value;

use super::{Api, locked};
use crate::engine::record::State;
use crate::engine::view::View;

/// By which it is told that a file is the same: its number, its size and its times.
type Stamp = Option<(u64, u64, i64, i64)>;

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

fn stamp(path: &Path) -> Stamp {
    let found = std::fs::metadata(path).ok()?;
    Some((found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
}

impl Row {
    fn text(&self, version: Option<Version>) -> String {
        let mut state = serde_json::json!({"State": self.view.word(), "Status": self.view.line()});
        super::summary::add_health(&mut state, &self.view, version);
        let mut text = state.to_string();
        text.pop();
        text.push(',');
        text + &self.rest
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
        let images = stamp(&self.engine().store().root().join("index.json"));
        let ids = self.engine().containers().ids()?;
        let mut rows: Vec<Arc<Row>> = Vec::with_capacity(ids.len());
        for id in &ids {
            rows.extend(self.row(id, images)?);
        }
        self.forget_rows(&ids);
        if !wanted.all && wanted.limit.is_none() {
            rows.retain(|row| row.runs());
        }
        rows.sort_by(|a, b| b.view.record.created.cmp(&a.view.record.created));
        rows.truncate(wanted.limit.unwrap_or(usize::MAX));
        let texts: Vec<String> = rows.iter().map(|row| row.text(wanted.version)).collect();
        Ok(format!("[{}]", texts.join(",")))
    }

    // ANCHOR: row
    /// One line; `None` for what is being made or removed.
    fn row(&self, id: &str, images: Stamp) -> Outcome<Option<Arc<Row>>> {
        let containers = self.engine().containers();
        let directory = containers.directory_of(id);
        let status = containers.shims.of(id).join(corten_supervisor::record::STATUS_FILE);
        // Before it is read: what changes meanwhile makes the line old.
        let stamps = [
            stamp(&directory.join("config.json")),
            stamp(&directory.join("state.json")),
            stamp(&status),
            stamp(&containers.endpoints_of(id)),
            images,
        ];
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
