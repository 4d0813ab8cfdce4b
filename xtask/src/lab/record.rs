//! Which tests fail without a task and pass with it: found by leaving it out, and looked at again later.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::starter;
use super::task::{Chapter, Task};
use super::trial::{self, Verdict};
use crate::error::{Error, OnPath, Result};
use crate::setup::{self, Purpose};
use crate::test::build::{self, Built, TestBinary};
use crate::test::libtest::{Tier, parse_results};
use crate::test::report::Outcome;
use crate::test::runner::log_output;
use crate::tree::Tree;
use crate::{say, workspace};

/// A test of a task takes no longer in the VM with the engine's own code.
const SLOW: Duration = Duration::from_secs(30);

/// A binary's tests that have not ended by then wait for a thread which has panicked.
const LIMIT: Duration = Duration::from_secs(60);

/// So many tests of one target are enough for a task.
const ENOUGH: usize = 6;

/// Writes the tests of each task into the chapter's tasks.json: of the library those that need nothing, of
/// the task's `targets` those that are in tasks.json, or all, as far as they fail without it and pass with it in the VM. With `only`, of
/// these tasks alone.
///
/// # Errors
/// Where a starter does not compile, or nothing can be run.
pub fn record(chapter: &Chapter, only: Option<&str>) -> Result<()> {
    setup::ensure(&[Purpose::Test, Purpose::Vm])?;
    let tree = Tree::copy()?;
    let mut tasks = chapter.tasks.clone();
    for task in tasks.iter_mut().filter(|task| only.is_none_or(|only| only == task.name)) {
        let blanked = starter::blank(&task.source()?, task, &chapter.number)?;
        let replaced = tree.replace(&task.file, &blanked)?;
        let built = built(&tree, chapter, task)?;
        let mut failing = pure(&built, chapter)?;
        failing.extend(with_verdict(&built, &of_kernel(&built, chapter, task), Verdict::Failed)?);
        drop(replaced);
        say!("{}: {} test(s) fail without it", task.name, failing.len());
        task.tests = some_of(task, failing);
    }
    // All with the engine's own code, in the VM.
    let all: Vec<String> = tasks.iter().flat_map(|task| task.tests.clone()).collect();
    let built = build_targets(&tree, chapter, &targets(&tasks))?;
    let passing: BTreeSet<String> =
        with_verdict(&built, &all, Verdict::Passed)?.into_iter().collect();
    for task in &mut tasks {
        task.tests.retain(|test| passing.contains(test));
        say!("{}: {} test(s) recorded", task.name, task.tests.len());
    }
    let path = workspace::root().join(&chapter.directory).join("lab/tasks.json");
    let text = serde_json::to_string_pretty::<[Task]>(&tasks).unwrap_or_default() + "\n";
    fs::write(&path, text).on("write", &path)
}

/// What came of holding a chapter's record against what happens.
#[derive(Debug, Serialize)]
pub struct Checked {
    chapter: String,
    tasks: Vec<CheckedTask>,
    /// All tests of the tasks, and those of them that pass with the engine's own code.
    tests: usize,
    pass: usize,
    seconds: u64,
    /// What is not as it is recorded.
    wrong: Vec<String>,
}

/// A task, the tests that are recorded for it, and those of them that fail without it.
#[derive(Debug, Serialize)]
struct CheckedTask {
    name: String,
    tests: usize,
    fail: usize,
}

impl Checked {
    /// What came of a chapter that cannot be built or run.
    pub fn not(chapter: &Chapter, why: &Error) -> Checked {
        let (chapter, wrong) = (chapter.number.clone(), vec![why.to_string()]);
        Checked { chapter, tasks: Vec::new(), tests: 0, pass: 0, seconds: 0, wrong }
    }

    /// Nothing, where nothing is wrong.
    ///
    /// # Errors
    /// With all that is.
    pub fn verdict(all: &[Checked]) -> Result<()> {
        let lines = |one: &Checked| format!("chapter {}:\n{}", one.chapter, one.wrong.join("\n"));
        let wrong: Vec<_> = all.iter().filter(|one| !one.wrong.is_empty()).map(lines).collect();
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(Error::failed(wrong.join("\n"))),
        }
    }

    /// A row of the book's table.
    pub fn row(&self) -> String {
        let fail: usize = self.tasks.iter().map(|task| task.fail).sum();
        let tests: usize = self.tasks.iter().map(|task| task.tests).sum();
        let (chapter, all, pass) = (&self.chapter, self.tests, self.pass);
        format!("| {chapter} | {} | {fail} of {tests} | {pass} of {all} |\n", self.tasks.len())
    }
}

/// Holds what is recorded against what happens: without each task all of its tests fail, with the engine's
/// own code all pass.
///
/// # Errors
/// Where it cannot be built or run.
pub fn check(chapter: &Chapter) -> Result<Checked> {
    setup::ensure(&[Purpose::Test, Purpose::Vm])?;
    let start = Instant::now();
    let tree = Tree::copy()?;
    let (mut tasks, mut wrong) = (Vec::new(), Vec::new());
    for task in &chapter.tasks {
        let blanked = starter::blank(&task.source()?, task, &chapter.number)?;
        let replaced = tree.replace(&task.file, &blanked)?;
        let built = trial::build(tree.cargo(), &task.tests, trial::BUILD)?;
        let failing: BTreeSet<String> =
            with_verdict(&built, &task.tests, Verdict::Failed)?.into_iter().collect();
        drop(replaced);
        say!("{}: {} of {} fail without it", task.name, failing.len(), task.tests.len());
        let not = task.tests.iter().filter(|test| !failing.contains(*test));
        wrong.extend(not.map(|test| format!("{test} does not fail without {}", task.name)));
        let (name, tests, fail) = (task.name.clone(), task.tests.len(), failing.len());
        tasks.push(CheckedTask { name, tests, fail });
    }
    let all: BTreeSet<String> = chapter.tasks.iter().flat_map(|task| task.tests.clone()).collect();
    let all: Vec<String> = all.into_iter().collect();
    let built = trial::build(tree.cargo(), &all, trial::BUILD)?;
    let passing: BTreeSet<String> =
        with_verdict(&built, &all, Verdict::Passed)?.into_iter().collect();
    say!("{} of {} pass with the engine's own code", passing.len(), all.len());
    let not = all.iter().filter(|test| !passing.contains(*test));
    wrong.extend(not.map(|test| format!("{test} does not pass")));
    let (chapter, seconds) = (chapter.number.clone(), start.elapsed().as_secs());
    Ok(Checked { chapter, tasks, tests: all.len(), pass: passing.len(), seconds, wrong })
}

