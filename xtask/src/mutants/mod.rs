//! The chapters' mutants: one-line patches that break an invariant on purpose. For each, the test
//! that holds the invariant must fail with the patch and pass without it.
//!
//! A mutant is `chapters/NN-name/mutants/*.patch`, a patch of the whole tree as `git diff` makes
//! it, with two header lines above:
//!
//! ```text
//! # test: PACKAGE TARGET TEST
//! # expect: what the reader will see
//! ```
//!
//! TARGET is `lib` or the name of a file in the package's `tests/`. The patches are applied to a
//! copy of the [tree](crate::tree), never to the tree itself.

mod tree;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, OnPath, Result};
use crate::test::libtest::Tier;
use crate::test::report::Outcome;
use crate::test::runner::Settings;
use crate::tree::Tree;
use crate::vm::Machine;
use crate::{process, workspace};
use tree::Applied;

/// A mutant, as its file describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mutant {
    /// Below the root of the checkout.
    patch: PathBuf,
    package: String,
    target: String,
    test: String,
    expect: String,
}

impl Mutant {
    fn parse(patch: &Path, text: &str) -> std::result::Result<Mutant, String> {
        // Of the header, not of a hunk.
        let header = || text.lines().take_while(|line| !line.starts_with("diff "));
        let field = |name: &str| {
            let value = |line: &str| line.strip_prefix("# ")?.strip_prefix(name).map(str::to_owned);
            header().find_map(value).ok_or(format!("no line `# {name} …` above the patch"))
        };
        let test = field("test:")?;
        let words: Vec<&str> = test.split_whitespace().collect();
        let [package, target, test] = words[..] else {
            return Err(format!("`# test:` wants PACKAGE TARGET TEST, not `{test}`"));
        };
        Ok(Mutant {
            patch: patch.to_path_buf(),
            package: package.to_owned(),
            target: target.to_owned(),
            test: test.to_owned(),
            expect: field("expect:")?.trim().to_owned(),
        })
    }

    fn read(path: &Path) -> Result<Mutant> {
        let text = fs::read_to_string(path).on("read", path)?;
        Mutant::parse(path, &text)
            .map_err(|why| Error::failed(format!("{}: {why}", path.display())))
    }

    /// As the test is called in reports.
    fn test_name(&self) -> String {
        match self.target.as_str() {
            "lib" => format!("{} {}", self.package, self.test),
            target => format!("{}/tests/{target} {}", self.package, self.test),
        }
    }

    /// The VM that its test needs.
    fn machine(&self) -> Option<&'static Machine> {
        match Tier::of_ignored(&self.test) {
            Some(tier @ (Tier::T2 | Tier::T2V1)) => Machine::of(tier),
            _ => None,
        }
    }

    /// Whether a VM is booted for it, by us or by the test itself.
    fn needs_vm(&self) -> bool {
        self.machine().is_some() || Tier::of_ignored(&self.test) == Some(Tier::BootsVm)
    }

    /// `01-namespaces`.
    fn chapter(&self) -> String {
        let chapter = self.patch.parent().and_then(Path::parent).and_then(Path::file_name);
        chapter.unwrap_or_default().to_string_lossy().into_owned()
    }

    /// `01-namespaces/private-propagation`.
    fn name(&self) -> String {
        let stem = self.patch.file_stem().unwrap_or_default();
        format!("{}/{}", self.chapter(), stem.to_string_lossy())
    }
}

/// The chapters that have mutants, or those of them whose directory begins with `chapter`: those that take
/// longest first, so that at the end nobody waits for one of them.
///
/// # Errors
/// Where a patch has no header.
pub fn chapters(chapter: Option<&str>) -> Result<Vec<String>> {
    let mut costs: BTreeMap<String, usize> = BTreeMap::new();
    for mutant in find(&workspace::root().join("chapters"), chapter)? {
        // A test that boots VMs is the engine's, which is then built, too: as long as twenty others.
        let cost = if Tier::of_ignored(&mutant.test) == Some(Tier::BootsVm) { 20 } else { 1 };
        *costs.entry(mutant.chapter()).or_default() += cost;
    }
    let mut chapters: Vec<_> = costs.into_iter().collect();
    chapters.sort_by_key(|(_, cost)| Reverse(*cost));
    Ok(chapters.into_iter().map(|(name, _)| name).collect())
}

