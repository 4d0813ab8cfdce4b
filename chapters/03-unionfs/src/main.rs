//! `corten-unionfs`: unpack and pack layers, stack them, ask where a file comes from.
#![deny(unsafe_code)]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
