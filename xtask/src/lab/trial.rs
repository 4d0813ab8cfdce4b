//! Runs tests of code that is not trusted, and says what came of each.
//!
//! The code is built on this machine and run in the lab VM only, each test in a process of its own, with
//! limits of time, memory, processes and file size. A test that needs no privileges runs as nobody, without
//! capabilities, so it cannot reach the machine's first process, through which the host learns how tests
//! end.
//!
//! **What counts as passed.** Code under test can print `test … ok`, or end its process with status 0
//! before the test has asked anything. So what it prints counts for nothing. Passed is a test whose process
//! ended with status 0 *and* that libtest has entered as `ok` in its log file (`--logfile`), which it does
//! after the test function has returned. The file has a new name each time. To forge that, code would have
//! to find the file's name and to write it, without `unsafe` and without the names by which files and
//! processes are reached, which [submissions](super::submission) may not use.
//!
//! The status comes from the machine's first process, in a stream that a nonce keeps apart from what tests
//! print (`corten_vm`, `mark`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use corten_vm::{Error as VmError, Event, Job, JobResult, JobStatus, VmBuilder};

use super::task::Task;
use crate::error::{Error, OnPath, Result};
use crate::test::build::{self, Built};
use crate::test::libtest::Tier;
use crate::vm::{self, MATRIX, Machine};
use crate::{process, workspace};

/// No test of a task takes nearly as long.
pub const TEST: Duration = Duration::from_secs(60);

/// What a machine takes to boot, and to kill a test at its limit.
const BOOT: Duration = Duration::from_secs(90);
const KILLED: Duration = Duration::from_secs(2);

/// Nor does a build: a program for the compiler that does not end has been written, too.
pub const BUILD: Duration = Duration::from_secs(900);
const BUILD_KIB: u64 = 6 << 20;

/// What came of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It passed.
    Passed,
    /// It failed: by a panic, a signal or a status.
    Failed,
    /// Its process ended with status 0 before the test was over.
    EndedEarly,
    /// It took too long.
    TimedOut,
    /// The machine ended under it, or two tests before it have not ended.
    DidNotRun,
}

impl Verdict {
    /// As it is said.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Passed => "ok",
            Verdict::Failed => "FAILED",
            Verdict::EndedEarly => "ENDED EARLY",
            Verdict::TimedOut => "TIMED OUT",
            Verdict::DidNotRun => "did not run",
        }
    }
}

/// What came of a test, with the evidence.
#[derive(Debug, Clone)]
pub struct Trial {
    /// What came of it.
    pub verdict: Verdict,
    /// What it and libtest have printed.
    pub inside: String,
    /// What the machine around it has seen: the exit status, and processes, mounts and control groups
    /// before and after.
    pub outside: String,
    /// How long it took.
    pub time: Duration,
}

/// What came of each test, by its name in tasks.json.
pub type Trials = BTreeMap<String, Trial>;

/// Builds what `tests` are in, under limits of memory and of time, and runs none of it.
///
/// # Errors
/// Where it does not compile: with cargo's own words.
pub fn build(mut cargo: Command, tests: &[String], limit: Duration) -> Result<Built> {
    let mut targets = BTreeSet::new();
    let mut package = "";
    for test in tests {
        let [of, target, _] = Task::parts(test)?;
        package = of;
        targets.insert(target);
    }
    cargo.args(["test", "--no-run", "--color=never", "--package", package]);
    for target in targets {
        match target {
            "lib" => cargo.arg("--lib"),
            target => cargo.args(["--test", target]),
        };
    }
    cargo.args(build::MESSAGES);
    let (messages, errors) = compile(&cargo, limit)?;
    match messages {
        Some(messages) => Built::parse(&messages),
        None => Err(Error::failed(errors)),
    }
}

/// Runs cargo with limits of time and memory: what it says on standard output, where it ends with 0, and on
/// standard error.
fn compile(cargo: &Command, limit: Duration) -> Result<(Option<String>, String)> {
    let scratch = workspace::scratch("lab")?;
    let path = |name: &str| scratch.join(format!("{}-{name}", std::process::id()));
    let (out, err) = (path("messages"), path("errors"));
    // Each process of the compiler has its own share; `exec` keeps one process less.
    let mut limited = Command::new("sh");
    limited
        .arg("-c")
        .arg(format!("ulimit -v {BUILD_KIB}; ulimit -t {}; exec \"$@\"", limit.as_secs()));
    limited.arg("cargo").arg(cargo.get_program()).args(cargo.get_args());
    limited.current_dir(cargo.get_current_dir().unwrap_or(workspace::root()));
    for (name, value) in cargo.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    let file = |path: &PathBuf| std::fs::File::create(path).on("create", path);
    let mut child = limited
        .stdin(Stdio::null())
        .stdout(file(&out)?)
        .stderr(file(&err)?)
        .spawn()
        .map_err(|why| process::start_error(&limited, why))?;
    let status = process::wait_at_most(&mut child, limit)?;
    let read = |path: &PathBuf| {
        let text = std::fs::read(path).on("read", path);
        let _ = std::fs::remove_file(path);
        text.map(|text| String::from_utf8_lossy(&text).into_owned())
    };
    let (messages, mut errors) = (read(&out)?, read(&err)?);
    if status.is_none() {
        errors += "\nthe compiler took too long and was ended";
    }
    Ok((status.filter(|status| status.success()).map(|_| messages), errors))
}

