//! Chapter 9 of Corten: the daemon, which speaks the Docker Engine API.
//!
//! # The map
//!
//! ```text
//! listener ──▶ connection ──▶ server ──▶ version ──▶ route ──▶ Backend (an engine)
//!  unix, tcp,                 hyper       /v1.NN      axum        one small trait for
//!  systemd, tls                                                   each group
//!                                           │
//!                       answer (JSON, feeds, archives, progress) ◀┤
//!                       hijack (streams of containers and execs) ◀┘
//! ```
//!
//! | module | what it is about |
//! |---|---|
//! | [`backend`] | what the daemon needs of an engine |
//! | [`route`] | the table of all routes; one file for each group |
//! | [`server`] | connections to requests, limits, the end |
//! | [`listener`], [`tls`], [`connection`] | how clients come in |
//! | [`browser`] | who does not |
//! | [`version`], [`query`], [`call`], [`spelling`] | what a request says |
//! | [`answer`], [`failure`], [`negotiation`] | what it is answered |
//! | [`hijack`], [`takeover`], [`frame`] | connections that are taken over, and Docker's frames |
//! | [`client`] | the other end of the wire: a daemon elsewhere as a backend |
//! | [`config`], [`notify`], [`metrics`], [`memory`] | a service among others |
//! | `target` | request lines as people write them |
//! | `sys` | the system calls: all `unsafe` of the crate |
//!
//! The engine may block, and so may [`client`], which stands in its place; nothing else here does. What lasts as long as a client or a container is a task,
//! which costs some hundred bytes, and no thread.
#![deny(unsafe_code)]

pub mod answer;
pub mod backend;
pub mod browser;
pub mod call;
pub mod client;
pub mod config;
pub mod connection;
pub mod error;
pub mod failure;
pub mod frame;
pub mod hijack;
pub mod listener;
pub mod memory;
pub mod metrics;
pub mod negotiation;
pub mod notify;
pub mod query;
pub mod route;
pub mod server;
pub mod spelling;
mod sys;
pub mod takeover;
mod target;
pub mod tls;
pub mod version;

pub use error::{Error, Result};
pub use failure::{Failure, Outcome};
pub use server::Daemon;

/// A descriptor on which tasks wait until it can be read: a supervisor's socket, an inotify descriptor.
///
/// # Errors
/// `EPERM` for a file that cannot be waited for.
pub fn readable(
    fd: std::os::fd::OwnedFd,
) -> std::io::Result<tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>> {
    sys::readable(fd)
}
