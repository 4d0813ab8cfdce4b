//! `corten-registry`: chapter 6 on its own.
#![deny(unsafe_code)]

mod command;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let arguments = command::Arguments::parse();
    match arguments.execute() {
        Ok(sound) => ExitCode::from(u8::from(!sound)),
        Err(error) => {
            eprintln!("corten-registry: {error}");
            ExitCode::FAILURE
        }
    }
}
