//! The command `corten`.
#![deny(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else: without corten-supervisor beside it, this program is its own shim.
    corten_supervisor::launch::as_shim()
        .or_else(corten_network::names::as_server)
        .or_else(corten_network::ports::forward::as_forwarder)
        .or_else(corten_namespaces::rootless::holder::as_holder)
        .unwrap_or_else(|| ExitCode::from(corten::cli::main(std::env::args_os())))
}
