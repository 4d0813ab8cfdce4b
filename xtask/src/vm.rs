//! The lab VM's part of `./x test`, through the crate corten-vm.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use corten_vm::{Accel, Cgroup, Kernel, TestOutcome, TestResult, TestRun, Vm, VmBuilder};

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

/// Of tests that ask little of a kernel or of control groups one of so many runs in a VM.
const SHARE: usize = 8;

/// Where the T1 tests of the binaries whose names begin so run; the first that fits counts. The host has
/// run all of them, on its own kernel and control groups, and each takes seconds where the VM is
/// emulated: so only some of them run in one of some places of [`MATRIX`], unless `--everywhere` is asked
/// for.
const PLACES: [(&str, &[usize], Deal); 13] = [
    // Kernels and versions of control groups are what these are about.
    ("corten-cgroups/", &[0, 1, 2], Deal::Each),
    // Asks nothing of a kernel that differs between these.
    ("corten-registry/", &[], Deal::Each),
    // Asks nothing of a kernel at all.
    ("corten-daemon/", &[], Deal::Each),
    // The programs that these are about are the host's: they run in no VM, whatever is asked for.
    ("xtask/", &[], Deal::Host),
    ("corten/tests/clients", &[], Deal::Host),
    ("corten/tests/rootless", &[], Deal::Host),
    // The few that all else stands on.
    ("corten-namespaces/", &[2], Deal::One),
    // So that the three take about as long; the newer kernel is the slower one here.
    ("corten-supervisor/", &[0, 1, 0], Deal::Share),
    ("corten/", &[0, 1, 2], Deal::Share),
    ("corten-runtime/", &[2, 0, 2, 1], Deal::Share),
    ("corten-unionfs/", &[2], Deal::Share),
    ("corten-network/", &[0, 1, 2, 0], Deal::Share),
    ("", &[0, 1, 2], Deal::One),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deal {
    /// In each of the places.
    Each,
    /// In one of them.
    One,
    /// One of [`SHARE`] in one of them.
    Share,
    /// Nowhere else.
    Host,
}

/// No VM lives longer, and no test in it.
const VM_LIMIT: Duration = Duration::from_secs(2400);
const TEST_LIMIT: Duration = Duration::from_secs(300);

impl Machine {
    /// The first machine of the matrix that runs tests of `tier`.
    pub fn of(tier: Tier) -> Option<&'static Machine> {
        MATRIX.iter().find(|machine| machine.takes(tier))
    }

    fn label(&self) -> String {
        format!("T1+T2 {} {}", self.kernel, self.cgroup)
    }

    /// Whether this machine runs the test of `tier` in `binary` that is the `turn`th of its tier.
    fn takes_test(&self, binary: &str, turn: usize, tier: Tier, everywhere: bool) -> bool {
        let places = PLACES.iter().find(|(binaries, ..)| binary.starts_with(binaries));
        self.takes(tier)
            && match places
                .filter(|(.., deal)| tier == Tier::T1 && (!everywhere || *deal == Deal::Host))
            {
                None => true,
                Some((.., Deal::Host)) => false,
                Some((_, places, Deal::Each)) => places.iter().any(|at| self.is_at(*at)),
                Some((_, places, Deal::One)) => {
                    place(turn, places).is_some_and(|at| self.is_at(at))
                }
                Some((_, places, Deal::Share)) => {
                    turn.is_multiple_of(SHARE)
                        && place(turn / SHARE, places).is_some_and(|at| self.is_at(at))
                }
            }
    }

    fn is_at(&self, place: usize) -> bool {
        MATRIX.get(place) == Some(self)
    }

    /// The tests of `binary` that this machine runs.
    fn tests_of<'a>(
        &self,
        binary: &'a TestBinary,
        everywhere: bool,
    ) -> impl Iterator<Item = &'a str> {
        // One after the other: neighbours in a binary take about as long.
        let mut turns = BTreeMap::new();
        let takes = move |(_, tier): &(&String, &Tier)| {
            let turn = turns.entry(**tier).or_insert(0);
            *turn += 1;
            self.takes_test(&binary.name, *turn, **tier, everywhere)
        };
        binary.tests.iter().filter(takes).map(|(name, _)| name.as_str())
    }

    fn takes(&self, tier: Tier) -> bool {
        match tier {
            Tier::T1 => true,
            Tier::T2 => self.cgroup == Cgroup::V2,
            Tier::T2V1 => self.cgroup == Cgroup::V1,
            Tier::T0 | Tier::BootsVm => false,
        }
    }

    /// The machine, with nothing in it.
    ///
    /// # Errors
    /// Where it cannot be had.
    pub fn bare(&self) -> corten_vm::Result<VmBuilder> {
        let vm = Vm::builder()?.kernel(self.kernel.clone()).cgroup(self.cgroup).limit(VM_LIMIT);
        // Emulated, one processor does a third more than two do: these wait for one another.
        Ok(if corten_vm::best_accel()? == Accel::Tcg { vm.cpus(1) } else { vm })
    }

    fn boot(&self, built: &Built, everywhere: bool) -> corten_vm::Result<VmBuilder> {
        let mut vm = self.bare()?;
        let in_vm = |binary: &&TestBinary| self.tests_of(binary, everywhere).next().is_some();
        let packages: BTreeSet<&Path> =
            built.tests.iter().filter(in_vm).map(|binary| binary.dir.as_path()).collect();
        // A test of tests/ runs its package's programs under the path that cargo compiled into it.
        for program in &built.programs {
            // The engine looks for its supervisor beside itself.
            let wanted = packages.contains(program.dir.as_path()) && program.name != "xtask";
            if wanted || program.name == "corten-supervisor" {
                vm = vm.binary(&program.path)?;
            }
        }
        vm.usual_tools()
    }
}

