//! Runs test binaries on this machine.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::build::TestBinary;
use super::libtest::{Tier, parse_results};
use super::report::{Outcome, Tally};
use crate::error::{OnPath, Result};
use crate::setup::apt::Privilege;
use crate::{process, say, workspace};

/// How tests are run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Threads of each test binary; at least 2, because with one libtest splits the line of a
    /// result in two.
    pub threads: usize,
    /// Only tests whose name holds this.
    pub filter: String,
    /// T1 tests in each VM, and not only in the one that they are dealt to.
    pub everywhere: bool,
    /// Whether the code under test is broken on purpose.
    pub mutant: bool,
    /// TMPDIR of the tests: whatever is left in it is theirs.
    pub temporary: PathBuf,
    /// How T1 tests get root's rights.
    pub privilege: Privilege,
}

/// No test binary runs longer on the host.
const LIMIT: Duration = Duration::from_secs(600);

/// Its few tests run whole programs of others, each for a minute or two, and wait for them most of the time:
/// it has twice the threads.
const LONGEST: &str = "corten/tests/clients";

/// So many test binaries run at the same time: a good part of their time is waiting.
const LANES: usize = 2;

/// Runs the tests of `tier`, one process for each test binary that has any.
///
/// # Errors
/// Where a test binary cannot be started.
pub fn run(tier: Tier, label: &str, binaries: &[TestBinary], settings: &Settings) -> Result<Tally> {
    let start = Instant::now();
    let wanted = |binary| {
        let mut names = TestBinary::of(binary, tier);
        names.retain(|name| name.contains(&settings.filter));
        (!names.is_empty()).then_some((binary, names))
    };
    let mut chosen: Vec<(&TestBinary, Vec<&str>)> = binaries.iter().filter_map(wanted).collect();
    // The long ones first, so that none is left alone at the end.
    chosen.sort_by_key(|(binary, names)| (binary.name != LONGEST, Reverse(names.len())));
    let all = |(binary, names): &(&TestBinary, Vec<&str>)| {
        names.iter().map(|name| full_name(binary, name)).collect::<Vec<_>>()
    };
    let expected: Vec<String> = chosen.iter().flat_map(all).collect();
    let queue = Mutex::new(chosen.into_iter());
    let lane = || {
        let mut ran = Vec::new();
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        while let Some((binary, names)) = next() {
            ran.extend(run_binary(tier, label, binary, &names, settings)?);
        }
        Ok(ran)
    };
    let ran = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES).map(|_| scope.spawn(lane)).collect();
        lanes
            .into_iter()
            .map(|lane| lane.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect::<Result<Vec<_>>>()
    })?;
    Ok(Tally::compare(label, expected, ran.concat(), start.elapsed()))
}

/// The name of a test in reports.
pub fn full_name(binary: &TestBinary, test: &str) -> String {
    format!("{} {test}", binary.name)
}

fn run_binary(
    tier: Tier,
    label: &str,
    binary: &TestBinary,
    names: &[&str],
    settings: &Settings,
) -> Result<Vec<(String, Outcome)>> {
    let needs_root = tier == Tier::T1;
    if needs_root && settings.privilege == Privilege::None {
        return Ok(Vec::new());
    }
    let privilege = if needs_root { settings.privilege } else { Privilege::Root };
    let mut arguments = Vec::new();
    if tier != Tier::T0 || !settings.filter.is_empty() {
        // A test that is ignored for a reason of its own stays so: only names are run.
        arguments.extend(["--include-ignored", "--exact"]);
        arguments.extend(names);
    }
    let start = Instant::now();
    let (status, text) = execute(privilege, label, binary, &arguments, settings)?;
    let mut results = results_of(names, &text)
        .into_iter()
        .map(|(name, outcome)| (full_name(binary, &name), outcome))
        .collect::<Vec<_>>();
    let failed = results.iter().filter(|(_, o)| *o == Outcome::Failed).count();
    let ended = match status {
        Some(status) if status.success() => String::new(),
        Some(status) => format!("; {status}"),
        None => format!("; killed after {} s", LIMIT.as_secs()),
    };
    say!(
        "{label} {}: {} of {} passed in {:.1} s{ended}",
        binary.name,
        results.len() - failed,
        names.len(),
        start.elapsed().as_secs_f64()
    );
    if !ended.is_empty() {
        eprintln!("{}", without_passed(&text));
        if failed == 0 {
            // Every result is good and still the process failed: that must not get lost.
            results.push((format!("{} (the process{ended})", binary.name), Outcome::Failed));
        }
    }
    Ok(results)
}

