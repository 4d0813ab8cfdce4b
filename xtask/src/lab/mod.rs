//! `./x lab`: a class's tasks, and the VM in which they are tried.
//!
//! ```text
//! chapters/NN-…/lab/tasks.json    what is to be written: functions by anchor, the tests that check them, hints
//!        │ task                         read, and held against the sources
//!        ▼
//! the checkout ── starter ──▶ lab/NN    a copy in which those functions have no body; the student's own
//!                                │ check    builds it, runs the tests of each task, T1 and T2 in the VM
//!                                ▼
//!                             points, with the evidence
//! ```
//!
//! Starter and solution come of the same file, so they cannot drift: what the student is to write is what the
//! engine has there.

mod check;
mod record;
mod shell;
mod starter;
mod task;

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, OnPath, Result};
use crate::{say, workspace};
use task::{Chapter, Task};

/// What is done in the lab.
#[derive(Debug, Clone, PartialEq, Eq, clap::Subcommand)]
pub enum Lab {
    /// A root shell in the lab VM, with Corten's programs in its PATH
    Shell {
        /// Options of `corten-vm shell`, such as --kernel 6.12 or --cgroup v1
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// Write a chapter's starter to lab/NN: the checkout, without what is to be written
    Start {
        /// The chapter's number: 03
        chapter: String,
    },
    /// List a chapter's tasks
    Tasks {
        /// The chapter's number
        chapter: String,
    },
    /// Test what was written
    Check {
        /// The chapter's number
        chapter: String,
        /// One task only
        task: Option<String>,
    },
    /// Show a task's first hint, or more of them
    Hint {
        /// The chapter's number
        chapter: String,
        /// The task
        task: String,
        /// How many
        #[arg(default_value_t = 1)]
        number: usize,
    },
    /// Put the engine's own code in the place of a task; what was there is kept beside it
    Solution {
        /// The chapter's number
        chapter: String,
        /// The task
        task: String,
    },
    /// Put the starter in the place of a task, or of all; what was there is kept beside it
    Reset {
        /// The chapter's number
        chapter: String,
        /// The task
        task: Option<String>,
    },
    /// Find out which tests fail without each task, and print the tasks with them
    #[command(hide = true)]
    Record {
        /// The chapter's number
        chapter: String,
    },
    /// Give points for what was written, in a tree that has nothing else of the student's
    Grade {
        /// The chapter's number
        chapter: String,
        /// The student's tree, lab/NN otherwise
        #[arg(long, value_name = "DIR")]
        from: Option<PathBuf>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs it.
///
/// # Errors
/// Where a chapter has no tasks, the student's tree is not there, or a test cannot be run.
pub fn run(lab: &Lab) -> Result<()> {
    match lab {
        Lab::Shell { options } => shell::run(options),
        Lab::Start { chapter } => start(&Chapter::read(chapter)?),
        Lab::Tasks { chapter } => {
            tell(&Chapter::read(chapter)?);
            Ok(())
        }
        Lab::Check { chapter, task } => {
            let chapter = Chapter::read(chapter)?;
            check::check(&chapter, &chapter.some(task.as_deref())?, &place(&chapter)?)
        }
        Lab::Hint { chapter, task, number } => hint(&Chapter::read(chapter)?, task, *number),
        Lab::Solution { chapter, task } => {
            let chapter = Chapter::read(chapter)?;
            put(&chapter, chapter.task(task)?, true)
        }
        Lab::Reset { chapter, task } => {
            let chapter = Chapter::read(chapter)?;
            for task in chapter.some(task.as_deref())? {
                put(&chapter, task, false)?;
            }
            Ok(())
        }
        Lab::Record { chapter } => record::record(&Chapter::read(chapter)?),
        Lab::Grade { chapter, from, json } => {
            let chapter = Chapter::read(chapter)?;
            let from = match from {
                Some(from) => from.clone(),
                None => place(&chapter)?,
            };
            check::grade(&chapter, &from, *json)
        }
    }
}

/// The student's tree.
fn tree(chapter: &Chapter) -> PathBuf {
    workspace::root().join("lab").join(&chapter.number)
}

fn place(chapter: &Chapter) -> Result<PathBuf> {
    let tree = tree(chapter);
    match tree.exists() {
        true => Ok(tree),
        false => {
            let number = &chapter.number;
            Err(Error::failed(format!("lab/{number} is not there: ./x lab start {number}")))
        }
    }
}

fn start(chapter: &Chapter) -> Result<()> {
    let to = tree(chapter);
    if to.exists() {
        return Err(Error::failed(format!(
            "{} is there already: ./x lab reset {} puts the starter in its place, and keeps what you have written",
            to.display(),
            chapter.number
        )));
    }
    starter::write(chapter, &to)?;
    say!("lab/{} is yours; the engine's own code is beside it, if you want to look", chapter.number);
    tell(chapter);
    say!("then: ./x lab check {}", chapter.number);
    Ok(())
}

fn tell(chapter: &Chapter) {
    for Task { name, title, file, points, .. } in &chapter.tasks {
        println!("{name:<16} {points:>3} points  {title} ({file})");
    }
}

fn hint(chapter: &Chapter, task: &str, number: usize) -> Result<()> {
    let task = chapter.task(task)?;
    for (at, hint) in task.hints.iter().take(number).enumerate() {
        println!("{}. {hint}", at + 1);
    }
    let left = task.hints.len().saturating_sub(number);
    if left > 0 {
        say!("{left} more: ./x lab hint {} {} {}", chapter.number, task.name, number + 1);
    }
    Ok(())
}

/// Puts the engine's own code, or the starter's, in the place of a task.
fn put(chapter: &Chapter, task: &Task, solution: bool) -> Result<()> {
    let path = place(chapter)?.join(&task.file);
    let own = fs::read_to_string(&path).on("read", &path)?;
    let kept = path.with_extension("rs.mine");
    fs::write(&kept, &own).on("write", &kept)?;
    let engine = task.source()?;
    let wanted = if solution { engine } else { starter::blank(&engine, task, &chapter.number)? };
    let part = starter::region(&wanted, &task.anchor)?;
    let new = starter::with_region(&own, &task.anchor, part)?;
    fs::write(&path, new).on("write", &path)?;
    say!("{}: what was there is in {}", task.name, kept.display());
    Ok(())
}

/// Where a path of the checkout is in another tree.
fn in_tree(tree: &Path, file: &str) -> PathBuf {
    tree.join(file)
}
