//! `./x book`: builds, checks or serves the book with the crate corten-book.

use std::path::Path;
use std::process::Command;

use crate::error::Result;
use crate::setup::{self, Purpose};
use crate::{process, workspace};

/// What is done with the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Action {
    /// Build it and serve it on loopback
    Serve,
    /// Build it to book/build
    Build,
    /// Check its content, and look at it in a browser
    Check,
}

impl Action {
    fn argument(self) -> &'static str {
        match self {
            Action::Serve => "serve",
            Action::Build => "build",
            Action::Check => "check",
        }
    }
}

/// Runs corten-book, built by cargo where `program` is not given.
///
/// # Errors
/// Where it fails.
pub fn run(action: Action, program: Option<&Path>) -> Result<()> {
    if action == Action::Check {
        setup::ensure(&[Purpose::Book])?;
    }
    let mut command = match program {
        Some(program) => Command::new(program),
        None => {
            let mut cargo = workspace::cargo();
            cargo.args(["run", "--quiet", "-p", "corten-book", "--"]);
            cargo
        }
    };
    process::run(command.current_dir(workspace::root()).arg(action.argument()))
}