/// The binary of the target that a test is in.
///
/// # Errors
/// Where it was not built.
pub fn binary<'a>(built: &'a Built, test: &str) -> Result<&'a Path> {
    let [package, target, _] = Task::parts(test)?;
    let name = match target {
        "lib" => package.to_owned(),
        target => format!("{package}/tests/{target}"),
    };
    let found = built.tests.iter().find(|binary| binary.name == name);
    found
        .map(|binary| binary.path.as_path())
        .ok_or_else(|| Error::failed(format!("cargo has not built {name}")))
}

/// Whether a test needs root in the VM.
pub fn needs_root(test: &str) -> bool {
    Tier::of_ignored(test).is_some()
}

fn machine(test: &str) -> &'static Machine {
    let other = Tier::of_ignored(test).filter(|tier| *tier == Tier::T2V1);
    other.and_then(Machine::of).unwrap_or(&MATRIX[0])
}

/// Runs tests in the VM, each for at most `limit`, and tells each as it ends. One that a machine's end has
/// left without a result runs in another one, once.
///
/// # Errors
/// Where the VM cannot be built or started.
pub fn run(
    built: &Built,
    tests: &[String],
    limit: Duration,
    told: &mut dyn FnMut(&str, &Trial),
) -> Result<Trials> {
    let mut trials = Trials::new();
    for machine in &MATRIX {
        let here: Vec<&String> =
            tests.iter().filter(|test| self::machine(test) == machine).collect();
        in_one(machine, built, &here, limit, &mut trials, told)?;
        let is_left = |test: &&&String| !trials.contains_key(**test);
        let left: Vec<&String> = here.iter().filter(is_left).copied().collect();
        in_one(machine, built, &left, limit, &mut trials, told)?;
        for test in here {
            let nothing = Trial {
                verdict: Verdict::DidNotRun,
                inside: String::new(),
                outside: "the machine ended under it".to_owned(),
                time: Duration::ZERO,
            };
            trials.entry(test.clone()).or_insert(nothing);
        }
    }
    Ok(trials)
}

fn in_one(
    machine: &Machine,
    built: &Built,
    tests: &[&String],
    limit: Duration,
    trials: &mut Trials,
    told: &mut dyn FnMut(&str, &Trial),
) -> Result<()> {
    if tests.is_empty() {
        return Ok(());
    }
    let vm = equipped(machine, built, tests, limit)?;
    let ended = vm.observe(&mut |event| {
        if let Event::Finished(index, job) = event
            && let Some(test) = index.checked_sub(1).and_then(|at| tests.get(at))
            && let Some(trial) = concluded(job)
        {
            told(test, &trial);
            trials.insert((*test).clone(), trial);
        }
    });
    match ended {
        Ok(_) | Err(VmError::Died(_)) => Ok(()),
        Err(other) => Err(vm::in_vm(other)),
    }
}

/// A machine with what the tests need, and a job for each after a first one that sets limits.
fn equipped(
    machine: &Machine,
    built: &Built,
    tests: &[&String],
    limit: Duration,
) -> Result<VmBuilder> {
    let whole = (limit + KILLED) * (tests.len() as u32) + BOOT;
    let mut vm = machine.bare().map_err(vm::in_vm)?.limit(whole);
    vm = match tests.iter().any(|test| needs_root(test)) {
        true => vm.usual_tools(),
        false => vm.tool("/usr/bin/setpriv"),
    }
    .and_then(|vm| vm.tool("/usr/bin/prlimit"))
    .map_err(vm::in_vm)?
    .text("/corten/trial", include_str!("trial.sh"), 0o755);
    // A test of tests/ runs its package's programs.
    if built.tests.iter().any(|binary| binary.name.contains("/tests/")) {
        for program in built.programs.iter().filter(|program| program.name != "xtask") {
            vm = vm.binary(&program.path).map_err(vm::in_vm)?;
        }
    }
    // Root's processes have no limit but the machine's.
    vm = vm.job(Job::shell("echo 4000 >/proc/sys/kernel/threads-max; chmod 711 /root"));
    let seconds = limit.as_secs().to_string();
    for test in tests {
        let [_, _, name] = Task::parts(test)?;
        let path = binary(built, test)?;
        vm = vm.binary(path).map_err(vm::in_vm)?;
        let user = if needs_root(test) { "root" } else { "nobody" };
        let job = Job::new(["/corten/trial", user, &path.display().to_string(), name, &seconds]);
        vm = vm.job(job.env("RUST_BACKTRACE", "0").limit(limit));
    }
    Ok(vm)
}

