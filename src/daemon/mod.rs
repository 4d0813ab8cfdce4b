//! The engine behind chapter 9's API: each group of its operations, over [`Engine`].
//!
//! | file | what |
//! |---|---|
//! | `containers` | made, started, looked at, changed, removed |
//! | `summary`, `rows` | a line of the list; the lines that are kept between requests |
//! | `create`, `shape` | requests to the engine's types; what versions of the API show of an answer |
//! | `streams`, `wait`, `figures` | attach, logs; ends; stats |
//! | `exec` | further programs |
//! | `origin` | which container an image was made of |
//! | `images`, `transfer`, `networks`, `volumes`, `system`, `build` | the other groups |
//! | `hub` | what happens, told to all who wait for it |
//! | `watch` | containers and execs that run: who is told when they end |
//! | `usage` | sums of what takes disk space |
//! | `failure` | the engine's errors, as dockerd says them |
//!
//! **Invariant:** a thread never waits for a container or a client for longer than one request takes.
//! Ends are waited for on supervisors' sockets, by tasks.

pub(crate) mod build;
mod containers;
mod create;
mod exec;
mod failure;
mod figures;
mod hub;
mod images;
mod networks;
mod origin;
mod platform;
mod rows;
mod service;
pub(crate) mod shape;
mod streams;
mod summary;
mod system;
mod transfer;
pub(crate) mod usage;
mod volumes;
mod wait;
mod watch;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use corten_daemon::Failure;
use tokio::runtime::Handle;

use crate::engine::Engine;
use exec::Execs;
use hub::Hub;
use rows::Rows;
pub use service::{Options, serve};
use streams::Waiting;

/// The engine, as chapter 9's daemon knows it.
#[derive(Clone)]
pub struct Api(Arc<Inner>);

/// What it keeps beside the engine; nothing of it is needed after a restart.
struct Inner {
    engine: Engine,
    runtime: Handle,
    hub: Hub,
    /// Clients that are attached to containers which do not run yet, by id.
    waiting: Mutex<HashMap<String, Vec<Waiting>>>,
    execs: Execs,
    /// Lines of the list of containers.
    rows: Rows,
    /// Containers whose supervisors are being watched.
    watched: Mutex<HashSet<String>>,
    labels: Mutex<Vec<String>>,
    since: Instant,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("engine", &self.0.engine).finish_non_exhaustive()
    }
}

impl Api {
    /// Takes over an engine, and those of its containers that run. Called in a runtime.
    ///
    /// # Errors
    /// Where what happens cannot be followed, or containers cannot be listed.
    pub fn new(engine: Engine) -> Result<Api, Failure> {
        let hub = Hub::follow(engine.containers().events_path())?;
        let api = Api(Arc::new(Inner {
            engine,
            runtime: Handle::current(),
            hub,
            waiting: Mutex::default(),
            execs: Execs::default(),
            rows: Rows::default(),
            watched: Mutex::default(),
            labels: Mutex::default(),
            since: Instant::now(),
        }));
        api.adopt()?;
        Ok(api)
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// Labels of the daemon.
    pub fn set_labels(&self, labels: Vec<String>) {
        *locked(&self.0.labels) = labels;
    }
}

/// What a mutex protects; a thread that has panicked has left it whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
