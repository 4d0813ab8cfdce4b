//! `./x lab grade`: points, with the evidence, for code that may be hostile.
//!
//! Each task is graded by itself: what is the student's of it ([`submission`]) goes into
//! the engine's file, in a tree that has nothing else of the student's and the engine's own code for all
//! other tasks. So a task gives its points whether or not those before it were done, one that does not
//! compile costs no other its points, and what one task's code does to its machine no other's sees.
//!
//! | what could be tried | why it gives nothing, and harms nobody |
//! |---|---|
//! | reading files of this machine while it is compiled | the macros that read are refused |
//! | a compiler that does not end, or fills the memory | limits of time and address space |
//! | tests of one's own, changed tests, build scripts | only bodies of functions are taken |
//! | printing `test … ok` | what is printed decides nothing |
//! | ending the process with status 0 | its names are refused; libtest's log has no entry then |
//! | endless loops, fork bombs, full memory or disk | in the VM, with limits; it ends after its time |
//!
//! The answer holds of a failure its place and not its message, and no times, so grading again gives the same
//! bytes. (Of code that races for memory or processes, as a fork bomb does, the place may differ; its points do
//! not.) Messages go to standard error.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::task::{Chapter, Task};
use super::trial::{self, Trials, Verdict};
use super::{starter, submission};
use crate::error::Result;
use crate::say;
use crate::setup::{self, Purpose};
use crate::tree::Tree;

/// What a submission's build may take, of which most is the crate's own code.
const BUILD: Duration = Duration::from_secs(240);

/// Lines of the compiler's errors in the answer, and of a test's reason on standard error.
const EVIDENCE: usize = 8;

/// Gives points for the student's tree `from`.
///
/// # Errors
/// Where the VM does not start. Code that is missing, refused, or does not compile is no error, but no points.
pub fn grade(chapter: &Chapter, from: &Path, as_json: bool) -> Result<()> {
    setup::ensure(&[Purpose::Test, Purpose::Vm])?;
    let tree = Tree::copy()?;
    // The engine's own first, which may take its time; a submission then costs one crate.
    let tests: Vec<String> = chapter.tasks.iter().flat_map(|task| task.tests.clone()).collect();
    trial::build(tree.cargo(), &tests, trial::BUILD)?;
    let mut rows = Vec::new();
    for task in &chapter.tasks {
        say!("grading {} of chapter {}", task.name, chapter.number);
        rows.push(of_task(&tree, chapter, task, from)?);
    }
    let sum = |name: &str| rows.iter().filter_map(|row| row[name].as_u64()).sum::<u64>();
    let (points, of) = (sum("points"), sum("of"));
    if as_json {
        let whole = json!({"chapter": chapter.number, "points": points, "of": of, "tasks": rows});
        println!("{whole:#}");
        return Ok(());
    }
    for row in &rows {
        let word = |name: &str| row[name].as_str().unwrap_or_default();
        let state = word("state");
        println!("{:<16} {:>3} of {:>3}  {state}", word("task"), row["points"], row["of"]);
    }
    println!("{:<16} {points:>3} of {of:>3}", "all");
    Ok(())
}

/// One task's row.
fn of_task(tree: &Tree, chapter: &Chapter, task: &Task, from: &Path) -> Result<Value> {
    let engine = task.source()?;
    let row = |points: u32, state: &str, tests: Value, why: &str| {
        json!({"task": task.name, "points": points, "of": task.points, "state": state,
               "tests": tests, "why": why})
    };
    let admitted =
        submission::read(from, &task.file).and_then(|text| submission::admit(&engine, &text, task));
    let admitted = match admitted {
        Ok(admitted) => admitted,
        Err(why) => return Ok(row(0, "refused", json!([]), &why.to_string())),
    };
    if admitted == starter::blank(&engine, task, &chapter.number)? {
        return Ok(row(0, "not begun", json!([]), ""));
    }
    let replaced = tree.replace(&task.file, &admitted)?;
    let built = trial::build(tree.cargo(), &task.tests, BUILD);
    let built = match built {
        Ok(built) => built,
        Err(why) => {
            let first =
                why.to_string().trim().lines().take(EVIDENCE).collect::<Vec<_>>().join("\n");
            return Ok(row(0, "does not compile", json!([]), &first));
        }
    };
    drop(replaced);
    let trials = trial::run(&built, &task.tests, trial::TEST, &mut |_, _| {})?;
    let passed =
        |test: &&String| trials.get(*test).is_some_and(|trial| trial.verdict == Verdict::Passed);
    let well = task.tests.iter().filter(passed).count();
    let points = points(task.points, well, task.tests.len());
    let state = match well {
        0 => "fails",
        well if well == task.tests.len() => "passes",
        _ => "passes in part",
    };
    Ok(row(points, state, evidence(task, &trials), ""))
}

/// All points for all tests; half of its part for a part, rounded down: a function that does nothing passes
/// some tests, too, and has not earned much by that.
fn points(of: u32, well: usize, all: usize) -> u32 {
    if well == all && all > 0 {
        return of;
    }
    u32::try_from(of as usize * well / (2 * all.max(1))).unwrap_or(0)
}

fn evidence(task: &Task, trials: &Trials) -> Value {
    let rows = task.tests.iter().map(|test| {
        let Some(trial) = trials.get(test) else {
            return json!({"test": test, "result": Verdict::DidNotRun.word()});
        };
        let name = test.split_whitespace().nth(2).unwrap_or_default();
        let why = match trial.verdict {
            Verdict::Failed => place(&trial.inside, name),
            _ => String::new(),
        };
        // For whoever looks on: a message may hold anything, so it is not in the answer.
        if trial.verdict != Verdict::Passed {
            say!("{name}: {}\n{}", trial.verdict.word(), trial::reason(&trial.inside, EVIDENCE));
        }
        json!({"test": test, "result": trial.verdict.word(), "why": why})
    });
    rows.collect()
}

/// Where a test's own thread has panicked.
fn place(inside: &str, test: &str) -> String {
    let own = format!("thread '{test}'");
    let panic = inside.lines().find_map(|line| line.split_once(&own)?.1.split_once("panicked at "));
    panic.map_or_else(String::new, |(_, place)| {
        format!("panicked at {}", place.trim_end_matches(':'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_tests_gives_a_part_of_the_points() {
        assert_eq!([points(25, 0, 3), points(25, 2, 3), points(25, 3, 3)], [0, 8, 25]);
    }

    #[test]
    fn of_a_failure_its_place_is_told_which_is_the_same_in_every_run() {
        let text = "thread '<unnamed>' (7) panicked at a.rs:1:1:\nx\nthread 'a::b' (4711) panicked at \
            src/x.rs:12:5:\nno /tmp/.tmpAb3";
        assert_eq!(place(text, "a::b"), "panicked at src/x.rs:12:5");
        assert_eq!(place(text, "a::c"), "");
    }
}
