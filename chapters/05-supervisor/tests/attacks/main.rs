//! Attacks on a supervisor. Each is a function that says whether it succeeded. It is run against
//! ours, where it must not; and `./x soak attacks` runs it against one that was built with the patch
//! of `mutants/` that takes the defence out, where it must: or the first proves nothing.
#![allow(clippy::unwrap_used)]

mod clients;
mod containers;
#[path = "../lab/mod.rs"]
mod lab;
mod table;

use std::path::Path;

/// How an attack ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The attacker has what he wanted.
    Succeeded,
    /// He has not; what was said.
    Stopped(String),
}

/// Not a test but the attacker in a container, when it is told to be.
#[test]
fn attacker() {
    containers::attacker();
}

/// That `attack` fails with our supervisor.
#[track_caller]
fn fails(attack: fn(&Path) -> Outcome) {
    let outcome = attack(&lab::supervisor());
    println!("{outcome:?}");
    assert!(matches!(outcome, Outcome::Stopped(_)), "the attack succeeded");
}

#[corten_tier::t1]
fn the_shim_of_another_container_is_out_of_reach() {
    fails(containers::abstract_socket);
}

#[corten_tier::t1]
fn the_supervisors_own_file_cannot_be_written() {
    fails(containers::own_file);
}

#[corten_tier::t1]
fn another_user_commands_nothing() {
    fails(clients::another_user);
}

#[corten_tier::t1]
fn a_client_that_reads_nothing_stops_nobody() {
    fails(clients::deaf);
}

#[corten_tier::t1]
fn descriptors_in_packets_are_not_kept() {
    fails(clients::descriptors);
}
