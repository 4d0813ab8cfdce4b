//! What clients and a supervisor tell each other over its control socket: one JSON document per
//! packet.
//!
//! ```text
//! client  {"v":1,"id":7,"do":{"stop":{"timeout":3}}}
//! shim    {"answer":{"id":7,"ok":{"exit":{"status":137,…}}}}
//! shim    {"event":{"exit":{…}}}                              to those who asked for events
//! ```
//!
//! A supervisor lives as long as its container, so an engine meets supervisors that are older than
//! itself. The rules that keep them understanding each other: fields are added, never changed or
//! removed; a field that is not known is ignored, one that is missing has a default; an operation
//! that is not known is answered with [`Code::Unknown`], and the caller does without.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::record::{Exit, Status, Time};
use crate::settings::Restart;

/// The version of the protocol.
pub const VERSION: u32 = 1;

/// The name of the socket in a supervisor's directory.
pub const SOCKET: &str = "control.sock";

/// What a client sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// [`VERSION`] of the client.
    pub v: u32,
    /// Any number; it is in the answer.
    pub id: u64,
    /// What to do.
    #[serde(rename = "do")]
    pub operation: Operation,
}

/// The part of a request that can be read whatever it asks.
#[derive(Debug, Deserialize)]
pub(crate) struct Envelope {
    #[serde(default)]
    pub id: u64,
    #[serde(default, rename = "do")]
    operation: serde_json::Value,
}

/// The names of the operations of this version.
const KNOWN: [&str; 14] = [
    "start",
    "status",
    "attach",
    "resize",
    "signal",
    "stop",
    "wait",
    "pause",
    "resume",
    "update",
    "policy",
    "exec",
    "wait-exec",
    "events",
];

impl Envelope {
    /// Whether it asks for an operation that this version has.
    pub(crate) fn is_known(&self) -> bool {
        let fields = self.operation.as_object().and_then(|object| object.keys().next());
        let name = self.operation.as_str().or(fields.map(String::as_str));
        name.is_some_and(|name| KNOWN.contains(&name))
    }
}

/// What can be asked of a supervisor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Creates the container and starts its program. Answered when it runs.
    Start,
    /// What the container is doing.
    Status,
    /// Streams of the container: the answer brings a descriptor.
    Attach(Attach),
    /// The size of the container's terminal, or of an exec's.
    #[serde(rename_all = "camelCase")]
    Resize {
        /// In characters.
        rows: u16,
        /// In characters.
        columns: u16,
        /// Of this exec; of the container itself without.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exec: Option<u32>,
    },
    /// Sends a signal.
    #[serde(rename_all = "camelCase")]
    Signal {
        /// Its number.
        number: i32,
        /// To all processes.
        #[serde(default)]
        all: bool,
    },
    /// Asks the container to end, kills it after a time, and does not start it again. Answered when
    /// it has ended.
    #[serde(rename_all = "camelCase")]
    Stop {
        /// Instead of its own signal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<i32>,
        /// Seconds; instead of its own, -1 for never.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout: Option<i64>,
    },
    /// Answered when the container has ended and is not restarted; with `next`, at its next end.
    Wait {
        /// The next end, even if it is restarted then.
        #[serde(default)]
        next: bool,
    },
    /// Freezes all its processes.
    Pause,
    /// Thaws them.
    Resume,
    /// Sets other limits: the runtime specification's `linux.resources`.
    Update(serde_json::Value),
    /// Sets another restart policy.
    Policy(Restart),
    /// Runs another program in the container.
    Exec(Box<Exec>),
    /// Answered when an exec has ended, which is then forgotten.
    #[serde(rename_all = "camelCase")]
    WaitExec {
        /// Its number.
        exec: u32,
    },
    /// Sends this client an [`Event`] for all that happens from now on.
    Events,
}

/// Which streams a client wants.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attach {
    /// What the client writes is the container's input.
    #[serde(default)]
    pub stdin: bool,
    /// The container's output comes to the client, framed as Docker frames it where there is no
    /// terminal.
    #[serde(default)]
    pub stdout: bool,
    /// So does its error output.
    #[serde(default)]
    pub stderr: bool,
    /// The container waits where this client does not read, as a program waits for a pipe. Without,
    /// the client is dropped.
    #[serde(default)]
    pub wait: bool,
    /// Bytes with which a client leaves its terminal; none without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub detach_keys: Vec<u8>,
}

