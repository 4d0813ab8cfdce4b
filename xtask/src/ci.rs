//! `./x ci`: everything that must hold before a change is merged.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::book::Action;
use crate::error::{Error, Result};
use crate::fingerprint::{Fingerprint, Scope};
use crate::{book, process, say, workspace};

type Step = (&'static str, fn() -> Result<()>);

/// The quick ones first. What the tests build is what the book's steps run.
const STEPS: [Step; 6] = [
    ("fmt", || process::run(workspace::cargo().args(["fmt", "--all", "--check"]))),
    ("clippy", || {
        let lint = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
        process::run(workspace::cargo().args(lint))
    }),
    ("doc", || {
        let mut cargo = workspace::cargo();
        cargo.args(["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"]);
        process::run(cargo.env("RUSTDOCFLAGS", "-D warnings"))
    }),
    // The README's command itself.
    ("./x test", || {
        process::run(std::process::Command::new(workspace::root().join("x")).arg("test"))
    }),
    ("clients", crate::clients::run),
    ("book check", || book::run(Action::Check, Some(&book_program()))),
];

/// As the tests' build has left it; corten-book built alone would have other features of its
/// dependencies, and all would be compiled again.
fn book_program() -> PathBuf {
    workspace::target().join("debug/corten-book")
}

/// Runs every step, also after one has failed, and prints the times.
///
/// # Errors
/// Where a step fails.
pub fn run() -> Result<()> {
    let start = Instant::now();
    let mut done: Vec<(&str, Duration, Option<Error>)> = Vec::new();
    let before = Fingerprint::take(&Scope::Steps);
    for (name, step) in STEPS {
        say!("ci: {name}");
        let begin = Instant::now();
        let error = step().err();
        if let Some(error) = &error {
            say!("ci: {name} FAILED: {error}");
        }
        done.push((name, begin.elapsed(), error));
    }
    let changes = before.changes_to(&Fingerprint::take(&Scope::Steps));
    println!();
    changes.tell("the steps");
    println!("\n{:<12} {:>8}  result", "step", "seconds");
    for (name, time, error) in &done {
        let result = if error.is_none() { "ok" } else { "FAILED" };
        println!("{name:<12} {:>8.1}  {result}", time.as_secs_f64());
    }
    println!("{:<12} {:>8.1}", "all", start.elapsed().as_secs_f64());
    let mut failed: Vec<&str> = done.iter().filter(|(_, _, e)| e.is_some()).map(|s| s.0).collect();
    if !changes.is_empty() {
        failed.push("the host's fingerprint");
    }
    if failed.is_empty() { Ok(()) } else { Err(Error::failed(failed.join(", "))) }
}
