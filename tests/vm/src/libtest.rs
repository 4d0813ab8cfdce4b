//! Rust test binaries in a VM: which tests there are, running them, and saying for each what came
//! of it.
//!
//! Each test runs as a job of its own (`BINARY --ignored --exact NAME`). That costs some 20 ms, and
//! gives each test a limit, output and an exit status of its own that the test can't forge: a test
//! that calls exit(0), crashes or prints what looks like a result changes nothing for the others.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::apt::run;
use crate::builder::{Cgroup, VmBuilder};
use crate::error::{Error, Result};
use crate::job::{Job, JobResult};
use crate::mark::JobStatus;
use crate::run::Event;

/// What a test needs: the last segment of its name (see the crate corten-tier).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Root, on the host or in a VM.
    T1,
    /// The VM with cgroup v2.
    T2,
    /// The VM with cgroup v1.
    T2V1,
    /// The host, where the test boots VMs of its own.
    BootsVm,
}

impl Tier {
    /// The tier of the test `name`; `None` for one that has none.
    pub fn of(name: &str) -> Option<Tier> {
        match name.rsplit("::").next()? {
            "t1" => Some(Tier::T1),
            "t2" => Some(Tier::T2),
            "t2_v1" => Some(Tier::T2V1),
            "boots_vm" => Some(Tier::BootsVm),
            _ => None,
        }
    }

    /// Whether tests of this tier run in a VM with these control group mounts.
    pub fn runs_under(self, cgroup: Cgroup) -> bool {
        match self {
            Tier::T1 => true,
            Tier::T2 => cgroup == Cgroup::V2,
            Tier::T2V1 => cgroup == Cgroup::V1,
            Tier::BootsVm => false,
        }
    }
}

/// A test binary that Cargo has built.
#[derive(Debug, Clone)]
pub struct TestBinary {
    /// Where it is, on the host and in the guest.
    pub path: PathBuf,
    /// The crate, or crate and test target, for messages: `corten-namespaces` or
    /// `corten-namespaces/tests/run`.
    pub name: String,
}

/// A test that needs a tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Test {
    /// Its full name, tier included.
    pub name: String,
    /// What it needs.
    pub tier: Tier,
}

/// The tests of a tier in `binary`. A test that is ignored for another reason is not among them.
///
/// # Errors
/// Where the binary can't be run.
pub fn tests_of(binary: &Path) -> Result<Vec<Test>> {
    let list = run(Command::new(binary).args(["--list", "--ignored", "--format", "terse"]))?;
    Ok(parse_list(&list))
}

fn parse_list(list: &str) -> Vec<Test> {
    let name_of = |line: &str| line.strip_suffix(": test").map(str::to_owned);
    list.lines()
        .filter_map(name_of)
        .filter_map(|name| Tier::of(&name).map(|tier| Test { name, tier }))
        .collect()
}

/// What came of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestOutcome {
    /// It ran and passed.
    Passed,
    /// It ran and failed, by a panic, a signal or an early exit.
    Failed,
    /// It reached its limit.
    TimedOut,
    /// The VM ended while it ran.
    Lost,
    /// It was not run: the VM ended before, or the binary has no such test.
    NotRun,
}

/// One test and what came of it.
#[derive(Debug, Clone)]
pub struct TestResult {
    /// The name of its [`TestBinary`].
    pub binary: String,
    /// The test's name.
    pub name: String,
    /// What came of it.
    pub outcome: TestOutcome,
    /// What it and libtest have written.
    pub output: String,
    /// How long it ran.
    pub time: Duration,
}

/// What came of all tests of one VM.
#[derive(Debug)]
pub struct TestRun {
    /// One for each test that was expected: none is ever missing.
    pub results: Vec<TestResult>,
    /// How the VM died, where it did.
    pub death: Option<Error>,
}

impl TestRun {
    /// Whether every expected test ran and passed, and the VM ended as it should.
    pub fn success(&self) -> bool {
        self.death.is_none() && self.results.iter().all(|r| r.outcome == TestOutcome::Passed)
    }
}

/// Runs the tests of `binaries` that belong into `vm` (by its cgroup mounts) and that are `wanted` (by
/// the names of binary and test), and tells `report` each result as it comes.
///
/// # Errors
/// Where the VM could not be built or started. That it died is in [`TestRun::death`].
pub fn run_tests(
    vm: VmBuilder,
    binaries: &[TestBinary],
    wanted: &dyn Fn(&TestBinary, &str) -> bool,
    limit: Duration,
    report: &mut dyn FnMut(&TestResult),
) -> Result<TestRun> {
    let mut vm = vm;
    let mut results = Vec::new();
    for binary in binaries {
        let tests = tests_of(&binary.path)?;
        let here = |test: &&Test| test.tier.runs_under(vm.cgroup) && wanted(binary, &test.name);
        let names: Vec<String> = tests.iter().filter(here).map(|t| t.name.clone()).collect();
        if names.is_empty() {
            continue;
        }
        vm = vm.binary(&binary.path)?;
        for name in names {
            let path = std::path::absolute(&binary.path).unwrap_or_else(|_| binary.path.clone());
            let path = path.display().to_string();
            let argv = [&path, "--ignored", "--exact", &name, "--test-threads=1", "--nocapture"];
            vm = vm.job(Job::new(argv).env("RUST_BACKTRACE", "1").limit(limit));
            results.push(TestResult {
                binary: binary.name.clone(),
                name,
                outcome: TestOutcome::NotRun,
                output: String::new(),
                time: Duration::ZERO,
            });
        }
    }
    if results.is_empty() {
        return Ok(TestRun { results, death: None });
    }
    let ended = vm.observe(&mut |event| match event {
        Event::BootsAgain(died) => eprintln!("corten-vm: {}", died.boots_again()),
        Event::Finished(index, job) => {
            if let Some(result) = results.get_mut(index) {
                conclude(result, job);
                report(result);
            }
        }
        Event::Booted | Event::Started(_) | Event::Output(..) => {}
    });
    match ended {
        Ok(_) => Ok(TestRun { results, death: None }),
        Err(death @ Error::Died(_)) => {
            results.iter().filter(|r| r.outcome == TestOutcome::NotRun).for_each(report);
            Ok(TestRun { results, death: Some(death) })
        }
        Err(other) => Err(other),
    }
}