fn targets(tasks: &[Task]) -> BTreeSet<String> {
    tasks.iter().flat_map(|task| task.targets.clone()).collect()
}

fn built(tree: &Tree, chapter: &Chapter, task: &Task) -> Result<Built> {
    build_targets(tree, chapter, &task.targets.iter().cloned().collect())
}

fn build_targets(tree: &Tree, chapter: &Chapter, targets: &BTreeSet<String>) -> Result<Built> {
    let mut cargo = tree.cargo();
    cargo.args(["test", "--no-run", "--package", &chapter.package, "--lib"]);
    for target in targets {
        cargo.args(["--test", target]);
    }
    build::run(&mut cargo)
}

/// At most [`ENOUGH`] of each target: those of the task's own module first, and of others some from all over.
fn some_of(task: &Task, tests: Vec<String>) -> Vec<String> {
    let mut chosen = Vec::new();
    let target = |test: &String| test.split_whitespace().nth(1).unwrap_or_default().to_owned();
    let module = Path::new(&task.file).file_stem().unwrap_or_default().to_string_lossy();
    let is_own = |test: &&String| test.contains(&format!("{module}::tests::"));
    let all: BTreeSet<String> = tests.iter().map(target).collect();
    for one in all {
        let of_target = tests.iter().filter(|test| target(test) == one);
        let (own, others): (Vec<&String>, Vec<&String>) = of_target.partition(is_own);
        let room = ENOUGH.saturating_sub(own.len());
        let step = others.len().div_ceil(room.max(1)).max(1);
        let others = others.into_iter().step_by(step).take(room);
        chosen.extend(own.into_iter().take(ENOUGH).chain(others).cloned());
    }
    chosen
}

/// The tests of `tests` that end so, in the VM and in less than half a minute.
fn with_verdict(built: &Built, tests: &[String], verdict: Verdict) -> Result<Vec<String>> {
    let mut told = |test: &str, trial: &trial::Trial| {
        say!("  {:<11} {:5.1} s  {test}", trial.verdict.word(), trial.time.as_secs_f64());
        if trial.verdict != verdict {
            say!("    {}\n{}", trial.outside, trial::reason(&trial.inside, 4));
        }
    };
    let trials = trial::run(built, tests, trial::TEST, &mut told)?;
    let is = |test: &&String| {
        trials.get(*test).is_some_and(|trial| trial.verdict == verdict && trial.time < SLOW)
    };
    Ok(tests.iter().filter(is).cloned().collect())
}

/// The tests of a task's targets beside the library.
fn of_kernel(built: &Built, chapter: &Chapter, task: &Task) -> Vec<String> {
    let mut tests = Vec::new();
    for target in &task.targets {
        let name = format!("{}/tests/{target}", chapter.package);
        for binary in built.tests.iter().filter(|binary| binary.name == name) {
            let in_vm = |(_, tier): &(&String, &Tier)| !matches!(tier, Tier::BootsVm);
            let names = binary.tests.iter().filter(in_vm).map(|(name, _)| name);
            let all: Vec<String> =
                names.map(|name| format!("{} {target} {name}", chapter.package)).collect();
            // Where somebody has chosen already, these are held against what happens.
            let is_chosen = |test: &&String| task.tests.contains(*test);
            let chosen: Vec<String> = all.iter().filter(is_chosen).cloned().collect();
            tests.extend(if chosen.is_empty() { all } else { chosen });
        }
    }
    tests
}

/// The tests of the library that need nothing and fail. Those that never end are no tests for a class.
fn pure(built: &Built, chapter: &Chapter) -> Result<Vec<String>> {
    let mut failing = Vec::new();
    for binary in built.tests.iter().filter(|binary| binary.name == chapter.package) {
        let is_failed = |(name, outcome): &(String, Outcome)| {
            binary.tests.get(name) == Some(&Tier::T0) && *outcome == Outcome::Failed
        };
        let results = parse_results(&output_within(binary, &[], LIMIT)?);
        let names = results.into_iter().filter(is_failed).map(|(name, _)| name);
        failing.extend(names.map(|name| format!("{} lib {name}", chapter.package)));
    }
    failing.sort();
    Ok(failing)
}

/// What a test binary prints until it ends, or is killed.
///
/// # Errors
/// Where it cannot be run.
pub fn output_within(binary: &TestBinary, arguments: &[&str], limit: Duration) -> Result<String> {
    let log = workspace::scratch("lab")?.join(format!("{}-output", std::process::id()));
    let mut command = Command::new(&binary.path);
    command.current_dir(&binary.dir).env("RUST_BACKTRACE", "0").args(arguments);
    let output = log_output(&mut command, limit, &log);
    let _ = fs::remove_file(&log);
    Ok(output?.1)
}
