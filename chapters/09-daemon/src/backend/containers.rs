//! Containers: made, started, looked at, attached to, removed.

use std::os::fd::OwnedFd;

use serde_json::Value;
use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;

use super::{Download, Feed, Filters, Outcome, Upload};
use crate::version::Version;

/// `GET /containers/json`.
#[derive(Debug, Clone, Default)]
pub struct List {
    /// Those that do not run, too.
    pub all: bool,
    /// The newest so many, running or not.
    pub limit: Option<usize>,
    /// With what they take on the disk.
    pub size: bool,
    /// Those that fit.
    pub filters: Filters,
    /// The client's version.
    pub version: Option<Version>,
}

/// `POST /containers/create`.
#[derive(Debug, Clone, Default)]
pub struct Create {
    /// Its name; one that is found where empty.
    pub name: String,
    /// `os/architecture` of the image.
    pub platform: String,
    /// `Config` with `HostConfig` and `NetworkingConfig` in it.
    pub body: Value,
    /// The client's version.
    pub version: Option<Version>,
}

/// A container is made.
#[derive(Debug, Clone, Default)]
pub struct Created {
    /// Its id.
    pub id: String,
    /// What was asked for and is not to be had.
    pub warnings: Vec<String>,
}

/// `GET /containers/{id}/top`.
#[derive(Debug, Clone, Default)]
pub struct Top {
    /// Of the columns.
    pub titles: Vec<String>,
    /// A line for each process.
    pub processes: Vec<Vec<String>>,
}

/// `PUT /containers/{id}/archive`.
#[derive(Debug, Clone, Default)]
pub struct Unpack {
    /// Where to.
    pub path: String,
    /// A directory must not replace a file, nor a file a directory.
    pub no_overwrite: bool,
    /// Files belong to the container's user, and not to whom the archive says.
    pub copy_owners: bool,
}

/// `POST /containers/{id}/attach`.
#[derive(Debug, Clone, Default)]
pub struct Attach {
    /// What was written before comes first.
    pub logs: bool,
    /// What is written from now on comes.
    pub stream: bool,
    /// The client's input is the container's.
    pub stdin: bool,
    /// The output.
    pub stdout: bool,
    /// The errors.
    pub stderr: bool,
    /// Keys with which a person leaves the container; the usual ones without.
    pub detach_keys: Option<String>,
}

/// The streams of a container.
#[derive(Debug)]
pub struct Attached {
    /// Whether it has a terminal: then there are no frames.
    pub tty: bool,
    /// What was written before.
    pub replay: Option<Replay>,
    /// A stream socket, framed where there is no terminal. It comes when the container is started,
    /// and never where it is removed before.
    pub streams: Option<oneshot::Receiver<OwnedFd>>,
}

/// Pieces of output, framed where there is no terminal.
pub type Replay = Feed;

/// `GET /containers/{id}/logs`.
#[derive(Debug, Clone, Default)]
pub struct LogsWanted {
    /// What comes, too.
    pub follow: bool,
    /// The output.
    pub stdout: bool,
    /// The errors.
    pub stderr: bool,
    /// From this time on, in seconds since 1970 with a fraction, or as RFC 3339.
    pub since: Option<String>,
    /// Until this time.
    pub until: Option<String>,
    /// Each line begins with its time.
    pub timestamps: bool,
    /// Each line begins with what the log's options add.
    pub details: bool,
    /// The last so many lines; all without.
    pub tail: Option<usize>,
}

/// A container's log.
#[derive(Debug)]
pub struct Logs {
    /// Whether it has a terminal: then there are no frames.
    pub tty: bool,
    /// The log.
    pub feed: Feed,
}

/// What `POST /containers/{id}/wait` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Condition {
    /// That it does not run: at once, where that is so.
    #[default]
    NotRunning,
    /// Its next end.
    NextExit,
    /// That it is gone.
    Removed,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exit {
    /// As shells count it.
    pub status: i64,
    /// Why it could not be waited for, or removed.
    pub error: Option<String>,
}

/// Figures, one object a second.
pub type Stats = Receiver<Value>;

/// Containers.
pub trait Containers {
    /// Those that fit, the newest first: a JSON array, as text. It is what is asked for most, and an
    /// engine may keep most of the text.
    ///
    /// # Errors
    /// For a filter that is none.
    fn list(&self, wanted: &List) -> Outcome<String>;

