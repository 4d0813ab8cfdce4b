//! Builds a student's tree, runs the tests of its tasks, and counts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::task::{Chapter, Task};
use super::{in_tree, starter};
use crate::error::{Error, OnPath, Result};
use crate::setup::{self, Purpose};
use crate::test::build::{self, Built};
use crate::test::libtest::Tier;
use crate::test::report::Outcome;
use crate::vm::{self, Machine};
use crate::{process, say, workspace};

/// What came of each test; none for one that did not run.
type Results = BTreeMap<String, Option<Outcome>>;

/// Tests tasks in the student's tree, and says what came of it.
///
/// # Errors
/// Where the tree does not compile, or a test fails.
pub fn check(chapter: &Chapter, tasks: &[&Task], tree: &Path) -> Result<()> {
    let results = run(tasks, tree)?;
    let mut missing = 0;
    for task in tasks {
        let passed = passed(task, &results);
        println!("{:<16} {passed} of {} tests", task.name, task.tests.len());
        for test in &task.tests {
            let word = match results.get(test).copied().flatten() {
                Some(Outcome::Passed) => "ok",
                Some(Outcome::Failed) => "FAILED",
                _ => "did not run",
            };
            println!("    {word:<12} {test}");
        }
        missing += task.tests.len() - passed;
    }
    if missing == 0 {
        return Ok(());
    }
    let number = &chapter.number;
    Err(Error::failed(format!("{missing} test(s) to go: ./x lab hint {number} TASK")))
}

/// Gives points. The student's files of tasks are put into a tree of our own: nothing else that they have
/// written is built or run, and tests run in the VM, which has limits of time, memory and processes.
///
/// # Errors
/// Where a file is not there, or the VM does not start. Code that does not compile is no error, but no points.
pub fn grade(chapter: &Chapter, from: &Path, as_json: bool) -> Result<()> {
    let tree = workspace::scratch("grade")?.join(&chapter.number);
    if tree.exists() {
        fs::remove_dir_all(&tree).on("remove", &tree)?;
    }
    starter::write(chapter, &tree)?;
    let files: BTreeSet<&str> = chapter.tasks.iter().map(|task| task.file.as_str()).collect();
    for file in files {
        let path = in_tree(from, file);
        let text = fs::read_to_string(&path).on("read", &path)?;
        let to = in_tree(&tree, file);
        fs::write(&to, text).on("write", &to)?;
    }
    let tasks: Vec<&Task> = chapter.tasks.iter().collect();
    let (results, why) = match run(&tasks, &tree) {
        Ok(results) => (results, None),
        Err(why) => (Results::new(), Some(why.to_string())),
    };
    let mut rows = Vec::new();
    let (mut points, mut of) = (0, 0);
    for task in &chapter.tasks {
        let all = u32::try_from(task.tests.len()).unwrap_or(u32::MAX).max(1);
        let got = task.points * u32::try_from(passed(task, &results)).unwrap_or(0) / all;
        points += got;
        of += task.points;
        let tests: BTreeMap<&str, &str> = task
            .tests
            .iter()
            .map(|test| {
                let word = match results.get(test).copied().flatten() {
                    Some(Outcome::Passed) => "passed",
                    Some(Outcome::Failed) => "failed",
                    _ => "did not run",
                };
                (test.as_str(), word)
            })
            .collect();
        rows.push(json!({"task": task.name, "points": got, "of": task.points, "tests": tests}));
    }
    if as_json {
        let whole = json!({"chapter": chapter.number, "points": points, "of": of, "tasks": rows, "error": why});
        println!("{whole:#}");
    } else {
        for row in &rows {
            println!("{:<16} {:>3} of {:>3}", row["task"].as_str().unwrap_or_default(), row["points"], row["of"]);
        }
        println!("{:<16} {points:>3} of {of:>3}", "all");
        if let Some(why) = why {
            say!("{why}");
        }
    }
    Ok(())
}

fn passed(task: &Task, results: &Results) -> usize {
    let is = |test: &&String| results.get(*test).copied().flatten() == Some(Outcome::Passed);
    task.tests.iter().filter(is).count()
}

/// Builds the tests of tasks and runs them: in the VM, whatever their tier. What a student writes may do
/// anything as root.
fn run(tasks: &[&Task], tree: &Path) -> Result<Results> {
    setup::ensure(&[Purpose::Test, Purpose::Vm])?;
    let mut results = Results::new();
    let mut wanted: BTreeMap<(&str, &str), Vec<(&str, &str)>> = BTreeMap::new();
    for test in tasks.iter().flat_map(|task| &task.tests) {
        let [package, target, name] = Task::parts(test)?;
        wanted.entry((package, target)).or_default().push((test, name));
    }
    for ((package, target), tests) in wanted {
        let built = built(tree, package, target)?;
        let mut machines: BTreeMap<usize, Vec<(&str, String)>> = BTreeMap::new();
        for (test, name) in tests {
            let binary = built.tests.iter().find(|binary| binary.tests.contains_key(name));
            let Some(binary) = binary else {
                return Err(Error::failed(format!("{package} has no test {name} in {target}")));
            };
            let tier = Tier::of_ignored(name).filter(|tier| *tier != Tier::T0);
            let machine = Machine::of(tier.unwrap_or(Tier::T1));
            let at = vm::MATRIX.iter().position(|one| Some(one) == machine).unwrap_or(0);
            let full = crate::test::runner::full_name(binary, name);
            machines.entry(at).or_default().push((test, full));
        }
        for (at, tests) in machines {
            let Some(machine) = vm::MATRIX.get(at) else { continue };
            let names: Vec<String> = tests.iter().map(|(_, full)| full.clone()).collect();
            let outcomes: BTreeMap<String, Outcome> = vm::run_named(machine, &built, &names)?.into_iter().collect();
            for (test, full) in tests {
                results.insert(test.to_owned(), outcomes.get(&full).copied());
            }
        }
    }
    Ok(results)
}

fn built(tree: &Path, package: &str, target: &str) -> Result<Built> {
    let mut cargo = Command::new(workspace::cargo().get_program());
    cargo.current_dir(tree).env("CARGO_TARGET_DIR", workspace::target().join("lab"));
    cargo.args(["test", "--no-run", "--package", package]);
    match target {
        "lib" => cargo.arg("--lib"),
        target => cargo.args(["--test", target]),
    };
    say!("building {}", process::line(&cargo));
    build::run(&mut cargo)
}
