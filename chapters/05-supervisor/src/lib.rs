//! Chapter 5 of Corten: the supervisor, one small process per container.
//!
//! A container needs a parent that outlives whoever asked for it: somebody must hold its standard
//! streams, learn how it ended, write that down, and start it again. That process is the shim. It
//! has one thread, waits in one place, and no crash of anything else takes it down.
//!
//! # The map
//!
//! ```text
//! settings.json ──▶ shim ──chapter 4, in-process──▶ container
//!                    │ ▲
//!        exit.json ◀─┤ └─ control.sock ◀── Client (engines, command lines)
//!        output.log ◀┘                        └─ Front: a person's terminal
//! ```
//!
//! | module | what it is about |
//! |---|---|
//! | [`settings`] | what a shim is told: `settings.json` |
//! | [`launch`] | starting a shim, out of a file that no container can reach |
//! | [`shim`] | the process itself |
//! | [`protocol`], [`client`] | what is said over the control socket, and the side that asks |
//! | [`record`] | how a container ended; what it is doing |
//! | [`log`], [`reader`] | the log: written, and read meanwhile |
//! | [`journal`] | what has happened, for whoever asks later |
//! | [`restart`], [`health`], [`detach`] | Docker's rules as calculations |
//! | [`init`] | a small first process for programs that are none |
//! | [`poller`], [`durable`] | one place to wait in; files that survive: also for later chapters |
//! | [`front`] | keys, output and signals between a person and a container |
//! | [`cli`] | the command line |
//! | `sys` | the system calls: all `unsafe` of the crate |
#![deny(unsafe_code)]

pub mod cli;
pub mod client;
pub mod detach;
pub mod durable;
pub mod error;
pub mod front;
pub mod health;
pub mod init;
pub mod journal;
pub mod launch;
pub mod log;
mod packet;
pub mod poller;
pub mod protocol;
pub mod reader;
pub mod record;
pub mod restart;
pub mod settings;
pub mod shim;
mod sys;

pub use error::{Error, Result};
