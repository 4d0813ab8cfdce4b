//! Which tests fail without a task: found by leaving it out.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::starter;
use super::task::{Chapter, Task};
use crate::error::{OnPath, Result};
use crate::test::build;
use crate::test::libtest::{Tier, parse_results};
use crate::test::report::Outcome;
use crate::{process, say, workspace};

/// Prints the tasks of a chapter with the tests of its crate, of those that need nothing, that fail without
/// each.
///
/// # Errors
/// Where a starter does not compile.
pub fn record(chapter: &Chapter) -> Result<()> {
    let tree = workspace::scratch("record")?.join("tree");
    if tree.exists() {
        fs::remove_dir_all(&tree).on("remove", &tree)?;
    }
    starter::copy(&tree)?;
    let mut tasks = chapter.tasks.clone();
    for task in &mut tasks {
        let path = tree.join(&task.file);
        let source = fs::read_to_string(&path).on("read", &path)?;
        fs::write(&path, starter::blank(&source, task, &chapter.number)?).on("write", &path)?;
        let failed = failing(&tree, &chapter.package);
        fs::write(&path, source).on("write", &path)?;
        match failed {
            Ok(failed) => {
                say!("{}: {} test(s) fail without it", task.name, failed.len());
                task.tests = failed.into_iter().map(|name| format!("{} lib {name}", chapter.package)).collect();
            }
            Err(why) => say!("{}: {why}", task.name),
        }
    }
    println!("{}", serde_json::to_string_pretty::<[Task]>(&tasks).unwrap_or_default());
    Ok(())
}

/// A test that waits for a thread which has panicked waits for ever.
const LIMIT: Duration = Duration::from_secs(60);

/// What a program prints until it ends, or is killed.
fn output_within(command: &mut Command, limit: Duration) -> Result<String> {
    let path = workspace::scratch("record")?.join("output");
    let file = fs::File::create(&path).on("make", &path)?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(Stdio::null())
        .spawn()
        .map_err(|why| process::start_error(command, why))?;
    if process::wait_at_most(&mut child, limit)?.is_none() {
        child.kill().on("kill", &path)?;
        child.wait().on("wait for", &path)?;
    }
    fs::read_to_string(&path).on("read", &path)
}

/// The tests of a package's library that need nothing and fail, or do not end.
fn failing(tree: &Path, package: &str) -> Result<BTreeSet<String>> {
    let mut cargo = Command::new(workspace::cargo().get_program());
    cargo.current_dir(tree).env("CARGO_TARGET_DIR", workspace::target().join("lab"));
    cargo.env("CARGO_PROFILE_DEV_OPT_LEVEL", "0");
    cargo.args(["test", "--no-run", "--lib", "--package", package]);
    let built = build::run(&mut cargo)?;
    let mut failed = BTreeSet::new();
    for binary in &built.tests {
        let mut run = Command::new(&binary.path);
        run.current_dir(&binary.dir).env("RUST_BACKTRACE", "0");
        let text = output_within(&mut run, LIMIT)?;
        let own = |(name, outcome): (String, Outcome)| {
            let is_pure = binary.tests.get(&name) == Some(&Tier::T0);
            (is_pure && outcome == Outcome::Failed).then_some(name)
        };
        let results = parse_results(&text);
        let ended: BTreeSet<&String> = results.iter().map(|(name, _)| name).collect();
        let pure = binary.tests.iter().filter(|(_, tier)| **tier == Tier::T0).map(|(name, _)| name);
        failed.extend(pure.filter(|name| !ended.contains(name)).cloned());
        failed.extend(results.into_iter().filter_map(own));
    }
    Ok(failed)
}
