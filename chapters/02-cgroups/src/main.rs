//! `corten-cgroups`: chapter 2 as a program.
#![deny(unsafe_code)]

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // --help and --version come as errors, too, and go to standard output.
            let status = if error.use_stderr() { 125 } else { 0 };
            let _ = error.print();
            return ExitCode::from(status);
        }
    };
    match cli.execute() {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("corten-cgroups: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
