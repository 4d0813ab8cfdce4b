//! Streams of containers: attached to, also before they run, and read from the log.

use std::os::fd::OwnedFd;
use std::time::Duration;

use bytes::Bytes;
use corten_daemon::backend::{Attach, Attached, Condition, Logs, LogsWanted};
use corten_daemon::frame::{self, frame};
use corten_daemon::{Failure, Outcome};
use corten_supervisor::log::{Driver, Options};
use corten_supervisor::protocol;
use corten_supervisor::reader::{self, Entry, Follower, Stream, Wanted};
use corten_supervisor::record::{self, Phase};
use corten_supervisor::{client::Client, detach};
use tokio::sync::{mpsc, oneshot};

use super::{Api, locked};
use crate::engine::clock;
use crate::engine::life::{Start, chosen_log};
use crate::engine::record::Record;
use crate::engine::view::View;

/// A client that is attached to a container which does not run yet.
#[derive(Debug)]
pub(super) struct Waiting {
    attach: protocol::Attach,
    tell: oneshot::Sender<OwnedFd>,
}

impl Waiting {
    fn give(self, client: &mut Client) {
        if self.tell.is_closed() {
            return;
        }
        match client.attach(self.attach) {
            // Where the client has left meanwhile, the streams are closed.
            Ok(streams) => drop(self.tell.send(streams)),
            Err(why) => tracing::warn!(%why, "a client cannot be attached"),
        }
    }
}

impl Api {
    // ANCHOR: launch
    /// Starts a container; whoever is attached has its output from the first byte on.
    pub(super) fn launch(&self, id: &str) -> Outcome<bool> {
        let mut prepare = |client: &mut Client| {
            let waiting = locked(&self.0.waiting).remove(id).unwrap_or_default();
            waiting.into_iter().for_each(|one| one.give(client));
            Ok(())
        };
        let started = self.engine().start_after(id, &Start::default(), &mut prepare)?;
        let Some(started) = started else { return Ok(false) };
        self.watch(started.record, started.client, started.ended);
        Ok(true)
    }
    // ANCHOR_END: launch

    /// Whoever waits for a container that is gone has waited for nothing.
    pub(super) fn forget_waiting(&self, id: &str) {
        drop(locked(&self.0.waiting).remove(id));
    }

    pub(super) fn attach_to(&self, name: &str, wanted: &Attach) -> Outcome<Attached> {
        let record = self.find(name)?;
        let tty = record.config.tty;
        let keys = match (&wanted.detach_keys, tty) {
            (Some(text), _) => detach::parse(text)
                .map_err(|_| Failure::invalid(format!("Invalid detach keys ({text}) provided")))?,
            (None, true) => detach::DEFAULT.to_vec(),
            (None, false) => Vec::new(),
        };
        let replay = match wanted.logs {
            true => {
                let logs = LogsWanted {
                    stdout: wanted.stdout,
                    stderr: wanted.stderr,
                    ..LogsWanted::default()
                };
                Some(self.logs_of(&record.id, &logs)?.feed)
            }
            false => None,
        };
        if !wanted.stream {
            return Ok(Attached { tty, replay, streams: None });
        }
        let attach = protocol::Attach {
            stdin: wanted.stdin && record.config.open_stdin,
            stdout: wanted.stdout,
            stderr: wanted.stderr,
            wait: true,
            detach_keys: if wanted.stdin { keys } else { Vec::new() },
        };
        let (tell, streams) = oneshot::channel();
        let waiting = Waiting { attach, tell };
        // Nobody starts it between the look and the entry in the list.
        let mut list = locked(&self.0.waiting);
        match self.engine().containers().shims.connect(&record.id) {
            Ok(mut client) => {
                drop(list);
                if client.status().is_ok_and(|status| status.phase == Phase::Paused) {
                    return Err(Failure::conflict(format!(
                        "container {} is paused, unpause the container before attach",
                        record.id
                    )));
                }
                waiting.give(&mut client);
            }
            Err(_) => {
                let own = list.entry(record.id.clone()).or_default();
                // Those that have left make room.
                own.retain(|one| !one.tell.is_closed());
                own.push(waiting);
                drop(list);
            }
        }
        self.engine().containers().note(&record, "attach", &[]);
        Ok(Attached { tty, replay, streams: Some(streams) })
    }

    pub(super) fn logs_of(&self, name: &str, wanted: &LogsWanted) -> Outcome<Logs> {
        let record = self.find(name)?;
        let point = |text: &Option<String>| {
            let text = text.as_deref().filter(|text| !matches!(*text, "" | "0"));
            text.map(clock::point).transpose()
        };
        let what = Wanted {
            tail: wanted.tail,
            since: point(&wanted.since)?,
            until: point(&wanted.until)?,
            follow: wanted.follow,
        };
        let log = chosen_log(&record)?;
        let driver =
            Options::parse(&log.driver, &log.options).map_err(crate::engine::Error::from)?.driver;
        if driver == Driver::None {
            let text = "configured logging driver does not support reading";
            return Err(Failure::internal(text));
        }
        if !wanted.follow && self.has_said_nothing_yet(&record, driver) {
            let end = self.wait_for(&record.id, Condition::NotRunning)?;
            self.0.runtime.block_on(async {
                let _ = tokio::time::timeout(FIRST_WORDS, end).await;
            });
        }
        let (pieces, feed) = mpsc::channel(64);
        let log = Log { api: self.clone(), what, driver, show: Show::new(&record, wanted), pieces };
        self.0.runtime.spawn(log.run(record.clone()));
        Ok(Logs { tty: record.config.tty, feed })
    }
}

