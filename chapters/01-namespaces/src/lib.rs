//! Chapter 1 of Corten: what a container is made of, without cgroups and images.
//!
//! Linux has no containers. It has processes, and for each process a handful of kernel objects that
//! decide what it sees: its namespaces, its root directory, its credentials. A container is a
//! process for which these were made new. This crate makes them.
//!
//! # The map
//!
//! What a caller asks for is a [`Config`]. It is checked and turned into a [`Plan`]: a list of
//! [`Step`](plan::Step)s, plain data that can be printed ([`explain`]), tested without root, and
//! changed by a test that wants to see what happens without one of them.
//!
//! ```text
//! Config ──Plan::new──▶ Plan ──Plan::spawn──▶ Container ──wait──▶ Exit
//!  config.rs            plan.rs   │ spawn.rs      ▲  relay.rs: terminal and signals
//!                                 │ clone3        │
//!                                 ▼               │ a report, if a step fails (failure.rs)
//!                              execute.rs: the child walks the steps
//!                                 init.rs: and may stay as pid 1
//! ```
//!
//! Between clone3 and execve the child allocates nothing and takes no lock: it walks the list, and
//! everything that it needs was made before ([`sys`] says why).
//!
//! | module | what it is about |
//! |---|---|
//! | [`namespace`] | the eight kinds; which one a process is in; joining, keeping, listing |
//! | [`idmap`] | user and group id maps, newuidmap |
//! | [`mount`] | file systems, bind mounts, devices, masks, as data |
//! | [`root`] | paths inside a root, resolved by the kernel with openat2 |
//! | [`capability`] | sets of capabilities |
//! | [`relay`], [`terminal`] | a container in the foreground; raw mode |
//! | [`rootless`] | namespaces of a user's that a whole engine lives in |
//! | [`lock`] | files by which processes take turns, in later chapters |
//! | [`error`] | errors that name the operation, the path, the errno and the remedy |
//! | [`sys`] | the system calls: all `unsafe` of the crate |
#![deny(unsafe_code)]

pub mod capability;
pub mod config;
pub mod error;
mod execute;
pub mod explain;
mod failure;
pub mod idmap;
mod init;
pub mod lock;
pub mod mount;
pub mod namespace;
pub mod plan;
pub mod relay;
pub mod root;
pub mod rootless;
pub mod spawn;
pub mod sys;
pub mod terminal;

pub use config::{Config, Process, Rootfs};
pub use error::{Context, Error, KernelError, Result};
pub use namespace::{Namespace, NamespaceSet};
pub use plan::Plan;
pub use relay::Relay;
pub use root::Root;
pub use spawn::{Container, Exit};
