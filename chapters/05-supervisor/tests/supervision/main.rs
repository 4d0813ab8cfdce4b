//! What the shim does, seen from outside: by its command line, its socket, and /proc.
#![allow(clippy::unwrap_used)]

#[path = "../lab/mod.rs"]
mod lab;

mod shim;