/// How long a program may take that says something and ends, before somebody is told that it has said
/// nothing. Many ask for the log right after the start, and with dockerd, whose starts take longer than
/// such a program, have it.
const FIRST_WORDS: Duration = Duration::from_millis(250);

impl Api {
    /// Whether a container has been started this very moment, and its log is empty.
    fn has_said_nothing_yet(&self, record: &Record, driver: Driver) -> bool {
        let path = driver.path(&self.engine().containers().directory_of(&record.id), &record.id);
        let is_empty = || std::fs::metadata(path).map_or(0, |found| found.len()) == 0;
        let age = |view: View| Duration::from_nanos(record::now().saturating_sub(view.started()));
        is_empty()
            && self.engine().containers().shims.is_alive(&record.id)
            && self.engine().view(&record.id).is_ok_and(|view| age(view) < FIRST_WORDS)
    }
}

/// How entries are shown to a client.
#[derive(Debug, Clone)]
struct Show {
    tty: bool,
    stdout: bool,
    stderr: bool,
    timestamps: bool,
    details: bool,
}

impl Show {
    fn new(record: &Record, wanted: &LogsWanted) -> Show {
        let LogsWanted { stdout, stderr, timestamps, details, .. } = *wanted;
        Show { tty: record.config.tty, stdout, stderr, timestamps, details }
    }

    /// What goes over the wire of an entry.
    fn piece(&self, entry: Entry) -> Option<Bytes> {
        let (wanted, stream) = match entry.stream {
            Stream::Stdout => (self.stdout, frame::Stream::Stdout),
            Stream::Stderr => (self.stderr, frame::Stream::Stderr),
        };
        if !wanted {
            return None;
        }
        let mut text = entry.before(self.timestamps, self.details).into_bytes();
        text.extend_from_slice(&entry.log);
        Some(frame(self.tty, stream, &text))
    }
}

/// A log that a client reads.
struct Log {
    api: Api,
    what: Wanted,
    driver: Driver,
    show: Show,
    pieces: mpsc::Sender<std::io::Result<Bytes>>,
}

/// How long a client may not read before its log is given up.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long nothing may ring before it is looked whether anybody writes.
const LOOK: Duration = Duration::from_millis(500);

impl Log {
    async fn run(self, record: Record) {
        let Log { api, what, driver, show, pieces } = self;
        let path = driver.path(&api.engine().containers().directory_of(&record.id), &record.id);
        let send = {
            let (pieces, runtime) = (pieces.clone(), api.0.runtime.clone());
            move |entry: Entry| match show.piece(entry) {
                // In a thread that may wait, for a client that reads slowly.
                Some(piece) => {
                    let sent = pieces.try_send(Ok(piece));
                    Ok(match sent {
                        Ok(()) => true,
                        Err(mpsc::error::TrySendError::Closed(_)) => false,
                        Err(mpsc::error::TrySendError::Full(piece)) => {
                            runtime.block_on(pieces.send_timeout(piece, PATIENCE)).is_ok()
                        }
                    })
                }
                None => Ok(true),
            }
        };
        let mut take = send.clone();
        let begun =
            tokio::task::spawn_blocking(move || reader::begin(driver, &path, what, &mut take));
        let follower = match begun.await {
            Ok(Ok(follower)) => follower,
            Ok(Err(why)) => {
                tracing::warn!(%why, id = record.id, "a log cannot be read");
                let _ = pieces.send(Err(std::io::Error::other(why.to_string()))).await;
                return;
            }
            Err(_) => return,
        };
        if let Some(follower) = follower {
            follow(api, record.id, follower, send, &pieces).await;
        }
    }
}

/// Goes on with what comes, as long as the client is there. No thread waits.
async fn follow(
    api: Api,
    id: String,
    mut follower: Follower,
    send: impl Fn(Entry) -> corten_supervisor::Result<bool> + Clone + Send + 'static,
    pieces: &mpsc::Sender<std::io::Result<Bytes>>,
) {
    let bell = follower.bell().and_then(|fd| corten_daemon::readable(fd).ok());
    loop {
        let (engine, of, send) = (api.clone(), id.clone(), send.clone());
        let step = tokio::task::spawn_blocking(move || {
            let goes_on = engine.engine().containers().shims.is_alive(&of);
            let mut take = |entry| send(entry);
            let more = follower.step(goes_on, &mut take);
            (follower, more)
        });
        let Ok((same, Ok(true))) = step.await else { return };
        follower = same;
        let rung = async {
            match &bell {
                Some(bell) => {
                    if let Ok(mut guard) = bell.readable().await {
                        guard.clear_ready();
                    }
                }
                None => tokio::time::sleep(LOOK / 5).await,
            }
        };
        tokio::select! {
            () = pieces.closed() => return,
            _ = tokio::time::timeout(LOOK, rung) => {}
        }
    }
}