/// `None` where the machine has ended.
fn concluded(job: &JobResult) -> Option<Trial> {
    let verdict = match job.status {
        JobStatus::Exited(0) => Verdict::Passed,
        JobStatus::Exited(90) => Verdict::EndedEarly,
        JobStatus::Exited(91) => Verdict::DidNotRun,
        JobStatus::Exited(_) => Verdict::Failed,
        JobStatus::TimedOut => Verdict::TimedOut,
        JobStatus::Lost | JobStatus::NotRun => return None,
    };
    let text = job.text();
    let (inside, outside) = match text.rsplit_once("\n\u{1e}outside ") {
        Some((inside, outside)) => (inside, outside.trim()),
        None if verdict == Verdict::DidNotRun => ("", "two tests before it have not ended"),
        None => (text.as_str(), "ended at its limit"),
    };
    Some(Trial {
        verdict,
        inside: inside.trim().to_owned(),
        outside: seen(outside),
        time: job.time,
    })
}

/// The machine's line in words.
fn seen(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [status, p, m, g, "->", processes, mounts, groups] = words[..] else {
        return line.to_owned();
    };
    let more = |what: &str, before: &str, after: &str| {
        let number = |text: &str| text.parse().unwrap_or(0_u32);
        match number(after).checked_sub(number(before)) {
            None | Some(0) => String::new(),
            Some(more) => format!(", {more} {what} left behind"),
        }
    };
    let left = [
        more("process(es)", p, processes),
        more("mount(s)", m, mounts),
        more("control group(s)", g, groups),
    ]
    .concat();
    let left = if left.is_empty() { ", nothing left behind".to_owned() } else { left };
    format!("exit status {status}{left}")
}

/// The part of what a test has printed that says why it failed: the panic's message, or the last lines.
pub fn reason(inside: &str, most: usize) -> String {
    let lines: Vec<&str> = inside.lines().collect();
    let is_end = |line: &&str| {
        line.starts_with("note: run with") || line.starts_with("failures:") || line.is_empty()
    };
    let panic = lines.iter().position(|line| line.contains("panicked at "));
    let part = match panic {
        Some(at) => {
            let rest = lines.get(at..).unwrap_or_default();
            let end = rest.iter().position(is_end).unwrap_or(rest.len());
            rest.get(..end.min(most)).unwrap_or_default()
        }
        None => {
            let rest: Vec<&&str> = lines.iter().filter(|line| !line.is_empty()).collect();
            let from = rest.len().saturating_sub(most);
            return rest[from..].iter().map(|line| **line).collect::<Vec<_>>().join("\n");
        }
    };
    part.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(status: JobStatus, output: &str) -> Option<Trial> {
        concluded(&JobResult { status, output: output.into(), time: Duration::ZERO })
    }

    #[test]
    fn what_a_test_prints_decides_nothing() {
        let forged = "test a ... ok\n\ntest result: ok. 1 passed; 0 failed;\n";
        assert_eq!(job(JobStatus::Exited(90), forged).unwrap().verdict, Verdict::EndedEarly);
        assert_eq!(job(JobStatus::Exited(101), forged).unwrap().verdict, Verdict::Failed);
        assert_eq!(job(JobStatus::TimedOut, forged).unwrap().verdict, Verdict::TimedOut);
        assert!(job(JobStatus::Lost, forged).is_none(), "it runs again");
    }

    #[test]
    fn inside_and_outside_come_apart() {
        let output = "thread 'a' panicked at x.rs:1:2:\nleft: 1\nright: 2\nnote: run with `RUST…\n\
            \n\u{1e}outside 101 20 30 1 -> 21 30 1\n";
        let trial = job(JobStatus::Exited(101), output).unwrap();
        assert_eq!(trial.outside, "exit status 101, 1 process(es) left behind");
        assert_eq!(reason(&trial.inside, 9), "thread 'a' panicked at x.rs:1:2:\nleft: 1\nright: 2");
        assert_eq!(reason("a\n\nb\nc\n", 2), "b\nc");
    }
}
