//! What takes whole machines: power cuts, and a client and a daemon that are far from each other.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod machines;
mod outage;
mod power;
#[path = "../support/mod.rs"]
mod support;
