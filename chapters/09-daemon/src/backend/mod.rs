//! What the daemon needs of an engine: one small trait for each group of operations.
//!
//! A method may block; the daemon calls it in a thread that may wait. What lasts as long as a
//! container or a client does (streams, logs that are followed, events, figures, ends) is given as a
//! channel or a socket, so that no thread waits with each client. Whoever sends into a channel stops
//! when nobody receives any more.
//!
//! Bodies of requests come as JSON that was parsed and not interpreted: what a container may be
//! configured with is the engine's business. Answers are JSON where clients tell null, `[]` and
//! absent apart, so that the engine decides it once.

mod build;
mod containers;
mod exec;
mod images;
mod networks;
mod system;
mod volumes;

use std::io::{Read, Write};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::mpsc::Receiver;

pub use crate::failure::{Failure, Outcome};
pub use crate::query::Filters;
pub use build::{Build, BuildRequest, CONTEXTS, Secrets};
pub use containers::{
    Attach, Attached, Condition, Containers, Create, Created, Exit, List, Logs, LogsWanted, Replay,
    Stats, Top, Unpack,
};
pub use exec::{Exec, ExecStart, ExecStarted};
pub use images::{Commit, Images, Import, Pull, PullSource};
pub use networks::Networks;
pub use system::{EventsWanted, System, UsageWanted};
pub use volumes::Volumes;

// ANCHOR: backend
/// An engine.
pub trait Backend:
    System + Containers + Exec + Images + Networks + Volumes + Build + Send + Sync + 'static
{
}
// ANCHOR_END: backend

impl<T> Backend for T where
    T: System + Containers + Exec + Images + Networks + Volumes + Build + Send + Sync + 'static
{
}

/// Pieces of an answer, as they come. An error breaks the answer off, so that it does not look whole.
pub type Feed = Receiver<std::io::Result<Bytes>>;

/// Writes an archive. It is called in a thread that may wait.
pub type Download = Box<dyn FnOnce(&mut dyn Write) -> Outcome<()> + Send>;

/// Where lines of progress go.
pub type Sink<'a> = &'a mut dyn FnMut(Value);

/// The body of a request.
pub type Upload<'a> = &'a mut (dyn Read + Send);

/// Credentials for a registry, as a client sends them with each request (`X-Registry-Auth`).
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase", default)]
pub struct Credentials {
    /// The user's name.
    pub username: String,
    /// The password.
    pub password: String,
    /// The registry that they are for.
    pub serveraddress: String,
    /// For the token server, instead of a password.
    pub identitytoken: String,
    /// A bearer token for the registry.
    pub registrytoken: String,
}

impl Credentials {
    /// Whether they say nothing: the client is anonymous.
    pub fn is_empty(&self) -> bool {
        let Credentials { username, password, identitytoken, registrytoken, .. } = self;
        [username, password, identitytoken, registrytoken].iter().all(|text| text.is_empty())
    }
}
