//! What is known of a container, as it is told to clients and kept on disk.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::durable::{self, Worth};
use crate::error::{Error, Result};

/// The file with the last end, in the record's directory.
pub const EXIT_FILE: &str = "exit.json";

/// The file with what the container is doing, in the supervisor's directory.
pub const STATUS_FILE: &str = "status.json";

/// An end takes fewer bytes: all of its fields, and the message of an error.
const LARGEST: i64 = 4096;

// ANCHOR: exit
/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exit {
    /// As shells count it: its status, or 128 and the signal's number.
    pub status: u8,
    /// The signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Whether the kernel killed a process of it for want of memory.
    #[serde(default)]
    pub oom_killed: bool,
    /// Why it could not be started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it was started: nanoseconds since 1970.
    #[serde(default)]
    pub started: Time,
    /// When it ended.
    #[serde(default)]
    pub finished: Time,
    /// How often the supervisor had restarted it.
    #[serde(default)]
    pub restarts: u32,
    /// Whether somebody asked for its end.
    #[serde(default)]
    pub stopped: bool,
}
// ANCHOR_END: exit

/// A point in time: nanoseconds since 1970, 0 for never.
pub type Time = u64;

/// Now.
pub fn now() -> Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

impl Exit {
    /// Killed, now, by whoever it was.
    pub fn killed() -> Exit {
        Exit {
            status: 137,
            signal: Some(libc::SIGKILL),
            oom_killed: false,
            error: None,
            started: 0,
            finished: now(),
            restarts: 0,
            stopped: false,
        }
    }

    /// Takes the room that [`Exit::write`] will need.
    ///
    /// # Errors
    /// Where there is none.
    pub fn reserve(record: &Path) -> Result<()> {
        durable::reserve(&record.join(EXIT_FILE), LARGEST)
    }

    // ANCHOR: write
    /// Writes it, so that a power cut right after still finds it.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&self, record: &Path) -> Result<()> {
        durable::write_json(&record.join(EXIT_FILE), self, Worth::Durable)
    }
    // ANCHOR_END: write

    /// Writes it for those who ask before a reboot.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write_volatile(&self, directory: &Path) -> Result<()> {
        durable::write_json(&directory.join(EXIT_FILE), self, Worth::Volatile)
    }

    /// Reads the last end; `None` where there was none.
    ///
    /// # Errors
    /// Where the file cannot be read or understood.
    pub fn read(record: &Path) -> Result<Option<Exit>> {
        durable::read_json(&record.join(EXIT_FILE))
    }
}

/// What a container is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Its supervisor waits for `start`.
    #[default]
    Created,
    /// Its program runs.
    Running,
    /// It is frozen.
    Paused,
    /// It has ended and will be started again.
    Restarting,
    /// It has ended.
    Exited,
}

/// What the supervisor tells about its container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The container's id.
    pub id: String,
    /// What it is doing.
    pub phase: Phase,
    /// Its first process, as the host counts; 0 for none.
    #[serde(default)]
    pub pid: i32,
    /// The supervisor's own number.
    #[serde(default)]
    pub supervisor: i32,
    /// Whether it has a terminal.
    #[serde(default)]
    pub terminal: bool,
    /// When its program was started last.
    #[serde(default)]
    pub started: Time,
    /// How often it was restarted.
    #[serde(default)]
    pub restarts: u32,
    /// Its last end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// Whether it is well; absent without a health check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<crate::health::Report>,
    /// Processes that `exec` has made and that are not forgotten yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub execs: Vec<u32>,
}

impl Status {
    /// Writes it for whoever looks at many containers: reading a file costs less than a question. Of
    /// no use after a reboot, so nothing waits for the disk.
    ///
    /// # Errors
    /// Where the file cannot be written; none is there then, rather than an old one.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let path = directory.join(STATUS_FILE);
        durable::write_json(&path, self, Worth::Volatile).inspect_err(|_| {
            let _ = std::fs::remove_file(&path);
        })
    }

    /// Removes what another supervisor of the container has written.
    ///
    /// # Errors
    /// Where it cannot be removed.
    pub fn forget(directory: &Path) -> Result<()> {
        let path = directory.join(STATUS_FILE);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::path("remove", &path, error))
            }
            _ => Ok(()),
        }
    }

    /// Reads what was written last; `None` before the first start.
    ///
    /// # Errors
    /// Where the file cannot be read or understood.
    pub fn read(directory: &Path) -> Result<Option<Status>> {
        durable::read_json(&directory.join(STATUS_FILE))
    }
}
