//! Attacks on a runtime, each named by its CVE. Each is a function that says whether it succeeded,
//! and is run against ours, where it must not, and against one from which the defence has been
//! taken, where it must: or the first proves nothing. Where the defence is a step of the plan, it
//! is taken out of the plan ([`weak`]); where it is a line of code, the chapter's mutants take it
//! out. [`table`] runs all against Debian's crun and runc as well.
#![allow(clippy::unwrap_used)]

mod descriptors;
mod lab;
mod labels;
mod masks;
mod mounts;
mod rights;
mod table;
mod weak;

use lab::{Outcome, Runtime};

/// Not a test but the weakened runtime, when it is told to be.
#[test]
fn runtime() {
    weak::main();
}

/// That `attack` fails with our runtime.
#[track_caller]
fn fails(attack: fn(Runtime) -> Outcome) {
    let outcome = attack(Runtime::Corten);
    println!("{outcome:?}");
    assert!(matches!(outcome, Outcome::Stopped(_)), "the attack succeeded");
}

/// And that it succeeds where the defence is missing.
#[track_caller]
fn succeeds_without(defence: &'static str, attack: fn(Runtime) -> Outcome) {
    assert_eq!(attack(Runtime::Weak(defence)), Outcome::Succeeded, "{defence}");
}
