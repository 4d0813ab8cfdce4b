//! What is broken on purpose and must be seen to be: the mutants, chapter by chapter (`mutants`), and the labs'
//! starters (`lab/starters.rs`).
//!
//! Each of them is built, and then mostly waits for something that does not happen; so two jobs are done at
//! a time. Each has a copy of the checkout of its own, and a process of its own, `xtask job FILE`: that ends
//! what broken code leaves behind, and must not end what another job has just started.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::error::{Error, OnPath, Result};
use crate::fingerprint::{Fingerprint, Scope};
use crate::lab::starters;
use crate::setup::apt::Privilege;
use crate::temporary::TemporaryDir;
use crate::test::report::{Outcome, Tally, table};
use crate::test::runner::Settings;
use crate::tree::Tree;
use crate::{mutants, process, say, workspace};

/// So many jobs are done at the same time.
const LANES: usize = 2;

/// What is to be tried, as it stands in the job's file; its results are in the file beside it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Job {
    what: What,
    /// The number of the tree that is its own.
    tree: usize,
    /// Whether there may be VMs.
    vms: bool,
    /// Tests that have passed without a patch.
    passed: BTreeSet<String>,
    /// TMPDIR of the tests.
    temporary: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum What {
    Mutants(String),
    Starters,
}

type Results = Vec<(String, Outcome)>;

/// `./x mutants [CHAPTER]`.
///
/// # Errors
/// Where a mutant lives, or could not be tried.
pub fn mutants(chapter: Option<&str>) -> Result<()> {
    let queue: VecDeque<What> =
        mutants::chapters(chapter)?.into_iter().map(What::Mutants).collect();
    if queue.is_empty() {
        say!("no chapter{} has mutants", chapter.map(|c| format!(" {c}")).unwrap_or_default());
    }
    alone(queue, 0, "a mutant lives: its test holds nothing")
}

/// `./x lab starters`.
///
/// # Errors
/// Where a starter does not compile, or passes what it must not.
pub fn starters() -> Result<()> {
    let why = "a starter does not compile, or passes a test without its task";
    alone(VecDeque::from([What::Starters]), 1, why)
}

/// Does only these, and prints the `at`th of the two tallies.
fn alone(queue: VecDeque<What>, at: usize, why: &str) -> Result<()> {
    let temporary = TemporaryDir::create()?;
    process::adopt_orphans();
    let tallies = tallies(queue, true, &BTreeSet::new(), &temporary.path)?;
    let Some(tally) = tallies.into_iter().nth(at) else { return Ok(()) };
    let (passed, time) = (tally.passed(), tally.time);
    println!("{}", table(&[tally], time));
    if passed { Ok(()) } else { Err(Error::failed(why)) }
}

/// Tries all mutants and starters; those whose test needs a VM only with `vms`. Tests that have `passed`
/// need not be run without a patch.
///
/// # Errors
/// Where a patch has no header, or a tree cannot be copied or built.
pub fn all(vms: bool, passed: &BTreeSet<&str>, temporary: &Path) -> Result<[Tally; 2]> {
    let mut queue: VecDeque<What> =
        mutants::chapters(None)?.into_iter().map(What::Mutants).collect();
    // Not at the end, where it would be alone: it takes as long as a chapter.
    queue.insert(queue.len() / 2, What::Starters);
    tallies(queue, vms, passed, temporary)
}

fn tallies(
    queue: VecDeque<What>,
    vms: bool,
    passed: &BTreeSet<&str>,
    temporary: &Path,
) -> Result<[Tally; 2]> {
    let scope = Scope::Tests { temporary: temporary.to_owned() };
    let before = Fingerprint::take(&scope);
    let passed: BTreeSet<String> = passed.iter().map(|name| (*name).to_owned()).collect();
    let queue = Mutex::new(queue);
    let start = Instant::now();
    let lane = |tree| {
        let mut done = Vec::new();
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        while let Some(what) = next() {
            let (passed, temporary) = (passed.clone(), temporary.to_owned());
            let begin = Instant::now();
            let results = perform(&Job { what: what.clone(), tree, vms, passed, temporary })?;
            done.push((what, results, begin.elapsed()));
        }
        Ok(done)
    };
    let done = std::thread::scope(|scope| {
        let lane = &lane;
        let lanes: Vec<_> = (0..LANES).map(|tree| scope.spawn(move || lane(tree))).collect();
        let lanes = lanes.into_iter();
        lanes
            .map(|lane| lane.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect::<Result<Vec<_>>>()
    });
    // What a broken engine leaves is not the tests' doing. Removed only now: while another job is being done
    // an empty one may have just been made for it.
    before.remove_new_control_groups(&scope);
    let (starters, mut mutants): (Vec<_>, Vec<_>) =
        done?.into_iter().flatten().partition(|(what, ..)| *what == What::Starters);
    mutants.sort_by(|(_, one, _), (_, other, _)| one.first().cmp(&other.first()));
    let time = starters.iter().map(|(.., time)| *time).sum();
    let results =
        |done: Vec<(What, Results, _)>| done.into_iter().flat_map(|(_, r, _)| r).collect();
    Ok([
        Tally::compare("mutants", [], results(mutants), start.elapsed()),
        Tally::compare("starters", [], results(starters), time),
    ])
}

/// Has the job done by a process.
fn perform(job: &Job) -> Result<Results> {
    let file = workspace::scratch("jobs")?.join(format!("{}.json", job.tree));
    let text = serde_json::to_string(job).map_err(|e| Error::failed(e.to_string()))?;
    fs::write(&file, text).on("write", &file)?;
    let results = file.with_extension("results");
    let _ = fs::remove_file(&results);
    // Not the own file: building the tests may have replaced it.
    process::run(Command::new(workspace::target().join("debug/xtask")).arg("job").arg(&file))?;
    let text = fs::read_to_string(&results).on("read", &results)?;
    serde_json::from_str(&text).map_err(|e| Error::failed(format!("{}: {e}", results.display())))
}

/// `xtask job FILE`: does the job in the file, and writes its results beside it.
///
/// # Errors
/// Where the file cannot be read, or what is to be tried cannot be built.
pub fn job(file: &Path) -> Result<()> {
    let text = fs::read_to_string(file).on("read", file)?;
    let job: Job = serde_json::from_str(&text)
        .map_err(|e| Error::failed(format!("{}: {e}", file.display())))?;
    process::adopt_orphans();
    let tree = Tree::copy_of(job.tree)?;
    let results: Results = match &job.what {
        What::Starters => starters::trials(&tree, job.vms)?,
        What::Mutants(chapter) => {
            let settings = Settings {
                threads: 2,
                filter: String::new(),
                // A mutant's test runs where it can.
                everywhere: true,
                mutant: false,
                temporary: job.temporary,
                privilege: Privilege::here(),
            };
            mutants::trials(&tree, chapter, job.vms, &job.passed, &settings)?
        }
    };
    let text = serde_json::to_string(&results).map_err(|e| Error::failed(e.to_string()))?;
    let path = file.with_extension("results");
    fs::write(&path, text).on("write", path)
}
