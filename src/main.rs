//! The command `corten`.
#![deny(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(corten::cli::main(std::env::args_os()))
}
