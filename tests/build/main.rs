//! `corten build`, with the real engine behind it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod cache;
mod contexts;
mod ends;
mod projects;
mod steps;
#[path = "../support/mod.rs"]
mod support;
