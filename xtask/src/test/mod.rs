//! `./x test`: every test of every tier, with the host compared before and after.
//!
//! Everything is built once, by one cargo. Each test binary then says which tests it has, so that
//! for each tier it is known beforehand which results must come; a test that has none when all is
//! over was skipped, and that is a failure.

pub mod build;
pub mod libtest;
pub mod report;
pub mod runner;

use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::fingerprint::{Fingerprint, Scope};
use crate::setup::apt::Privilege;
use crate::setup::{self, Purpose};
use crate::temporary::TemporaryDir;
use crate::{broken, process, say, vm};
use build::Built;
use libtest::Tier;
use report::{Outcome, Tally};
use runner::Settings;

/// What `./x test` was asked for.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Options {
    /// Leave out the VMs
    #[arg(long)]
    pub quick: bool,
    /// Run each T1 test in each VM, and not every eighth one in one of them: an hour more
    #[arg(long, conflicts_with = "quick")]
    pub everywhere: bool,
    /// Threads of each test binary (as many as there are processors, at least 2)
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Run only tests whose name holds this; the mutants and the labs' starters are then left out
    #[arg(value_name = "FILTER")]
    pub filter: Option<String>,
}

/// Runs the tests and prints the table.
///
/// # Errors
/// Where a test fails or has no result, or where the host is not as it was.
pub fn run(options: &Options) -> Result<()> {
    let start = Instant::now();
    prepare(options)?;
    let temporary = TemporaryDir::create()?;
    let settings = Settings {
        threads: options.threads.unwrap_or_else(processors),
        filter: options.filter.clone().unwrap_or_default(),
        everywhere: options.everywhere,
        mutant: false,
        temporary: temporary.path.clone(),
        privilege: Privilege::here(),
    };
    if settings.privilege == Privilege::None {
        say!("T1 tests need root, and sudo asks for a password: run `sudo -v` first");
    }

    say!("building all tests");
    let built = build::workspace()?;
    say!("built {} test binaries in {:.0} s", built.tests.len(), start.elapsed().as_secs_f64());

    process::adopt_orphans();
    let scope = Scope::Tests { temporary: temporary.path.clone() };
    let before = Fingerprint::take(&scope);
    let tallies = tiers(options, &built, &settings);
    process::await_descendants(Duration::from_secs(5));
    let changes = before.changes_to(&Fingerprint::take(&scope));
    process::kill_all(&process::descendants(std::process::id().cast_signed()));
    let tallies = tallies?;

    println!("\n{}", report::table(&tallies, start.elapsed()));
    changes.tell("the tests");
    match (tallies.iter().all(Tally::passed), changes.is_empty()) {
        (true, true) => Ok(()),
        (true, false) => Err(Error::failed("the tests changed the host")),
        (false, _) => Err(Error::failed("not every test passed")),
    }
}

fn prepare(options: &Options) -> Result<()> {
    if options.quick {
        return setup::ensure(&[Purpose::Test]);
    }
    setup::ensure(&[Purpose::Test, Purpose::Vm])?;
    // Now, since a test that boots its own VM may be in a network namespace by then.
    vm::fetch()
}

fn tiers(options: &Options, built: &Built, settings: &Settings) -> Result<Vec<Tally>> {
    let binaries = &built.tests;
    let mut tallies = vec![
        runner::run(Tier::T0, "T0", binaries, settings)?,
        runner::run_doc_tests(settings)?,
        runner::run(Tier::T1, "T1 host", binaries, settings)?,
    ];
    if !options.quick {
        tallies.extend(machines(built, settings)?);
    }
    if options.filter.is_none() {
        let results = tallies.iter().flat_map(|tally| &tally.results);
        let passed = results.filter(|(_, outcome)| *outcome == Outcome::Passed);
        let passed = passed.map(|(name, _)| name.as_str()).collect();
        tallies.extend(broken::all(!options.quick, &passed, &settings.temporary)?);
    }
    Ok(tallies)
}

/// All machines at once: one alone does not keep two processors busy, since the tests in it run one
/// after the other.
fn machines(built: &Built, settings: &Settings) -> Result<Vec<Tally>> {
    let join = |thread: ScopedJoinHandle<'_, Result<Tally>>| {
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    };
    std::thread::scope(|scope| {
        let matrix: Vec<_> = vm::MATRIX
            .iter()
            .map(|machine| scope.spawn(|| vm::run(machine, built, settings)))
            .collect();
        let boots =
            scope.spawn(|| runner::run(Tier::BootsVm, "T2 boots VMs", &built.tests, settings));
        matrix.into_iter().chain([boots]).map(join).collect()
    })
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}
