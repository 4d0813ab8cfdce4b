//! Chapter 4 of Corten: an OCI runtime, which containerd, Docker and Podman can use as theirs.
//!
//! The runtime specification of the Open Container Initiative says what a container is in a file,
//! `config.json`, and what can be done with it in five verbs: create, start, state, kill, delete.
//! Chapter 1 has the mechanisms; this chapter has the life cycle, which several programs share that
//! know each other only by files: each verb is a process of its own.
//!
//! # The map
//!
//! ```text
//! config.json ──Bundle::open──▶ Bundle ──Create::new──▶ Create ──execute──▶ Created ──▶ ROOT/ID/
//!                bundle.rs               create/plan.rs   │ steps  create/spawn.rs       state.rs
//!                check.rs                create/root.rs   │                                │
//!                mount/, process.rs,                      ▼ clone3                         │
//!                cgroup/, seccomp/                    child/: walks the steps,             │
//!                                                     waits, becomes the program           │
//! start, kill, delete, exec, … ◀── Container::load ─────────────────────────────────────────┘
//! ```
//!
//! | module | what it is about |
//! |---|---|
//! | [`bundle`], [`json`], [`check`] | reading config.json; what it must fulfil |
//! | [`create`] | the plan of a container, and its execution |
//! | `child` | the steps between clone3 and execve |
//! | [`mount`] | mounts as data: options, sources, id maps |
//! | [`process`], [`capability`], [`program`] | the process: limits, scheduling, rights, its file |
//! | [`seccomp`] | a compiler for system call filters, and its cache |
//! | [`cgroup`], [`rdt`], [`link`] | what the parent gives: chapter 2's groups, caches, devices |
//! | [`state`], [`container`], [`id`] | what is known between two invocations; the status |
//! | [`channel`], [`hooks`], [`notify`] | talking: parent and child, hooks, systemd |
//! | [`exec`], [`kill`], [`delete`], [`update`], [`events`], [`live`], [`checkpoint`] | the other verbs |
//! | [`cli`] | runc's command line |
//! | [`shield`] | the program's own file, kept out of reach |
//! | [`error`], [`log`] | failures in the words that callers look for |
//! | [`sys`] | the system calls: all `unsafe` of the crate |
#![deny(unsafe_code)]

pub mod bundle;
pub mod capability;
pub mod cgroup;
pub mod channel;
pub mod check;
pub mod checkpoint;
mod child;
pub mod cli;
mod clock;
pub mod container;
pub mod create;
pub mod delete;
pub mod error;
pub mod events;
pub mod exec;
pub mod hooks;
pub mod id;
pub mod idmap;
pub mod json;
pub mod kill;
mod label;
pub mod link;
pub mod live;
pub mod log;
pub mod mount;
pub mod notify;
pub mod process;
pub mod program;
pub mod rdt;
pub mod seccomp;
pub mod shield;
pub mod start;
pub mod state;
pub mod sys;
pub mod update;

pub use bundle::Bundle;
pub use container::{Container, Status};
pub use create::{Create, Created};
pub use error::{Error, Result};
pub use id::ContainerId;

/// The version of the runtime specification that this crate implements.
pub const OCI_VERSION: &str = "1.2.1";
