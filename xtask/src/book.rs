//! `./x book`: builds, checks or serves the book with the crate corten-book.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::error::{Error, Result};
use crate::setup::{self, Purpose};
use crate::{process, say, workspace};

/// What is done with the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Action {
    /// Build it and serve it on loopback
    Serve,
    /// Build it to book/build
    Build,
    /// Check its content and build it, replay its sessions, look at it in a browser
    Check,
    /// Make the figures and tables from benches/results
    Figures,
    /// Print it into book/build/corten.pdf, with Chromium
    Pdf,
    /// Look at every page with axe-core, which npm fetches
    Axe,
}

impl Action {
    /// The commands of corten-book that it stands for, in order.
    fn commands(self) -> &'static [&'static str] {
        match self {
            Action::Serve => &["serve"],
            Action::Build => &["build"],
            Action::Check => &["check", "replay", "browser"],
            Action::Figures => &["figures"],
            Action::Pdf => &["pdf"],
            Action::Axe => &["axe"],
        }
    }
}

/// Runs corten-book from `program`, or where that is not given built by cargo. Of several commands
/// each is run, also after one has failed, and the time that it took printed.
///
/// # Errors
/// Where one fails.
pub fn run(action: Action, program: Option<&Path>) -> Result<()> {
    match action {
        Action::Check => setup::ensure(&[Purpose::Book, Purpose::Vm])?,
        Action::Pdf | Action::Axe => setup::ensure(&[Purpose::Book])?,
        Action::Serve | Action::Build | Action::Figures => {}
    }
    let axe = if action == Action::Axe { Some(axe_core()?) } else { None };
    let program = match program {
        Some(program) => program.to_path_buf(),
        None => build(action)?,
    };
    let mut failed = Vec::new();
    for command in action.commands() {
        let start = Instant::now();
        let result = process::run(
            Command::new(&program).current_dir(workspace::root()).arg(command).args(&axe),
        );
        if action.commands().len() == 1 {
            return result;
        }
        let word = if result.is_ok() { "ok" } else { "FAILED" };
        say!("book {command}: {word} ({:.1} s)", start.elapsed().as_secs_f64());
        failed.extend(result.err().map(|_| *command));
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Error::failed(format!("book {}", failed.join(", "))))
    }
}

/// The script of axe-core, which looks for what keeps people from reading a page. It is not among what the
/// tests need: npm is hundreds of packages.
fn axe_core() -> Result<PathBuf> {
    if !process::exists("npm") {
        return Err(Error::failed(
            "axe-core comes by npm: apt-get install npm, and run this again",
        ));
    }
    let directory = workspace::scratch("axe")?;
    let package = process::read(
        Command::new("npm").args(["pack", "--silent", "axe-core"]).current_dir(&directory),
    )?;
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(package.trim()).arg("package/axe.min.js").current_dir(&directory);
    process::run(&mut tar)?;
    Ok(directory.join("package/axe.min.js"))
}

/// Builds corten-book, and what a replay runs.
fn build(action: Action) -> Result<PathBuf> {
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--quiet"]);
    match action {
        Action::Check => cargo.args(["--workspace", "--bins"]),
        _ => cargo.args(["-p", "corten-book"]),
    };
    process::run(&mut cargo)?;
    Ok(workspace::target().join("debug/corten-book"))
}
