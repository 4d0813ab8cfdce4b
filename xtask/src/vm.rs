//! The lab VM's part of `./x test`, through the crate corten-vm.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use corten_vm::{Accel, Cgroup, Kernel, TestOutcome, TestResult, Vm, VmBuilder};

use crate::error::{Error, OnPath, Result};
use crate::test::build::{Built, TestBinary};
use crate::test::libtest::Tier;
use crate::test::report::{Outcome, Tally};
use crate::test::runner::{Settings, full_name};
use crate::{say, workspace};

/// A machine of the test matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    kernel: &'static Kernel,
    cgroup: Cgroup,
}

/// The machines on which T1 and T2 tests run. cgroup v1 has the older kernel, because Debian builds
/// 6.12 without v1's memory and cpuset controllers.
pub const MATRIX: [Machine; 3] = [
    Machine { kernel: &Kernel::Debian61, cgroup: Cgroup::V2 },
    Machine { kernel: &Kernel::Debian612, cgroup: Cgroup::V2 },
    Machine { kernel: &Kernel::Debian61, cgroup: Cgroup::V1 },
];

/// Test binaries whose T1 tests run in one machine only, by its place in [`MATRIX`]: the beginnings of
/// their names. They are many, the host has run them on its own kernel and control groups, and each
/// takes a second or more where the VM is emulated; those of chapter 6 need little of a kernel. All
/// machines run at the same time, so the work is shared out.
const ONCE: [(&str, usize); 4] = [
    ("corten-runtime/tests/faults", 0),
    ("corten-runtime/tests/conformance", 1),
    ("corten-registry/", 2),
    ("corten-unionfs/tests/hostile", 2),
];

/// No VM lives longer, and no test in it.
const VM_LIMIT: Duration = Duration::from_secs(2400);
const TEST_LIMIT: Duration = Duration::from_secs(120);

impl Machine {
    /// The first machine of the matrix that runs tests of `tier`.
    pub fn of(tier: Tier) -> Option<&'static Machine> {
        MATRIX.iter().find(|machine| machine.takes(tier))
    }

    fn label(&self) -> String {
        format!("T1+T2 {} {}", self.kernel, self.cgroup)
    }

    /// Whether this machine runs the tests of `tier` that `binary` has.
    fn takes_of(&self, binary: &TestBinary, tier: Tier) -> bool {
        let once = ONCE.iter().find(|(name, _)| tier == Tier::T1 && binary.name.starts_with(name));
        self.takes(tier) && once.is_none_or(|(_, place)| *self == MATRIX[*place])
    }

    fn takes(&self, tier: Tier) -> bool {
        match tier {
            Tier::T1 => true,
            Tier::T2 => self.cgroup == Cgroup::V2,
            Tier::T2V1 => self.cgroup == Cgroup::V1,
            Tier::T0 | Tier::BootsVm => false,
        }
    }

    fn boot(&self, built: &Built) -> corten_vm::Result<VmBuilder> {
        let mut vm = Vm::builder()?.kernel(self.kernel.clone()).cgroup(self.cgroup).limit(VM_LIMIT);
        let in_vm =
            |binary: &&TestBinary| binary.tests.values().any(|tier| self.takes_of(binary, *tier));
        let packages: BTreeSet<&Path> =
            built.tests.iter().filter(in_vm).map(|binary| binary.dir.as_path()).collect();
        // A test of tests/ runs its package's programs under the path that cargo compiled into it.
        for program in &built.programs {
            if packages.contains(program.dir.as_path()) && program.name != "xtask" {
                vm = vm.binary(&program.path)?;
            }
        }
        vm.usual_tools()
    }
}

