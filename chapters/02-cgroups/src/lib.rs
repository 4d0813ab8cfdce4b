//! Chapter 2 of Corten: control groups, which count and limit what processes use.
//!
//! A control group is a directory in a file system of the kernel's own. Making the directory makes
//! the group, writing a number to its `cgroup.procs` moves a process into it, writing to its other
//! files sets limits, and reading them tells what was used. There are two interfaces of this kind,
//! v1 and v2, and hosts that have both; this crate makes one of them.
//!
//! # The map
//!
//! What a caller asks for is a [`Limits`]. With where the group shall be ([`Placement`]) and what
//! this machine has mounted ([`Hierarchy`]) it becomes a [`Plan`]: the directories and writes, as
//! data, which can be printed and tested without root.
//!
//! ```text
//! Limits ──────┐
//! Placement ───┼─Plan::create──▶ Plan ──Plan::execute──▶ Cgroup ──▶ stats, freeze, kill, remove
//! Hierarchy ───┘   plan.rs        │       execute.rs       cgroup.rs
//!                  v1.rs, v2.rs   └─ Display: what `explain` prints
//! ```
//!
//! | module | what it is about |
//! |---|---|
//! | [`limits`] | what can be asked for, checked |
//! | [`hierarchy`], [`controller`] | what is mounted, where the caller stands |
//! | [`plan`] | the writes, as data; [`v1`] and `v2` know the files |
//! | [`convert`] | values of one version in the scale of the other |
//! | [`device`], [`bpf`] | device rules; the eBPF program that v2 has for them |
//! | [`cgroup`] | an existing group: entering, changing, reading |
//! | [`launch`] | starting a program inside |
//! | [`freezer`], [`removal`] | stopping, killing, removing |
//! | [`stats`], [`oom`] | what was used; what was killed |
//! | [`systemd`] | groups by way of systemd |
//! | [`delegation`] | a group that is a user's own |
//! | [`error`] | errors that name the operation, the path, the errno and the remedy |
//! | [`sys`] | the system calls: all `unsafe` of the crate |
#![deny(unsafe_code)]

pub mod bpf;
pub mod cgroup;
pub mod controller;
pub mod convert;
pub mod delegation;
pub mod device;
pub mod error;
mod execute;
mod file;
pub mod freezer;
pub mod hierarchy;
pub mod launch;
pub mod limits;
pub mod oom;
pub mod plan;
pub mod removal;
pub mod stats;
pub mod sys;
pub mod systemd;
pub mod v1;
mod v2;

pub use cgroup::Cgroup;
pub use controller::{Controller, ControllerSet};
pub use delegation::Delegation;
pub use device::DeviceRule;
pub use error::{Error, Result};
pub use freezer::State;
pub use hierarchy::{Hierarchy, Layout, Placement};
pub use limits::{Limits, Max};
pub use oom::{OomEvent, OomEvents};
pub use plan::{Owner, Plan};
pub use stats::Stats;
