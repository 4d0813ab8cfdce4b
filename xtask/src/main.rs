//! The tasks behind `./x`.
//!
//! ```text
//! run          from a clone to a container           ── run/image makes the image busybox
//! test         every tier, the host before and after ── test/{build, libtest, runner, report}, vm
//! mutants      each mutant must be caught             ── broken, and the labs' starters
//! clients      libraries of other languages drive the daemon
//! fingerprint  what a test could leave on the host
//! install      onto this machine, and off it
//! doctor       what this machine lacks
//! setup        installs what is missing              ── setup/{os_release, apt}
//! soak         failures and kills at every system call, conformance of several runtimes
//! book, lab, bench, ci
//! tidy         rules of this repository, as tests
//! ```
#![deny(unsafe_code)]

mod bench;
mod book;
mod broken;
mod ci;
mod clients;
mod doctor;
mod error;
mod fingerprint;
mod install;
mod lab;
mod mutants;
mod process;
mod run;
mod setup;
mod soak;
mod temporary;
mod test;
#[cfg(test)]
mod tidy;
mod tree;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use error::{Error, Result};

/// Says on standard error what a task is doing.
macro_rules! say {
    ($($text:tt)*) => { eprintln!("x: {}", format_args!($($text)*)) };
}
use say;

/// Corten's tasks.
#[derive(Parser)]
#[command(bin_name = "./x", disable_version_flag = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build Corten and run a container that shows what it is
    Run,
    /// Run all tests: T0 (pure), T1 (root on this machine), T2 (in VMs), and the mutants
    Test(test::Options),
    /// Install Corten on this machine, or remove it
    Install(install::Options),
    /// Say what this machine has and lacks, and what to do about it
    Doctor,
    /// Build the book and serve it
    Book {
        /// What to do with it
        #[arg(value_enum, default_value = "serve")]
        action: book::Action,
    },
    /// Work in the lab VM
    #[command(subcommand)]
    Lab(lab::Lab),
    /// Measure Corten beside its peers
    Bench {
        /// The comparison
        #[arg(value_enum, default_value = "namespaces")]
        comparison: bench::Comparison,
    },
    /// Try what takes minutes: failures and kills at every system call, conformance
    Soak {
        /// What
        #[arg(value_enum)]
        name: soak::Name,
    },
    /// Let libraries that come by npm and pip drive the daemon
    Clients,
    /// Apply each chapter's mutants and see that the named tests fail
    Mutants {
        /// Only chapters whose directory begins with this: 01
        chapter: Option<String>,
    },
    /// Print the host's mounts, control groups, links, processes, …
    Fingerprint,
    /// Format the code
    Fix,
    /// Run what CI runs: fmt, clippy, doc, test, clients, book
    Ci,
    /// Do a part of `test` or `mutants`
    #[command(hide = true)]
    Job {
        /// What is to be done
        file: std::path::PathBuf,
    },
    /// Run a program and collect the processes that it leaves; `test` puts test binaries below it
    #[command(hide = true)]
    Reap {
        /// The program and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<std::ffi::OsString>,
    },
}

fn main() -> ExitCode {
    match perform(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        // The program has explained itself, and its exit status is the answer.
        Err(Error::Ended { command, status }) => {
            say!("{command}: {status}");
            ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
        }
        Err(error) => {
            say!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> Result<()> {
    match task {
        Task::Run => run::run(),
        Task::Test(options) => test::run(&options),
        Task::Install(options) => install::run(&options),
        Task::Doctor => doctor::run(),
        Task::Book { action } => book::run(action, None),
        Task::Lab(lab) => lab::run(&lab),
        Task::Bench { comparison } => bench::run(comparison),
        Task::Soak { name } => soak::run(name),
        Task::Clients => clients::run(),
        Task::Mutants { chapter } => broken::mutants(chapter.as_deref()),
        Task::Job { file } => broken::job(&file),
        Task::Fingerprint => {
            fingerprint::print();
            Ok(())
        }
        Task::Fix => process::run(workspace::cargo().args(["fmt", "--all"])),
        Task::Ci => ci::run(),
        Task::Reap { command } => process::reap(&command),
    }
}
