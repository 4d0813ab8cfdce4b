//! Exercise 1.1: which namespaces do two processes share?
//!
//! `cargo run -p corten-namespaces --example shared -- PID PID`
#![deny(unsafe_code)]

use std::process::ExitCode;

use corten_namespaces::{Namespace, Result};

// ANCHOR: shared
/// The kinds of namespace that both processes are in, and those in which they differ.
///
/// # Errors
/// `ENOENT` where a process is gone, `EACCES` where the caller may not look into it.
pub fn shared(one: i32, other: i32) -> Result<(Vec<Namespace>, Vec<Namespace>)> {
    let (mut same, mut different) = (Vec::new(), Vec::new());
    for namespace in Namespace::ALL {
        // Device and inode, both: an inode alone is unique within one file system only.
        let equal = namespace.of(one)? == namespace.of(other)?;
        if equal { same.push(namespace) } else { different.push(namespace) }
    }
    Ok((same, different))
}
// ANCHOR_END: shared

fn main() -> ExitCode {
    let pids: Vec<i32> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let [one, other] = pids[..] else {
        eprintln!("usage: shared PID PID");
        return ExitCode::from(125);
    };
    match shared(one, other) {
        Ok((same, different)) => {
            println!("same:      {same:?}\ndifferent: {different:?}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("shared: {error}");
            ExitCode::from(125)
        }
    }
}