/// The one of `places` whose turn it is.
fn place(turn: usize, places: &[usize]) -> Option<usize> {
    places.get(turn.checked_rem(places.len())?).copied()
}

/// Fetches the kernels of all machines.
///
/// # Errors
/// Where one cannot be had.
pub fn fetch() -> Result<()> {
    MATRIX.iter().try_for_each(|machine| machine.kernel.fetch().map(drop)).map_err(in_vm)
}

/// Runs the T1 and T2 tests of `built` in one machine.
///
/// # Errors
/// Where the VM cannot be built or started.
pub fn run(machine: &Machine, built: &Built, settings: &Settings) -> Result<Tally> {
    let start = Instant::now();
    let label = machine.label();
    let wanted = |name: &&str| name.contains(&settings.filter);
    let full = |binary| {
        machine
            .tests_of(binary, settings.everywhere)
            .filter(wanted)
            .map(|name| full_name(binary, name))
    };
    let expected: Vec<String> = built.tests.iter().flat_map(full).collect();
    if expected.is_empty() {
        return Ok(Tally::compare(label, expected, Vec::new(), start.elapsed()));
    }
    let mut run = in_one(machine, built, settings, &label, &expected)?;
    if let Some(death) = run.death.take() {
        // Emulated kernels panic now and then, most of all where others want the processors. What is
        // left runs in another one; a test that does it again has failed.
        say!("{label}: {death}; what is left runs in another VM");
        let is_left =
            |result: &TestResult| matches!(result.outcome, TestOutcome::NotRun | TestOutcome::Lost);
        let name = |result: &TestResult| format!("{} {}", result.binary, result.name);
        let left: Vec<String> =
            run.results.iter().filter(|result| is_left(result)).map(name).collect();
        run.results.retain(|result| !is_left(result));
        let second = in_one(machine, built, settings, &label, &left)?;
        run.results.extend(second.results);
        run.death = second.death;
    }
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

/// Runs the tests `wanted` in one VM.
fn in_one(
    machine: &Machine,
    built: &Built,
    settings: &Settings,
    label: &str,
    wanted: &[String],
) -> Result<TestRun> {
    let wanted: BTreeSet<&str> = wanted.iter().map(String::as_str).collect();
    let is_wanted =
        |binary: &TestBinary, name: &str| wanted.contains(full_name(binary, name).as_str());
    let binaries: Vec<corten_vm::TestBinary> = built
        .tests
        .iter()
        .filter(|binary| binary.tests.keys().any(|name| is_wanted(binary, name)))
        .map(|binary| corten_vm::TestBinary {
            path: binary.path.clone(),
            name: binary.name.clone(),
        })
        .collect();
    let chosen = |binary: &corten_vm::TestBinary, name: &str| {
        wanted.contains(format!("{} {name}", binary.name).as_str())
    };
    let mut report = |result: &TestResult| {
        let is_told = !matches!(result.outcome, TestOutcome::Passed | TestOutcome::NotRun);
        if is_told {
            let output = result.output.trim();
            say!("{label} {} {}: {:?}\n{output}", result.binary, result.name, result.outcome);
        }
    };
    corten_vm::run_tests(
        machine.boot(built, settings.everywhere).map_err(in_vm)?,
        &binaries,
        &chosen,
        TEST_LIMIT,
        &mut report,
    )
    .map_err(in_vm)
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

/// As an error of the tasks.
pub fn in_vm(error: corten_vm::Error) -> Error {
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
    fn a_test_of_the_second_tier_runs_where_it_can_and_one_of_the_first_where_it_is_dealt() {
        let at_turn = |turn, binary: &str, tier, everywhere| {
            let takes = |machine: &&Machine| machine.takes_test(binary, turn, tier, everywhere);
            MATRIX.iter().filter(takes).count()
        };
        let at = |binary: &str, tier, everywhere| at_turn(SHARE, binary, tier, everywhere);
        assert_eq!(at("corten-cgroups/tests/x", Tier::T1, false), 3);
        assert_eq!(at("corten-cgroups/tests/x", Tier::T2, false), 2);
        assert_eq!(at("corten/tests/x", Tier::T2, false), 2);
        assert_eq!(at("corten/tests/x", Tier::T1, false), 1);
        assert_eq!(at("corten/tests/x", Tier::T1, true), 3);
        assert_eq!(at("corten-unionfs/tests/x", Tier::T1, false), 1);
        assert_eq!(at_turn(SHARE + 1, "corten-unionfs/tests/x", Tier::T1, false), 0);
        assert_eq!(at("corten-registry/tests/x", Tier::T1, false), 0);
        assert_eq!(at("corten-registry/tests/x", Tier::T1, true), 3);
        assert_eq!(at("corten/tests/clients", Tier::T1, true), 0, "the VM has no docker");
    }

    #[test]
    fn tests_are_dealt_out_in_turn() {
        let places: Vec<_> = (0..5).map(|turn| place(turn, &[2, 0, 1])).collect();
        assert_eq!(places, [Some(2), Some(0), Some(1), Some(2), Some(0)]);
        assert_eq!(place(1, &[]), None);
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