/// Runs a test binary with its output in a log, and gives how it ended (`None`: it was killed at
/// the limit) and what it printed.
fn execute(
    privilege: Privilege,
    label: &str,
    binary: &TestBinary,
    arguments: &[&str],
    settings: &Settings,
) -> Result<(Option<ExitStatus>, String)> {
    // Not the own file: building the tests may have replaced it.
    let mut command = privilege.command(workspace::target().join("debug/xtask"));
    let threads = settings.threads.max(2) * if binary.name == LONGEST { 2 } else { 1 };
    command
        .arg("reap")
        .arg(&binary.path)
        .arg(format!("--test-threads={threads}"))
        .args(arguments)
        .current_dir(&binary.dir)
        .env("CARGO_MANIFEST_DIR", &binary.dir)
        .env("TMPDIR", &settings.temporary);
    if settings.mutant {
        command.env(corten_tier::IN_MUTANT, "1");
    }
    // Also a test that was built in the mutants' copy of the tree boots the kernels that are here.
    if std::env::var_os("CORTEN_VM_CACHE").is_none() {
        command.env("CORTEN_VM_CACHE", workspace::target().join("vm"));
    }
    log_output(&mut command, LIMIT, &log_file(label, &binary.name)?)
}

/// Runs `command` with its output in the file `log`: how it ended (`None`: it was killed at the limit), and
/// what it printed. A file and not a pipe, because a process that the command left behind could hold a pipe
/// open for ever.
///
/// # Errors
/// Where it cannot be started, or the log not be written.
pub fn log_output(
    command: &mut Command,
    limit: Duration,
    log: &Path,
) -> Result<(Option<ExitStatus>, String)> {
    let output = File::create(log).on("create", log)?;
    let second = output.try_clone().on("open", log)?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(second)
        .spawn()
        .map_err(|source| process::start_error(command, source))?;
    let status = process::wait_at_most(&mut child, limit)?;
    let text = fs::read(log).on("read", log)?;
    Ok((status, String::from_utf8_lossy(&text).into_owned()))
}

/// Runs one test of tier T0 or T1 silently.
///
/// # Errors
/// Where its binary cannot be started.
pub fn run_one(binary: &TestBinary, name: &str, settings: &Settings) -> Result<Outcome> {
    let privilege = match binary.tests.get(name) {
        Some(Tier::T1) => settings.privilege,
        _ => Privilege::Root,
    };
    let (status, text) =
        execute(privilege, "mutant", binary, &["--include-ignored", "--exact", name], settings)?;
    let ended_well = status.is_some_and(|status| status.success());
    Ok(match (results_of(&[name], &text).get(name), ended_well) {
        (Some(Outcome::Passed), true) => Outcome::Passed,
        (None, true) => Outcome::Skipped,
        // A test that takes its process down has failed without a result.
        _ => Outcome::Failed,
    })
}

/// What a failed binary printed, without the lines of the tests that passed or were not asked.
fn without_passed(text: &str) -> String {
    let unimportant = |line: &str| {
        line.starts_with("test ") && (line.ends_with(" ... ok") || line.contains(" ... ignored"))
    };
    text.trim().lines().filter(|line| !unimportant(line)).collect::<Vec<_>>().join("\n")
}

/// The results of the tests `names` in what their binary printed. A test may run its own binary
/// again as a child, which prints results too: one failure is enough.
fn results_of(names: &[&str], text: &str) -> BTreeMap<String, Outcome> {
    let mut results = BTreeMap::new();
    for (name, outcome) in parse_results(text) {
        if names.contains(&name.as_str()) && results.get(&name) != Some(&Outcome::Failed) {
            results.insert(name, outcome);
        }
    }
    results
}

/// Runs the examples in the documentation comments, which rustdoc builds and runs itself.
///
/// # Errors
/// Where cargo cannot be started.
pub fn run_doc_tests(settings: &Settings) -> Result<Tally> {
    let start = Instant::now();
    let mut command = workspace::cargo();
    command
        .args(["test", "--workspace", "--doc", "--quiet", "--", "--format=pretty"])
        .arg(&settings.filter)
        .env("TMPDIR", &settings.temporary);
    let (status, text) = log_output(&mut command, LIMIT, &log_file("T0", "doc")?)?;
    let mut results = parse_results(&text);
    if !status.is_some_and(|status| status.success()) {
        eprintln!("{}", without_passed(&text));
        if results.iter().all(|(_, outcome)| *outcome == Outcome::Passed) {
            results.push(("cargo test --doc".into(), Outcome::Failed));
        }
    }
    Ok(Tally::compare("T0 doc", [], results, start.elapsed()))
}

fn log_file(label: &str, binary: &str) -> Result<PathBuf> {
    let name = format!("{label} {binary}.log").replace(['/', ' '], "-");
    Ok(workspace::scratch("logs")?.join(Path::new(&name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_not_hidden_by_a_childs_success() {
        let text = "test a ... FAILED\ntest a ... ok\ntest stranger ... ok\n";
        let results = results_of(&["a", "b"], text);
        assert_eq!(results, BTreeMap::from([("a".into(), Outcome::Failed)]));
    }
}