    /// Makes one.
    ///
    /// # Errors
    /// 404 for an image that is not there, 409 for a name that is another's, 400 for what makes no
    /// sense.
    fn create(&self, wanted: &Create) -> Outcome<Created>;

    /// All that is known of one.
    ///
    /// # Errors
    /// 404.
    fn inspect(&self, name: &str, size: bool) -> Outcome<Value>;

    /// Starts one; `false` where it runs already.
    ///
    /// # Errors
    /// 404; 400 or 500 where it cannot run.
    fn start(&self, name: &str) -> Outcome<bool>;

    /// Stops one; `false` where it does not run.
    ///
    /// # Errors
    /// 404.
    fn stop(&self, name: &str, signal: Option<&str>, timeout: Option<i64>) -> Outcome<bool>;

    /// Stops one and starts it.
    ///
    /// # Errors
    /// As for both.
    fn restart(&self, name: &str, signal: Option<&str>, timeout: Option<i64>) -> Outcome<()>;

    /// Sends a signal.
    ///
    /// # Errors
    /// 409 where it does not run.
    fn kill(&self, name: &str, signal: Option<&str>) -> Outcome<()>;

    /// Freezes one.
    ///
    /// # Errors
    /// 409 where it does not run.
    fn pause(&self, name: &str) -> Outcome<()>;

    /// Thaws one.
    ///
    /// # Errors
    /// 500 where it is not frozen.
    fn unpause(&self, name: &str) -> Outcome<()>;

    /// Gives one another name.
    ///
    /// # Errors
    /// 409 where that is another's.
    fn rename(&self, name: &str, to: &str) -> Outcome<()>;

    /// Changes limits and the restart policy; gives warnings.
    ///
    /// # Errors
    /// What does not fit together.
    fn update(&self, name: &str, body: &Value) -> Outcome<Vec<String>>;

    /// Removes one.
    ///
    /// # Errors
    /// 409 where it runs.
    fn remove(&self, name: &str, force: bool, volumes: bool, link: bool) -> Outcome<()>;

    /// Removes those that do not run; gives their ids, and bytes.
    ///
    /// # Errors
    /// For a filter that is none.
    fn prune_containers(&self, filters: &Filters) -> Outcome<(Vec<String>, u64)>;

    /// Its processes.
    ///
    /// # Errors
    /// 409 where it does not run.
    fn top(&self, name: &str, arguments: &[String]) -> Outcome<Top>;

    /// What it has changed: `Path` and `Kind`.
    ///
    /// # Errors
    /// 404.
    fn changes(&self, name: &str) -> Outcome<Vec<(String, u8)>>;

    /// Sets the size of its terminal.
    ///
    /// # Errors
    /// 409 where it does not run.
    fn resize(&self, name: &str, rows: u16, columns: u16) -> Outcome<()>;

    /// What is at a path.
    ///
    /// # Errors
    /// 404.
    fn stat_path(&self, name: &str, path: &str) -> Outcome<Value>;

    /// What is at a path, as an archive.
    ///
    /// # Errors
    /// 404.
    fn read_path(&self, name: &str, path: &str) -> Outcome<(Value, Download)>;

    /// Unpacks an archive.
    ///
    /// # Errors
    /// 404; 403 where it is read-only; 400 for an archive that is none.
    fn write_path(&self, name: &str, wanted: &Unpack, archive: Upload<'_>) -> Outcome<()>;

    /// All its files, as an archive.
    ///
    /// # Errors
    /// 404.
    fn export(&self, name: &str) -> Outcome<Download>;

    // ANCHOR: lasting
    /// Its streams.
    ///
    /// # Errors
    /// 404; 409 where it is frozen.
    fn attach(&self, name: &str, wanted: &Attach) -> Outcome<Attached>;

    /// Its log.
    ///
    /// # Errors
    /// 404; 500 where it keeps none.
    fn logs(&self, name: &str, wanted: &LogsWanted) -> Outcome<Logs>;

    /// Waits; the end comes later.
    ///
    /// # Errors
    /// 404.
    fn wait(&self, name: &str, condition: Condition) -> Outcome<oneshot::Receiver<Exit>>;
    // ANCHOR_END: lasting

    /// What it uses: once, or every second.
    ///
    /// # Errors
    /// 404.
    fn stats(&self, name: &str, stream: bool, one_shot: bool) -> Outcome<Stats>;
}
