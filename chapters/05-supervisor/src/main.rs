//! `corten-supervisor`: chapter 5 on its own, without an engine.
#![deny(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else: this may be a shim.
    corten_supervisor::launch::as_shim().unwrap_or_else(corten_supervisor::cli::main)
}
