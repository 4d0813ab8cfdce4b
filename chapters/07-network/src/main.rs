//! `corten-network`: chapter 7 as a program.
#![deny(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    // It is also the server of names, under another name.
    corten_network::names::as_server().unwrap_or_else(corten_network::cli::main)
}
