//! `./x lab check`: builds a student's tree, runs the tests of its tasks, and shows the evidence.

use std::path::Path;

use super::task::{Chapter, Task};
use super::trial::{self, Trial, Verdict};
use crate::error::{Error, Result};
use crate::setup::{self, Purpose};
use crate::tree::cargo_in;
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
    let mut tests: Vec<String> = tasks.iter().flat_map(|task| task.tests.clone()).collect();
    tests.sort();
    tests.dedup();
    say!("building lab/{}", chapter.number);
    let target = workspace::target().join("lab").join(&chapter.number);
    let built = trial::build(cargo_in(tree, &target), &tests)
        .map_err(|why| Error::failed(short(&why.to_string())))?;
    say!("running {} tests in the lab VM", tests.len());
    let trials = trial::run(&built, &tests, trial::TEST, &mut |_, _| {})?;
    let mut missing = 0;
    for task in tasks {
        let of_task: Vec<(&String, Option<&Trial>)> =
            task.tests.iter().map(|test| (test, trials.get(test))).collect();
        let is_well = |trial: &Option<&Trial>| trial.is_some_and(|t| t.verdict == Verdict::Passed);
        let passed = of_task.iter().filter(|(_, trial)| is_well(trial)).count();
        println!("{}: {passed} of {} tests", task.name, of_task.len());
        for (test, trial) in &of_task {
            tell(test, *trial);
        }
        missing += of_task.len() - passed;
    }
    if missing == 0 {
        println!("all is well");
        return Ok(());
    }
    let number = &chapter.number;
    Err(Error::failed(format!("{missing} test(s) to go; a push: ./x lab hint {number} TASK")))
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
