//! The labs' part of `./x test`: for each chapter a starter without any of its tasks compiles, and the
//! recorded tests fail in it. That they pass with the solution is what the tests' other tiers show: the
//! solution is the engine's code. Which test hangs on which task is looked at by `./x soak labs`, since it
//! takes a build for each.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::task::{Chapter, Task};
use super::trial::{self, Verdict};
use super::{record, starter};
use crate::error::Result;
use crate::say;
use crate::test::build::Built;
use crate::test::libtest::parse_results;
use crate::test::report::Outcome;
use crate::tree::{Replaced, Tree};

/// What needs nothing and fails has failed by then.
const LIMIT: Duration = Duration::from_secs(60);

/// Tries the starters of all chapters, those of their tests that need the VM only with `vms`.
///
/// # Errors
/// Where the VM cannot be started. A starter that does not compile has failed.
pub fn trials(tree: &Tree, vms: bool) -> Result<Vec<(String, Outcome)>> {
    let mut results = Vec::new();
    // Of all chapters together, since a machine takes seconds to boot.
    let (mut everything, mut of_kernel) = (Built::default(), Vec::new());
    for chapter in Chapter::all()? {
        let (kernel, pure): (Vec<String>, Vec<String>) = chapter
            .tasks
            .iter()
            .flat_map(|task| task.tests.clone())
            .partition(|test| trial::needs_root(test));
        let kernel = if vms { kernel } else { Vec::new() };
        let without = without_tasks(tree, &chapter)?;
        let built =
            trial::build(tree.cargo(), &[pure.clone(), kernel.clone()].concat(), trial::BUILD);
        match built {
            Ok(built) => {
                results.extend(failing(&built, &pure)?);
                everything.tests.extend(built.tests);
                everything.programs.extend(built.programs);
                of_kernel.extend(kernel);
            }
            Err(why) => {
                say!("the starter of chapter {} does not compile:\n{why}", chapter.number);
                results.push((format!("{} compiles", chapter.number), Outcome::Failed));
            }
        }
        drop(without);
    }
    of_kernel.sort();
    of_kernel.dedup();
    let trials = trial::run(&everything, &of_kernel, trial::TEST, &mut |_, _| {})?;
    results.extend(of_kernel.iter().map(|test| {
        let fails = trials.get(test).is_some_and(|trial| trial.verdict == Verdict::Failed);
        (format!("fails without its task: {test}"), outcome(fails))
    }));
    Ok(results)
}

fn outcome(well: bool) -> Outcome {
    if well { Outcome::Passed } else { Outcome::Failed }
}

/// Leaves all tasks of a chapter out.
fn without_tasks(tree: &Tree, chapter: &Chapter) -> Result<Vec<Replaced>> {
    starter::blanked_files(chapter)?.iter().map(|(file, text)| tree.replace(file, text)).collect()
}

/// Runs the tests that need nothing on this machine: what is tried is the engine's own code.
fn failing(built: &Built, tests: &[String]) -> Result<Vec<(String, Outcome)>> {
    let mut binaries: BTreeMap<&Path, Vec<&str>> = BTreeMap::new();
    for test in tests {
        let [_, _, name] = Task::parts(test)?;
        binaries.entry(trial::binary(built, test)?).or_default().push(name);
    }
    let mut results = Vec::new();
    for (path, names) in binaries {
        let Some(binary) = built.tests.iter().find(|binary| binary.path == path) else { continue };
        let printed = record::output_within(binary, &[&["--exact"], &names[..]].concat(), LIMIT)?;
        let ended = parse_results(&printed);
        results.extend(names.into_iter().map(|name| {
            let fails = ended.iter().any(|(n, o)| n == name && *o == Outcome::Failed);
            (format!("fails without its task: {} {name}", binary.name), outcome(fails))
        }));
    }
    Ok(results)
}
