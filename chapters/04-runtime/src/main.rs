//! `corten-runtime`: the command line of chapter 4.
#![deny(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    corten_runtime::cli::main()
}
