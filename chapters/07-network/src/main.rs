//! `corten-network`: chapter 7 as a program.
#![deny(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    corten_network::cli::main()
}
