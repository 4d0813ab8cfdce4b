//! `corten-book`: builds, serves, checks and replays the book.
#![deny(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use corten_book::error::{Context, Error, Result};
use corten_book::finding::Finding;
use corten_book::layout::Layout;
use corten_book::replay::Difference;
use corten_book::{browser, check, measurement, reading, render, replay, serve};

/// Builds and checks the Corten book.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the book without checking it
    Build {
        /// Where to (default: book/build)
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Build the book and serve it on loopback; changed pages are built anew when asked for
    Serve {
        #[arg(long, default_value_t = 3000)]
        port: u16,
    },
    /// Check everything that needs neither a shell nor a browser, and build
    Check {
        /// Where to build to (default: book/build)
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Run the terminal sessions again and compare what they print
    Replay {
        /// Only the blocks with these ids
        ids: Vec<String>,
        /// Rewrite what differs
        #[arg(long)]
        update: bool,
    },
    /// Type every command, page by page, and print as JSON how many did what the book says
    Read,
    /// Draw the figures from benches/results
    Figures,
    /// Build the book and print it into a PDF file
    Pdf {
        /// Where to (default: book/build/corten.pdf)
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Build the book and look at every page with axe-core
    Axe {
        /// Its script, axe.min.js of the npm package axe-core
        script: PathBuf,
    },
    /// Build the book and look at every page in headless Chromium
    Browser {
        /// Write screenshots into this directory
        #[arg(long)]
        shots: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("corten-book: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    let here = std::env::current_dir().on("find", "the working directory")?;
    let layout = Layout::find(&here)?;
    let out = |out: Option<PathBuf>| out.unwrap_or_else(|| layout.build_dir());
    match command {
        Command::Build { out: dir } => render::build(&layout, &out(dir)),
        Command::Serve { port } => serve::serve_book(&layout, &layout.build_dir(), port),
        Command::Check { out: dir } => {
            report(&check::check(&layout)?)?;
            render::build(&layout, &out(dir))
        }
        Command::Replay { ids, update } => {
            let difference = if update { Difference::Rewrites } else { Difference::Fails };
            let (count, findings) = replay::replay(&layout, &ids, difference)?;
            println!("{count} session(s) replayed");
            report(&findings)
        }
        Command::Read => {
            let readings = reading::read(&layout, |reading| {
                let (page, typed) = (&reading.page, reading.typed);
                eprintln!("{page}: {} of {typed} in {} s", reading.as_shown, reading.seconds);
            })?;
            println!("{}", serde_json::json!(readings));
            Ok(())
        }
        Command::Figures => {
            for path in measurement::write(&layout)? {
                println!("{}", layout.relative(&path).display());
            }
            Ok(())
        }
        Command::Pdf { out } => {
            render::build(&layout, &layout.build_dir())?;
            let to = out.unwrap_or_else(|| layout.build_dir().join("corten.pdf"));
            browser::print(&layout.build_dir(), &to)?;
            println!("{}", to.display());
            Ok(())
        }
        Command::Axe { script } => {
            render::build(&layout, &layout.build_dir())?;
            let (count, passed, findings) =
                browser::accessibility(&layout, &layout.build_dir(), &script)?;
            println!("{count} page(s) looked at in light and dark, {passed} rules passed");
            report(&findings)
        }
        Command::Browser { shots } => {
            render::build(&layout, &layout.build_dir())?;
            let (count, findings) = browser::check(&layout, &layout.build_dir(), shots.as_deref())?;
            println!("{count} page(s) looked at");
            report(&findings)
        }
    }
}

/// Prints the faults; fails where there are any.
fn report(findings: &[Finding]) -> Result<()> {
    for finding in findings {
        eprintln!("{finding}");
    }
    if findings.is_empty() { Ok(()) } else { Err(Error::Faults(findings.len())) }
}
