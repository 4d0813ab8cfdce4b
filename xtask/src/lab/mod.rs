//! `./x lab`: a class's tasks, and the VM in which they are tried.
//!
//! ```text
//! chapters/NN-…/lab/tasks.json    what is to be written: functions by anchor, the tests that check them, hints
//!        │ task                         read, and held against the sources
//!        ▼
//! the checkout ── starter ──▶ lab/NN    a copy in which those functions have no body; the student's own
//!                                │ check        builds it, runs the tests of each task in the VM
//!                                │ submission   takes the functions out of it, and refuses what harms (rules)
//!                                ▼ grade        puts them into the engine's files, one task at a time
//!                             points, with the evidence
//!
//! trial      runs tests of code that is not trusted, and says what counts as passed
//! record     finds the tests of each task, and holds them against what happens
//! starters   the part of `./x test`: starters compile, and fail as recorded
//! ```
//!
//! Starter and solution come of the same file, so they cannot drift: what the student is to write is what the
//! engine has there.

mod check;
mod grade;
#[cfg(test)]
mod hostile;
mod record;
mod rules;
mod shell;
mod starter;
pub mod starters;
mod submission;
mod task;
mod trial;

use std::fs;
use std::path::PathBuf;

use crate::error::{Error, OnPath, Result};
use crate::{broken, say, workspace};
pub use record::Checked;
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
        /// The task: the first that is not begun, where none is named
        task: Option<String>,
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
    /// See that the starters compile and fail as recorded, as `./x test` does
    #[command(hide = true)]
    Starters,
    /// Find out which tests fail without each task, and write them into tasks.json
    #[command(hide = true)]
    Record {
        /// The chapter's number
        chapter: String,
        /// One task only
        task: Option<String>,
        /// Write nothing, but hold what is recorded against what happens
        #[arg(long, conflicts_with = "task")]
        check: bool,
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
        Lab::Hint { chapter, task, number } => {
            hint(&Chapter::read(chapter)?, task.as_deref(), *number)
        }
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
        Lab::Starters => broken::starters(),
        Lab::Record { chapter, check: true, .. } => {
            Checked::verdict(&[record::check(&Chapter::read(chapter)?)?])
        }
        Lab::Record { chapter, task, .. } => {
            record::record(&Chapter::read(chapter)?, task.as_deref())
        }
        Lab::Grade { chapter, from, json } => {
            let chapter = Chapter::read(chapter)?;
            let from = match from {
                Some(from) => from.clone(),
                None => place(&chapter)?,
            };
            grade::grade(&chapter, &from, *json)
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
    say!(
        "lab/{} is yours; the engine's own code is beside it, if you want to look",
        chapter.number
    );
    tell(chapter);
    say!("then: ./x lab check {}", chapter.number);
    Ok(())
}

fn tell(chapter: &Chapter) {
    for Task { name, title, file, points, minutes, .. } in &chapter.tasks {
        println!("{name:<16} {points:>3} points, {minutes:>2} minutes  {title} ({file})");
    }
}

/// Holds what each chapter has recorded of its tasks against what happens.
///
/// # Errors
/// Where the chapters cannot be read.
pub fn check_records() -> Result<Vec<Checked>> {
    let check = |one: &Chapter| record::check(one).unwrap_or_else(|why| Checked::not(one, &why));
    Ok(Chapter::all()?.iter().map(check).collect())
}

/// The first task that is as the starter has it.
fn first_open(chapter: &Chapter) -> Result<&Task> {
    let tree = place(chapter)?;
    for task in &chapter.tasks {
        let path = tree.join(&task.file);
        let text = fs::read_to_string(&path).on("read", &path)?;
        if !starter::is_begun(&text, task, &chapter.number)? {
            return Ok(task);
        }
    }
    Err(Error::failed("every task is begun: name the one for which you want a hint"))
}

fn hint(chapter: &Chapter, task: Option<&str>, number: usize) -> Result<()> {
    let task = match task {
        Some(name) => chapter.task(name)?,
        None => first_open(chapter)?,
    };
    println!("{}: {}", task.name, task.title);
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
    let engine = task.source()?;
    let wanted = if solution { engine } else { starter::blank(&engine, task, &chapter.number)? };
    let part = starter::region(&wanted, &task.anchor)?;
    let new = starter::with_region(&own, &task.anchor, part)?;
    if new == own {
        say!("{}: that is what is there", task.name);
        return Ok(());
    }
    let kept = free(&path);
    fs::write(&kept, &own).on("write", &kept)?;
    fs::write(&path, new).on("write", &path)?;
    say!("{}: what was there is in {}", task.name, kept.display());
    Ok(())
}

/// A name beside a file that no earlier version has.
fn free(path: &std::path::Path) -> PathBuf {
    let name = |number: u32| path.with_extension(format!("rs.mine{number}"));
    (1..).map(name).find(|path| !path.exists()).unwrap_or_else(|| name(0))
}
