//! What happens, told to all who wait for it: one reader of the history, however many clients there are.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use corten_daemon::backend::{EventsWanted, Feed};
use corten_daemon::{Failure, Outcome};
use corten_supervisor::journal::Entry;
use corten_supervisor::record::{Time, now};
use serde_json::{Value, json};
use tokio::sync::broadcast::{self, Receiver, Sender};
use tokio::sync::mpsc;

use super::Api;
use crate::engine::clock;
use crate::engine::events::{History, KNOWN, Position, Tail, bell, fits};
use crate::engine::filter::Filters;

/// So many events may wait for a task that is slow; who misses some looks at what is.
const KEPT: usize = 1024;

/// How long nothing may ring before the history is looked at.
const PATIENCE: Duration = Duration::from_millis(500);

/// The history, as it is written.
#[derive(Debug)]
pub(super) struct Hub {
    path: PathBuf,
    told: Sender<Arc<Entry>>,
    /// What was before it has been told. Held while something is.
    position: Arc<Mutex<Position>>,
}

impl Hub {
    /// Follows the history at `path` from now on.
    pub(super) fn follow(path: PathBuf) -> Outcome<Hub> {
        let rings = bell(&path)?;
        let rings = rings.and_then(|rings| rings.as_fd().try_clone_to_owned().ok());
        // What was before is for those who ask for it.
        let tail = Tail::of(path.clone())?;
        let position = Arc::new(Mutex::new(tail.position()));
        let told = Sender::new(KEPT);
        tokio::spawn(run(rings, tail, told.clone(), Arc::clone(&position)));
        Ok(Hub { path, told, position })
    }

    /// How many listen.
    pub(super) fn listeners(&self) -> usize {
        self.told.receiver_count()
    }

    /// What happens from now on.
    pub(super) fn listen(&self) -> Receiver<Arc<Entry>> {
        self.told.subscribe()
    }

    /// What has been, and what happens from then on: nothing twice, and nothing is missed between.
    fn listen_with_history(&self) -> Outcome<(History, Receiver<Arc<Entry>>)> {
        let position = self.position.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((History::before(&self.path, *position)?, self.told.subscribe()))
    }
}

// ANCHOR: run
async fn run(
    rings: Option<OwnedFd>,
    mut tail: Tail,
    told: Sender<Arc<Entry>>,
    position: Arc<Mutex<Position>>,
) {
    let rings = rings.and_then(|fd| corten_daemon::readable(fd).ok());
    loop {
        match &rings {
            Some(rings) => {
                let rung = tokio::time::timeout(PATIENCE, rings.readable()).await;
                if let Ok(Ok(mut guard)) = rung {
                    let mut events = [0; 4096];
                    // Only that there were any matters.
                    while nix::unistd::read(rings.get_ref(), &mut events).is_ok_and(|n| n > 0) {}
                    guard.clear_ready();
                }
            }
            None => tokio::time::sleep(PATIENCE / 10).await,
        }
        match tail.more() {
            Ok(entries) => {
                let mut position = position.lock().unwrap_or_else(PoisonError::into_inner);
                for entry in entries {
                    // Nobody may be listening.
                    let _ = told.send(Arc::new(entry));
                }
                *position = tail.position();
            }
            Err(why) => tracing::warn!(%why, "the history cannot be read"),
        }
    }
}
// ANCHOR_END: run

/// `GET /events`.
pub(super) fn events(api: &Api, wanted: &EventsWanted) -> Outcome<Feed> {
    let point = |text: &Option<String>| text.as_deref().map(clock::point).transpose();
    let (since, until) = (point(&wanted.since)?, point(&wanted.until)?);
    // Whoever says only when to end wants what has been.
    let since = since.or(until.map(|_| 0));
    if let (Some(since), Some(until)) = (since, until)
        && since > until
    {
        let (since, until) = (&wanted.since, &wanted.until);
        return Err(Failure::invalid(format!(
            "`since` time ({}) cannot be after `until` time ({})",
            since.as_deref().unwrap_or_default(),
            until.as_deref().unwrap_or_default()
        )));
    }
    let pairs = wanted
        .filters
        .iter()
        .flat_map(|(name, values)| values.iter().map(move |value| (name.clone(), value.clone())));
    // One that is none chooses nothing: dockerd does not look.
    let known: Vec<&str> =
        KNOWN.iter().copied().chain(wanted.filters.keys().map(String::as_str)).collect();
    let filters = Filters::new(pairs, &known)?;
    let (history, next) = match since {
        Some(_) => {
            let (history, next) = api.0.hub.listen_with_history()?;
            (Some(history), next)
        }
        None => (None, api.0.hub.listen()),
    };
    let (pieces, feed) = mpsc::channel(64);
    let flow = Flow { filters, since: since.unwrap_or_else(now), until, pieces };
    api.0.runtime.spawn(flow.run(history, next));
    Ok(feed)
}

/// A client's events.
struct Flow {
    filters: Filters,
    since: Time,
    until: Option<Time>,
    pieces: mpsc::Sender<std::io::Result<bytes::Bytes>>,
}

impl Flow {
    async fn run(self, history: Option<History>, mut next: Receiver<Arc<Entry>>) {
        if let Some(history) = history
            && !self.tell_history(history).await
        {
            return;
        }
        loop {
            let left = self.until.map(|until| Duration::from_nanos(until.saturating_sub(now())));
            let entry = tokio::select! {
                entry = next.recv() => entry,
                () = self.pieces.closed() => return,
                () = tokio::time::sleep(left.unwrap_or(Duration::MAX)), if left.is_some() => return,
            };
            let entry = match entry {
                Ok(entry) => entry,
                Err(broadcast::error::RecvError::Lagged(_)) => continue,
                Err(broadcast::error::RecvError::Closed) => return,
            };
            if !self.pass_on(&entry).await {
                return;
            }
        }
    }

    /// Whether the client wants more. A block of the history is read when the one before is on its way.
    async fn tell_history(&self, mut history: History) -> bool {
        loop {
            match history.next() {
                Ok(None) => return true,
                Ok(Some(entries)) => {
                    for entry in &entries {
                        if !self.pass_on(entry).await {
                            return false;
                        }
                    }
                }
                Err(why) => {
                    tracing::warn!(%why, "the history cannot be read");
                    return true;
                }
            }
        }
    }

    /// Whether the client wants more.
    async fn pass_on(&self, entry: &Entry) -> bool {
        if self.until.is_some_and(|until| entry.time_nano > until) {
            return false;
        }
        if entry.time_nano < self.since || !fits(&self.filters, entry) {
            return true;
        }
        let text = format!("{}\n", shown(entry));
        self.pieces.send(Ok(text.into())).await.is_ok()
    }
}

/// With the fields of the time before there were types.
fn shown(entry: &Entry) -> Value {
    let mut value = json!(entry);
    match entry.kind.as_str() {
        "container" => {
            value["status"] = json!(entry.action);
            value["id"] = json!(entry.actor.id);
            if let Some(image) = entry.actor.attributes.get("image") {
                value["from"] = json!(image);
            }
        }
        "image" => {
            value["status"] = json!(entry.action);
            value["id"] = json!(entry.actor.id);
        }
        _ => {}
    }
    value
}
