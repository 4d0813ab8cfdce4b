//! Further programs in a container.

use std::os::fd::OwnedFd;

use serde_json::Value;
use tokio::sync::oneshot;

use super::Outcome;

/// `POST /exec/{id}/start`.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ExecStart {
    /// Nobody waits for it.
    pub detach: bool,
    /// Whether it has a terminal: what was said when it was made counts.
    pub tty: bool,
    /// Rows and columns.
    pub console_size: Option<[u16; 2]>,
}

/// An exec that runs.
#[derive(Debug)]
pub struct ExecStarted {
    /// Its streams; `None` where it is detached.
    pub streams: Option<OwnedFd>,
    /// Completes when it has ended and that can be looked at.
    pub ended: Option<oneshot::Receiver<()>>,
}

/// Execs.
pub trait Exec {
    /// Makes one; gives its id.
    ///
    /// # Errors
    /// 404; 409 where the container does not run; 400 without a command.
    fn create_exec(&self, container: &str, body: &Value) -> Outcome<String>;

    /// Whether one can be started, and whether it has a terminal.
    ///
    /// # Errors
    /// 404; 409 where it was started before.
    fn check_exec(&self, id: &str, wanted: &ExecStart) -> Outcome<bool>;

    /// Starts one.
    ///
    /// # Errors
    /// What keeps it from running.
    fn start_exec(&self, id: &str, wanted: &ExecStart) -> Outcome<ExecStarted>;

    /// Sets the size of its terminal. Waits a moment for one that is being started.
    ///
    /// # Errors
    /// 404.
    fn resize_exec(&self, id: &str, rows: u16, columns: u16) -> Outcome<()>;

    /// What is known of one.
    ///
    /// # Errors
    /// 404.
    fn inspect_exec(&self, id: &str) -> Outcome<Value>;
}
