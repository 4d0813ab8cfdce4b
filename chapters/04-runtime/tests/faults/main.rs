//! What comes of a runtime whose system calls fail, or which is killed, at any point.
//!
//! A tracer (ptrace(2)) counts the system calls of the runtime and of the process that it makes,
//! and lets the N-th fail, or kills the runtime there. Afterwards nothing may be left, or
//! `delete --force` must remove it. The tests take samples; `./x soak faults` and `./x soak kills`
//! take every N.
#![allow(clippy::unwrap_used)]

mod failures;
mod kills;
mod leftovers;
mod race;
mod scene;
mod soak;
mod sys;
mod tracer;

#[path = "../rig/mod.rs"]
mod rig;
