//! What really happened: the system calls by which a container was made, as they were made.
//!
//! ```text
//! corten run --explain …        the tracer: this module
//!   └─ corten run …             traced from its execve on (ptrace(2)), with all that it starts:
//!        └─ the supervisor           the container's shim (chapter 5)
//!             └─ the container       until it executes the user's program: that is not ours to watch
//! ```
//!
//! `record` follows the processes, `call` knows which calls make or change an object of the kernel, `object`
//! names those, `show` and `page` make text and a page for a browser of a [`Timeline`], which is also JSON.
//!
//! A traced thread stops twice for each call: what is told of time compares the parts of one start with each
//! other, and is no measurement of the engine.

mod call;
mod memory;
mod netlink;
mod object;
mod page;
mod record;
mod show;
mod sys;

use serde::{Deserialize, Serialize};

pub use object::{Event, Kind};
pub use page::page;
pub use record::record;
pub use show::text;

/// A recording.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timeline {
    /// The command line that was run.
    pub command: Vec<String>,
    /// The kernel's release.
    pub kernel: String,
    /// When it began, in RFC 3339.
    pub began: String,
    /// The program's version.
    pub version: String,
    /// The container's id, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// All that ran, in the order in which they came.
    pub processes: Vec<Process>,
    /// What they did, in the order in which it ended.
    pub steps: Vec<Step>,
    /// How many system calls were made in all: the rest reads files, waits and allocates.
    pub calls: u64,
}

/// A process of the recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// As the host counts.
    pub pid: i32,
    /// Who started it; 0 for the first.
    pub parent: i32,
    /// What it is to us.
    pub role: Role,
    /// Microseconds after the beginning.
    pub from: u64,
    /// When it ended, or was left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
}

/// The parts of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The command.
    Engine,
    /// The container's supervisor.
    Supervisor,
    /// What becomes the container.
    Container,
    /// Another program: a helper.
    Helper,
}

/// One system call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// When it began, in microseconds after the beginning.
    pub at: u64,
    /// How long it took, in microseconds, with the tracer's part.
    pub took: u64,
    /// Who made it.
    pub pid: i32,
    /// Its name.
    pub call: String,
    /// Its arguments, as strace(1) would show them, cut.
    pub arguments: String,
    /// What it gave; the name of the errno where it failed.
    pub result: String,
    /// What that means.
    pub says: String,
    /// The chapter of the book that explains it.
    pub chapter: u8,
    /// What it made, changed or removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Event>,
}

impl Timeline {
    /// The process of a step.
    pub fn process(&self, pid: i32) -> Option<&Process> {
        self.processes.iter().find(|process| process.pid == pid)
    }
}