/// Tries the mutants of a chapter, those whose test needs a VM only with `vms`. Tests that have `passed` need
/// not be run without the patch.
///
/// # Errors
/// Where a patch has no header, or the tree cannot be built.
pub fn trials(
    tree: &Tree,
    chapter: &str,
    vms: bool,
    passed: &BTreeSet<String>,
    settings: &Settings,
) -> Result<Vec<(String, Outcome)>> {
    let mut mutants = find(&workspace::root().join("chapters"), Some(chapter))?;
    mutants.retain(|mutant| vms || !mutant.needs_vm());
    let mut results = Vec::new();
    // All without their patches first: each then costs one build and not two.
    let sound = mutants.iter().map(|mutant| match passed.contains(&mutant.test_name()) {
        true => Ok(Outcome::Passed),
        false => tree.without(mutant, settings),
    });
    let sound = sound.collect::<Result<Vec<Outcome>>>()?;
    for (mutant, sound) in mutants.iter().zip(sound) {
        let outcome = match sound {
            Outcome::Passed => tree.with(mutant, settings)?,
            other => other,
        };
        results.push((format!("{} ({})", mutant.name(), mutant.test), outcome));
    }
    Ok(results)
}

/// Builds the program of `package` with each patch of a chapter whose test runs it, and puts it into
/// `directory` under the patch's name.
///
/// # Errors
/// Where a patch does not apply, or the tree cannot be copied or built.
pub fn programs(chapter: &str, package: &str, directory: &Path) -> Result<()> {
    let mutants = find(&workspace::root().join("chapters"), Some(chapter))?;
    let tree = Tree::copy()?;
    for mutant in mutants.iter().filter(|mutant| mutant.target != "lib") {
        let applied = Applied::new(&tree, mutant)?;
        let mut cargo = tree.cargo();
        cargo.args(["build", "--package", package, "--bins"]);
        let built = process::run(&mut cargo);
        applied.revert()?;
        built?;
        let program = tree.target.join("debug").join(package);
        let name = mutant.patch.file_stem().unwrap_or_default();
        fs::copy(&program, directory.join(name)).on("copy", &program)?;
    }
    Ok(())
}

fn find(chapters: &Path, chapter: Option<&str>) -> Result<Vec<Mutant>> {
    let mut patches = Vec::new();
    for dir in fs::read_dir(chapters).on("list", chapters)?.flatten() {
        if !dir.file_name().to_string_lossy().starts_with(chapter.unwrap_or_default()) {
            continue;
        }
        let files = fs::read_dir(dir.path().join("mutants")).into_iter().flatten().flatten();
        patches.extend(
            files.map(|file| file.path()).filter(|p| p.extension().is_some_and(|e| e == "patch")),
        );
    }
    patches.sort();
    patches.iter().map(|path| Mutant::read(path)).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Seen here in a second, and not after minutes of compiling.
    #[test]
    fn every_mutant_applies() {
        let root = workspace::root();
        let mutants = find(&root.join("chapters"), None).unwrap();
        let does_not = |mutant: &&Mutant| {
            let mut git = Command::new("git");
            git.args(["apply", "--check"]).arg(&mutant.patch).current_dir(root);
            !git.output().unwrap().status.success()
        };
        let stale: Vec<String> = mutants.iter().filter(does_not).map(Mutant::name).collect();
        assert_eq!(stale, Vec::<String>::new());
    }

    fn parse(text: &str) -> std::result::Result<Mutant, String> {
        Mutant::parse(Path::new("/w/chapters/01-namespaces/mutants/shared.patch"), text)
    }

    const PATCH: &str = "# test: corten-namespaces escape mount_stays_inside::t1\n\
        # expect: the mount is seen on the host\n\ndiff --git a/x b/x\n# test: not this\n";

    #[test]
    fn the_header_names_the_test_and_what_to_expect() {
        let mutant = parse(PATCH).unwrap();
        assert_eq!(mutant.name(), "01-namespaces/shared");
        assert_eq!(
            (mutant.package.as_str(), mutant.target.as_str()),
            ("corten-namespaces", "escape")
        );
        assert_eq!(mutant.test, "mount_stays_inside::t1");
        assert_eq!(mutant.expect, "the mount is seen on the host");
    }

    #[test]
    fn a_header_that_lacks_something_is_refused_with_the_reason() {
        assert!(parse(&PATCH.replace("# expect", "expect")).unwrap_err().contains("expect:"));
        assert!(parse("diff --git a b\n# test: a b c\n# expect: d").is_err());
        let two = PATCH.replace("escape mount", "mount");
        assert!(parse(&two).unwrap_err().contains("PACKAGE TARGET TEST"));
    }
}
