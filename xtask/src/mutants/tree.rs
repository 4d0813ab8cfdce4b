//! Mutants in a copy of the checkout, one after the other.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::Mutant;
use crate::error::{Error, OnPath, Result};
use crate::test::build::{self, Built, TestBinary};
use crate::test::report::Outcome;
use crate::test::runner::{Settings, full_name, run_one};
use crate::tree::Tree;
use crate::{process, say, vm, workspace};

/// What came of a test, and how long it took to build and to run it.
struct Tested {
    outcome: Outcome,
    build: Duration,
    run: Duration,
}

impl Tree {
    /// Runs the mutant's test without the patch, where it must pass.
    pub(super) fn without(&self, mutant: &Mutant, settings: &Settings) -> Result<Outcome> {
        let (name, test) = (mutant.name(), &mutant.test);
        let outcome = self.test(mutant, settings)?.outcome;
        match outcome {
            Outcome::Passed => {}
            Outcome::Failed => say!("mutant {name}: {test} does not pass without it"),
            Outcome::Skipped => {
                say!("mutant {name}: {} has no test {test} in {}", mutant.package, mutant.target);
            }
        }
        Ok(outcome)
    }

    /// Runs the mutant's test with the patch, where it must fail.
    pub(super) fn with(&self, mutant: &Mutant, settings: &Settings) -> Result<Outcome> {
        let (name, test) = (mutant.name(), &mutant.test);
        let applied = match Applied::new(self, mutant) {
            Ok(applied) => applied,
            // The other mutants can be tried all the same.
            Err(error) => {
                say!("{error}");
                return Ok(Outcome::Failed);
            }
        };
        let tested = self.test_broken(mutant, settings);
        applied.revert()?;
        let Tested { outcome, build, run } = tested?;
        let (build, run) = (build.as_secs_f64(), run.as_secs_f64());
        Ok(match outcome {
            Outcome::Failed => {
                let expect = &mutant.expect;
                say!("mutant {name}: {test} fails, as it must ({build:.1} + {run:.1} s): {expect}");
                Outcome::Passed
            }
            Outcome::Passed => {
                say!("mutant {name}: {test} PASSES with it, so it holds nothing");
                Outcome::Failed
            }
            Outcome::Skipped => {
                say!("mutant {name}: {test} gave no result with it");
                Outcome::Skipped
            }
        })
    }

    /// Runs the mutant's test with the patch, and removes what a broken engine leaves behind: its
    /// processes and files are not the tests' doing.
    fn test_broken(&self, mutant: &Mutant, settings: &Settings) -> Result<Tested> {
        let temporary = settings.temporary.join(format!("mutant-{}", std::process::id()));
        fs::create_dir(&temporary).on("create", &temporary)?;
        let broken = Settings { temporary: temporary.clone(), mutant: true, ..settings.clone() };
        let tested = self.test(mutant, &broken);
        process::end_descendants(Duration::from_secs(3));
        fs::remove_dir_all(&temporary).on("remove", &temporary)?;
        tested
    }

    /// Builds and runs the mutant's test in the tree as it is.
    fn test(&self, mutant: &Mutant, settings: &Settings) -> Result<Tested> {
        let start = Instant::now();
        let built = self.build(mutant)?;
        let build = start.elapsed();
        let outcome = self.run(mutant, &built, settings)?;
        Ok(Tested { outcome, build, run: start.elapsed() - build })
    }

    fn run(&self, mutant: &Mutant, built: &Built, settings: &Settings) -> Result<Outcome> {
        let has = |binary: &&TestBinary| binary.tests.contains_key(&mutant.test);
        let Some(binary) = built.tests.iter().find(has) else {
            return Ok(Outcome::Skipped);
        };
        let Some(machine) = mutant.machine() else {
            return run_one(binary, &mutant.test, settings);
        };
        let settings =
            Settings { filter: mutant.test.clone(), everywhere: true, ..settings.clone() };
        let tally = vm::run(machine, built, &settings)?;
        let name = full_name(binary, &mutant.test);
        let result = tally.results.into_iter().find(|(test, _)| *test == name);
        Ok(result.map_or(Outcome::Skipped, |(_, outcome)| outcome))
    }

    fn build(&self, mutant: &Mutant) -> Result<Built> {
        let mut cargo = self.cargo();
        // Its test binaries come with the programs that they run.
        cargo.args(["test", "--no-run", "--package", &mutant.package]);
        if mutant.target == "lib" {
            cargo.arg("--lib");
        } else {
            cargo.args(["--test", &mutant.target]);
        }
        build::run(&mut cargo)
    }

    fn git_apply(&self, patch: &Path, reverse: bool) -> Result<()> {
        let mut git = Command::new("git");
        // Below a repository, git apply silently passes over paths outside the current directory;
        // with this ceiling it does not look for the repository.
        git.current_dir(&self.root)
            .env("GIT_CEILING_DIRECTORIES", self.root.parent().unwrap_or(Path::new("/")))
            .arg("apply");
        if reverse {
            git.arg("--reverse");
        }
        process::run(git.arg(workspace::root().join(patch)))
    }
}

/// A patch that is in the copy of the tree; it is taken out at the latest by the next copy.
pub(super) struct Applied<'a> {
    tree: &'a Tree,
    patch: &'a Path,
}

impl<'a> Applied<'a> {
    pub(super) fn new(tree: &'a Tree, mutant: &'a Mutant) -> Result<Applied<'a>> {
        tree.git_apply(&mutant.patch, false).map_err(|error| {
            Error::failed(format!("mutant {} does not apply any more: {error}", mutant.name()))
        })?;
        Ok(Applied { tree, patch: &mutant.patch })
    }

    pub(super) fn revert(self) -> Result<()> {
        self.tree.git_apply(self.patch, true)
    }
}
