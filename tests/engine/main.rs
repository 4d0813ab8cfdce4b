//! The whole engine by its command line: images, containers, networks, and what is left of them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod commit;
mod containers;
mod copy;
mod crash;
mod events;
mod hostile_copy;
mod images;
mod isolation;
mod kills;
mod limits;
mod messages;
mod network;
mod networks;
mod oci;
mod pull;
mod rights;
mod run;
mod storage;
#[path = "../support/mod.rs"]
mod support;
mod timeline;
mod views;
mod volumes;