/// Runs the T1 and T2 tests of `built` in one machine.
///
/// # Errors
/// Where the VM cannot be built or started.
pub fn run(machine: &Machine, built: &Built, settings: &Settings) -> Result<Tally> {
    let start = Instant::now();
    let label = machine.label();
    let mut expected = Vec::new();
    for binary in &built.tests {
        for (name, tier) in &binary.tests {
            if machine.takes_of(binary, *tier) && name.contains(&settings.filter) {
                expected.push(full_name(binary, name));
            }
        }
    }
    if expected.is_empty() {
        return Ok(Tally::compare(label, expected, Vec::new(), start.elapsed()));
    }
    let binaries: Vec<corten_vm::TestBinary> = built
        .tests
        .iter()
        .filter(|binary| binary.tests.values().any(|tier| machine.takes_of(binary, *tier)))
        .map(|binary| corten_vm::TestBinary {
            path: binary.path.clone(),
            name: binary.name.clone(),
        })
        .collect();
    let mut report = |result: &TestResult| {
        if result.outcome != TestOutcome::Passed {
            let output = result.output.trim();
            say!("{label} {} {}: {:?}\n{output}", result.binary, result.name, result.outcome);
        }
    };
    let run = corten_vm::run_tests(
        machine.boot(built).map_err(in_vm)?,
        &binaries,
        &settings.filter,
        TEST_LIMIT,
        &mut report,
    )
    .map_err(in_vm)?;
    let mut results: Vec<(String, Outcome)> = run.results.iter().filter_map(outcome_of).collect();
    let passed = results.iter().filter(|(_, outcome)| *outcome == Outcome::Passed).count();
    let seconds = start.elapsed().as_secs_f64();
    say!("{label}: {passed} of {} passed in {seconds:.1} s", expected.len());
    say!("{label}: the slowest were {}", slowest(&run.results));
    write_times(&label, &run.results)?;
    if let Some(death) = run.death {
        say!("{label}: {death}");
        results.push(("(the VM itself)".into(), Outcome::Failed));
    }
    Ok(Tally::compare(label, expected, results, start.elapsed()))
}

/// The five tests that took longest, with their times.
fn slowest(results: &[TestResult]) -> String {
    let mut sorted: Vec<&TestResult> = results.iter().collect();
    sorted.sort_by_key(|result| std::cmp::Reverse(result.time));
    let shown =
        sorted.iter().take(5).map(|r| format!("{} ({:.0} s)", r.name, r.time.as_secs_f64()));
    shown.collect::<Vec<_>>().join(", ")
}

/// Leaves the time of each test in target/x/logs, the longest first, for whoever wants to cut them.
fn write_times(label: &str, results: &[TestResult]) -> Result<()> {
    let mut sorted: Vec<&TestResult> = results.iter().collect();
    sorted.sort_by_key(|result| std::cmp::Reverse(result.time));
    let line = |r: &&TestResult| format!("{:7.2} {} {}\n", r.time.as_secs_f64(), r.binary, r.name);
    let path = workspace::scratch("logs")?.join(format!("{}.times", label.replace(' ', "-")));
    fs::write(&path, sorted.iter().map(line).collect::<String>()).on("write", &path)
}

/// `None` for a test that was not run: it then counts as skipped.
fn outcome_of(result: &TestResult) -> Option<(String, Outcome)> {
    let outcome = match result.outcome {
        TestOutcome::Passed => Outcome::Passed,
        TestOutcome::Failed | TestOutcome::TimedOut | TestOutcome::Lost => Outcome::Failed,
        TestOutcome::NotRun => return None,
    };
    Some((format!("{} {}", result.binary, result.name), outcome))
}

/// Whether a VM boots with KVM; it is tried once after each boot of this machine.
///
/// # Errors
/// Where it cannot be tried.
pub fn kvm_works() -> Result<bool> {
    corten_vm::best_accel().map(|accel| accel == Accel::Kvm).map_err(in_vm)
}

fn in_vm(error: corten_vm::Error) -> Error {
    Error::failed(format!("lab VM: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tier_of_the_vm_has_a_machine() {
        for tier in [Tier::T1, Tier::T2, Tier::T2V1] {
            assert!(Machine::of(tier).is_some(), "{tier:?}");
        }
        assert!(Machine::of(Tier::BootsVm).is_none(), "it boots its own");
    }

    #[test]
    fn a_test_that_was_not_run_has_no_result() {
        let result = TestResult {
            binary: "b".into(),
            name: "n::t2".into(),
            outcome: TestOutcome::NotRun,
            output: String::new(),
            time: Duration::ZERO,
        };
        assert_eq!(outcome_of(&result), None);
        let lost = TestResult { outcome: TestOutcome::Lost, ..result };
        assert_eq!(outcome_of(&lost), Some(("b n::t2".into(), Outcome::Failed)));
    }
}