/// A program to run in the container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exec {
    /// The runtime specification's `process`.
    pub process: serde_json::Value,
    /// The streams of the client that asks; the answer brings their descriptor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attach: Option<Attach>,
    /// Whether nobody will wait for it: it is forgotten when it has ended.
    #[serde(default)]
    pub detach: bool,
}

/// What a supervisor sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Message {
    /// The answer to a request.
    Answer(Answer),
    /// Something has happened.
    Event(Event),
}

/// The answer to the request with the same id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The request's.
    pub id: u64,
    /// What it has brought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ok: Option<Outcome>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// What a request has brought.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It is done.
    Done,
    /// The container's program runs, with this number.
    Started(i32),
    /// What the container is doing.
    Status(Box<Status>),
    /// How it ended.
    Exit(Box<Exit>),
    /// The exec with this number runs, with this process.
    #[serde(rename_all = "camelCase")]
    Exec {
        /// Its number among the execs.
        exec: u32,
        /// Its process, as the host counts.
        pid: i32,
    },
    /// How an exec ended, as shells count it.
    ExecStatus(u8),
    /// Streams: a descriptor is with this message.
    Streams,
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of failure.
    pub code: Code,
    /// A sentence.
    pub message: String,
    /// The exit status that stands for it: 126, 127 or 125.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u8>,
}

/// Kinds of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The supervisor does not know the operation: it is older than its client.
    Unknown,
    /// The container is not in the state that the operation needs.
    State,
    /// Something that the request names is not there.
    NotFound,
    /// The request makes no sense.
    Invalid,
    /// The runtime or the kernel refused.
    #[serde(other)]
    Failed,
}

/// What happens to a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// Its program was started.
    #[serde(rename_all = "camelCase")]
    Started {
        /// Its first process.
        pid: i32,
        /// When.
        time: Time,
    },
    /// It has ended.
    Exit(Box<Exit>),
    /// It will be started again.
    #[serde(rename_all = "camelCase")]
    Restarting {
        /// In so many milliseconds.
        wait: u64,
    },
    /// The kernel killed a process of it for want of memory.
    Oom,
    /// It was frozen.
    Paused,
    /// It was thawed.
    Resumed,
    /// Its health has changed.
    Health(crate::health::State),
    /// An exec was started.
    #[serde(rename_all = "camelCase")]
    ExecStarted {
        /// Its number.
        exec: u32,
        /// Its process.
        pid: i32,
    },
    /// An exec has ended.
    #[serde(rename_all = "camelCase")]
    ExecEnded {
        /// Its number.
        exec: u32,
        /// As shells count it.
        status: u8,
    },
    /// Its log cannot be written, or not as it should be; or it can again, and so many lines are
    /// missing. Each is told once.
    #[serde(rename_all = "camelCase")]
    LogFailed {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_read_as_the_book_prints_them() {
        let text = r#"{"v":1,"id":7,"do":{"stop":{"timeout":3}}}"#;
        let request: Request = serde_json::from_str(text).unwrap();
        assert_eq!(request.operation, Operation::Stop { signal: None, timeout: Some(3) });
        assert_eq!(serde_json::to_string(&request).unwrap(), text);
        let text = r#"{"v":1,"id":8,"do":"status"}"#;
        assert_eq!(serde_json::from_str::<Request>(text).unwrap().operation, Operation::Status);
    }

    /// An operation that is missing in the list would be called unknown where its fields are wrong.
    #[test]
    fn the_names_of_all_operations_are_known() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../tests/protocol.json")).unwrap();
        for request in golden["requests"].as_array().unwrap() {
            let text = request.to_string();
            let envelope: Envelope = serde_json::from_str(&text).unwrap();
            assert!(envelope.is_known(), "{text}");
        }
        let envelope: Envelope = serde_json::from_str(r#"{"do":{"fly":{}}}"#).unwrap();
        assert!(!envelope.is_known());
    }

    #[test]
    fn what_a_newer_side_adds_is_ignored() {
        let text = r#"{"v":2,"id":7,"why":"x","do":{"wait":{"next":true,"until":"dawn"}}}"#;
        let request: Request = serde_json::from_str(text).unwrap();
        assert_eq!(request.operation, Operation::Wait { next: true });
        let text = r#"{"code":"tired","message":"m"}"#;
        assert_eq!(serde_json::from_str::<Failure>(text).unwrap().code, Code::Failed);
    }
}
