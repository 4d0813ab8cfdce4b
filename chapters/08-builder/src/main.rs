//! `corten-builder`: what chapter 8 knows without an engine.
#![deny(unsafe_code)]

fn main() -> std::process::ExitCode {
    corten_builder::cli::main(std::env::args_os()).into()
}
