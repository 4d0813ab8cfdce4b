//! `corten-network`: networks of containers, by hand.
#![deny(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    corten_network::names::as_server().unwrap_or(ExitCode::FAILURE)
}
