//! The command line of chapter 3's program, one module for what goes together.

mod inspect;
mod layer;
mod stack;
mod store;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use corten_unionfs::{Error, Result};

/// Unpack layers of images, stack them, and pack what has changed (chapter 3 of Corten).
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Unpack one layer into an empty directory and print its diff id
    Apply(layer::Apply),
    /// List what has changed, or pack it as a layer
    Diff(layer::Diff),
    /// List the entries of a layer, with what its marks mean
    Ls(inspect::Ls),
    /// Run a command in a mount namespace of its own in which DIR is the merged tree
    Mount(stack::Mount),
    /// Say which layer a path comes from
    Why(inspect::Why),
    /// Print the system calls that `mount` would make; without layers, which drivers work here
    Explain(stack::Explain),
    /// Keep unpacked layers, as the engine does
    Store(store::Store),
}

pub(crate) fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Action::Apply(apply) => apply.execute(),
        Action::Diff(diff) => diff.execute(),
        Action::Ls(ls) => ls.execute(),
        Action::Mount(mount) => mount.execute(),
        Action::Why(why) => why.execute(),
        Action::Explain(explain) => explain.execute(),
        Action::Store(store) => store.execute(),
    };
    let Err(error) = result else { return ExitCode::SUCCESS };
    eprintln!("corten-unionfs: {error}");
    match error {
        Error::Kernel(error) => error.exit_code().into(),
        _ => 125.into(),
    }
}

/// An argument that makes no sense.
fn invalid(what: impl Into<String>, why: impl Into<String>) -> Error {
    Error::Invalid { what: what.into(), why: why.into() }
}

/// Prints a line; that nobody reads on is no error.
fn say(line: &str) -> Result<()> {
    use std::io::Write;
    match writeln!(std::io::stdout(), "{line}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other.map_err(|source| Error::Write { source }),
    }
}