fn conclude(result: &mut TestResult, job: &JobResult) {
    result.output = job.text();
    result.time = job.time;
    result.outcome = match job.status {
        // A test that ends its process early has not passed, whatever the status.
        JobStatus::Exited(0) if has_run_one(&result.output) => TestOutcome::Passed,
        JobStatus::Exited(0) if result.output.contains("\nrunning 0 tests\n") => {
            TestOutcome::NotRun
        }
        JobStatus::Exited(_) => TestOutcome::Failed,
        JobStatus::TimedOut => TestOutcome::TimedOut,
        JobStatus::Lost => TestOutcome::Lost,
        JobStatus::NotRun => TestOutcome::NotRun,
    };
}

/// Standard error by way of `eprint!`, which libtest keeps and shows of a test that failed: for what a VM says
/// that a test runs.
#[derive(Debug)]
pub struct TestOutput;

impl Write for TestOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        eprint!("{}", String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether libtest's own summary says that one test passed.
fn has_run_one(output: &str) -> bool {
    output.lines().rev().any(|line| line.starts_with("test result: ok. 1 passed; 0 failed;"))
}

/// Tests that were expected and have no result in any of `runs`: `(binary, test)`. The caller has
/// them run on the host, or fails.
///
/// # Errors
/// Where a binary can't be run.
pub fn not_run<'a>(
    binaries: &'a [TestBinary],
    results: impl IntoIterator<Item = &'a TestResult>,
) -> Result<Vec<(String, Test)>> {
    let mut seen: BTreeMap<(&str, &str), bool> = BTreeMap::new();
    for result in results {
        let ran = result.outcome != TestOutcome::NotRun;
        *seen.entry((&result.binary, &result.name)).or_default() |= ran;
    }
    let mut missing = Vec::new();
    for binary in binaries {
        for test in tests_of(&binary.path)? {
            if seen.get(&(&binary.name, &test.name)) != Some(&true) {
                missing.push((binary.name.clone(), test));
            }
        }
    }
    Ok(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn concluded(status: JobStatus, output: &str) -> TestOutcome {
        let mut result = TestResult {
            binary: "b".into(),
            name: "n::t2".into(),
            outcome: TestOutcome::NotRun,
            output: String::new(),
            time: Duration::ZERO,
        };
        let job = JobResult { status, output: output.into(), time: Duration::ZERO };
        conclude(&mut result, &job);
        result.outcome
    }

    #[test]
    fn the_list_of_a_binary_gives_names_and_tiers() {
        let list = "a::b::t1: test\nc::t2: test\nd::t2_v1: test\ne::boots_vm: test\n\
            slow: test\nf: benchmark\n";
        let tests = parse_list(list);
        let tiers: Vec<Tier> = tests.iter().map(|test| test.tier).collect();
        assert_eq!(tiers, [Tier::T1, Tier::T2, Tier::T2V1, Tier::BootsVm]);
        assert_eq!(tests[0].name, "a::b::t1");
    }

    #[test]
    fn t1_runs_under_both_and_t2_where_it_belongs() {
        assert!(Tier::T1.runs_under(Cgroup::V1) && Tier::T1.runs_under(Cgroup::V2));
        assert!(Tier::T2.runs_under(Cgroup::V2) && !Tier::T2.runs_under(Cgroup::V1));
        assert!(Tier::T2V1.runs_under(Cgroup::V1) && !Tier::T2V1.runs_under(Cgroup::V2));
        assert!(!Tier::BootsVm.runs_under(Cgroup::V2));
    }

    const PASSED: &str = "\nrunning 1 test\ntest n::t2 ... child's output\nok\n\n\
        test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out\n";

    #[test]
    fn a_test_passed_when_libtest_and_the_exit_status_say_so() {
        assert_eq!(concluded(JobStatus::Exited(0), PASSED), TestOutcome::Passed);
        assert_eq!(concluded(JobStatus::Exited(101), PASSED), TestOutcome::Failed);
    }

    #[test]
    fn an_early_exit_with_status_0_is_no_pass() {
        let early = "\nrunning 1 test\n";
        assert_eq!(concluded(JobStatus::Exited(0), early), TestOutcome::Failed);
    }

    #[test]
    fn a_test_that_was_not_run_is_no_pass() {
        let none = "\nrunning 0 tests\n\ntest result: ok. 0 passed; 0 failed;\n";
        assert_eq!(concluded(JobStatus::Exited(0), none), TestOutcome::NotRun);
        assert_eq!(concluded(JobStatus::Lost, ""), TestOutcome::Lost);
        assert_eq!(concluded(JobStatus::TimedOut, ""), TestOutcome::TimedOut);
    }
}
