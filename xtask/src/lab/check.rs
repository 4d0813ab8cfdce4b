//! `./x lab check`: builds a student's tree, runs the tests of its tasks, and shows the evidence.
//!
//! What is built is a copy of the tree, in which a task that is not begun is the engine's own: so tasks can
//! be done in any order.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::starter;
use super::task::{Chapter, Task};
use super::trial::{self, Trial, Trials, Verdict};
use crate::error::{Error, OnPath, Result};
use crate::setup::{self, Purpose};
use crate::tree::{cargo_in, mirror, share_others_crates};
use crate::{say, workspace};

/// So much is shown of what the compiler says, and of what a test says.
const ERRORS: usize = 40;
const REASON: usize = 12;

/// Tests tasks in the student's tree, and says what came of it.
///
/// # Errors
/// Where the tree does not compile, or a test fails.
pub fn check(chapter: &Chapter, tasks: &[&Task], tree: &Path) -> Result<()> {
    setup::ensure(&[Purpose::Test, Purpose::Vm])?;
    let number = &chapter.number;
    let (begun, files) = begun(chapter, tree)?;
    let (tasks, open): (Vec<&Task>, Vec<&Task>) =
        tasks.iter().partition(|task| begun.contains(&task.name));
    for task in open {
        println!("{}: not begun", task.name);
    }
    if tasks.is_empty() {
        return Err(Error::failed(format!("write something first; a push: ./x lab hint {number}")));
    }
    let mut tests: Vec<String> = tasks.iter().flat_map(|task| task.tests.clone()).collect();
    tests.sort();
    tests.dedup();
    say!("building what is in lab/{number}");
    let place = workspace::target().join("lab").join(number);
    mirror(tree, &place.join("tree"), &files)?;
    share_others_crates(&place.join("target"))?;
    let built =
        trial::build(cargo_in(&place.join("tree"), &place.join("target")), &tests, trial::BUILD)
            .map_err(|why| Error::failed(short(&why.to_string())))?;
    say!("running {} tests in the lab VM", tests.len());
    let trials = trial::run(&built, &tests, trial::TEST, &mut |_, _| {})?;
    let missing: usize = tasks.iter().map(|task| report(task, &trials)).sum();
    if missing == 0 {
        println!("all is well");
        return Ok(());
    }
    Err(Error::failed(format!("{missing} test(s) to go; a push: ./x lab hint {number} TASK")))
}

/// The tasks that are begun, and the student's files with the engine's own code for all others.
fn begun(chapter: &Chapter, tree: &Path) -> Result<(Vec<String>, BTreeMap<String, String>)> {
    let (mut begun, mut files) = (Vec::new(), BTreeMap::new());
    for task in &chapter.tasks {
        let path = tree.join(&task.file);
        let text = match files.get(&task.file) {
            Some(text) => String::clone(text),
            None => fs::read_to_string(&path).on("read", &path)?,
        };
        let text = if starter::is_begun(&text, task, &chapter.number)? {
            begun.push(task.name.clone());
            text
        } else {
            let engine = task.source()?;
            starter::with_region(&text, &task.anchor, starter::region(&engine, &task.anchor)?)?
        };
        files.insert(task.file.clone(), text);
    }
    Ok((begun, files))
}

/// Shows a task's tests, and gives how many do not pass.
fn report(task: &Task, trials: &Trials) -> usize {
    let is_well =
        |test: &&String| trials.get(*test).is_some_and(|trial| trial.verdict == Verdict::Passed);
    let passed = task.tests.iter().filter(is_well).count();
    println!("{}: {passed} of {} tests", task.name, task.tests.len());
    for test in &task.tests {
        tell(test, trials.get(test));
    }
    task.tests.len() - passed
}

/// A test's result, and where it is none to be glad about, the evidence.
fn tell(test: &str, trial: Option<&Trial>) {
    let name = test.split_whitespace().nth(2).unwrap_or(test);
    let Some(trial) = trial else {
        println!("  {:<11} {name}", Verdict::DidNotRun.word());
        return;
    };
    println!("  {:<11} {name}", trial.verdict.word());
    let is_well = trial.verdict == Verdict::Passed;
    if !is_well {
        for line in trial::reason(&trial.inside, REASON).lines() {
            println!("      inside:  {line}");
        }
    }
    // What nobody can say of himself.
    if !is_well || trial::needs_root(test) {
        println!("      outside: {}", trial.outside);
    }
}

/// The compiler's first errors.
fn short(errors: &str) -> String {
    let lines: Vec<&str> = errors.lines().collect();
    let shown = lines.get(..ERRORS.min(lines.len())).unwrap_or_default().join("\n");
    let more = lines.len().saturating_sub(ERRORS);
    let more = if more > 0 { format!("\n… and {more} lines more") } else { String::new() };
    format!("it does not compile:\n{shown}{more}")
}
