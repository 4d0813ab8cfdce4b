//! Builds every test binary of the workspace, once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::libtest::{Tier, parse_list};
use crate::error::{Error, Result};
use crate::{process, workspace};

/// One test binary.
#[derive(Debug, Clone)]
pub struct TestBinary {
    /// `corten-namespaces`, `corten-namespaces/tests/run`, `corten/src/main`.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// The directory of its package, in which cargo runs tests.
    pub dir: PathBuf,
    /// Its tests. One that is ignored for a reason of its own is not among them.
    pub tests: BTreeMap<String, Tier>,
}

impl TestBinary {
    /// Its tests of one tier.
    pub fn of(&self, tier: Tier) -> Vec<&str> {
        self.tests.iter().filter(|(_, t)| **t == tier).map(|(name, _)| name.as_str()).collect()
    }

    /// Reads its list of tests.
    fn list(&mut self) -> Result<()> {
        let all = parse_list(&process::read(Command::new(&self.path).arg("--list"))?);
        let ignored =
            parse_list(&process::read(Command::new(&self.path).args(["--list", "--ignored"]))?);
        for name in all {
            let tier =
                if ignored.contains(&name) { Tier::of_ignored(&name) } else { Some(Tier::T0) };
            if let Some(tier) = tier {
                self.tests.insert(name, tier);
            }
        }
        Ok(())
    }
}

/// What the build left.
#[derive(Debug, Default)]
pub struct Built {
    /// Every test binary.
    pub tests: Vec<TestBinary>,
    /// Every ordinary binary.
    pub programs: Vec<Program>,
}

/// An ordinary binary.
#[derive(Debug)]
pub struct Program {
    /// `corten-namespaces`.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// The directory of its package.
    pub dir: PathBuf,
}

/// Builds the tests and the binaries of the workspace with the profile that `cargo test` uses, and
/// lists the tests of each.
///
/// # Errors
/// Where the build fails, or a test binary does not list its tests.
pub fn workspace() -> Result<Built> {
    run(workspace::cargo().args(["build", "--workspace", "--bins", "--examples", "--tests"]))
}

/// Runs a `cargo build` with the arguments given so far and reads what it built.
///
/// # Errors
/// As [`workspace()`].
pub fn run(cargo: &mut Command) -> Result<Built> {
    let messages = process::read(cargo.args(MESSAGES))?;
    let mut built = Built::parse(&messages)?;
    for binary in &mut built.tests {
        binary.list()?;
    }
    Ok(built)
}

/// What makes cargo tell on standard output what it has built.
pub const MESSAGES: [&str; 2] = ["--quiet", "--message-format=json-render-diagnostics"];

impl Built {
    /// Reads what a cargo has built by its [`MESSAGES`]. None of it is run, so tests are not listed.
    ///
    /// # Errors
    /// Where they are not cargo's.
    pub fn parse(messages: &str) -> Result<Built> {
        let mut built = Built::default();
        for line in messages.lines() {
            let message: Value = serde_json::from_str(line)
                .map_err(|e| Error::failed(format!("cargo's message is no JSON: {e}: {line}")))?;
            built.take(&message);
        }
        built.tests.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(built)
    }

    /// Takes in one message of cargo; see "External tools" in the Cargo book.
    fn take(&mut self, message: &Value) {
        let (Some(executable), Some(manifest)) =
            (message["executable"].as_str(), message["manifest_path"].as_str())
        else {
            return;
        };
        let target = message["target"]["name"].as_str().unwrap_or_default();
        let kind = message["target"]["kind"][0].as_str().unwrap_or_default();
        let dir = Path::new(manifest).parent().unwrap_or(Path::new("/")).to_path_buf();
        if message["profile"]["test"] != true {
            if kind == "bin" {
                self.programs.push(Program { name: target.into(), path: executable.into(), dir });
            }
            return;
        }
        let package = package_name(message["package_id"].as_str().unwrap_or_default());
        let name = match kind {
            "bin" => format!("{package}/bin/{target}"),
            "test" => format!("{package}/tests/{target}"),
            "example" | "bench" => format!("{package}/{kind}/{target}"),
            _ => package.to_owned(),
        };
        self.tests.push(TestBinary { name, path: executable.into(), dir, tests: BTreeMap::new() });
    }
}

/// `path+file:///…/xtask#0.1.0` or `path+file:///…/chapters/01-namespaces#corten-namespaces@0.1.0`.
fn package_name(id: &str) -> &str {
    let (place, version) = id.rsplit_once('#').unwrap_or((id, ""));
    match version.split_once('@') {
        Some((name, _)) => name,
        None => place.rsplit('/').next().unwrap_or(place),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_id_gives_the_name_in_both_of_its_forms() {
        assert_eq!(package_name("path+file:///w/xtask#0.1.0"), "xtask");
        assert_eq!(
            package_name("path+file:///w/01-namespaces#corten-namespaces@0.1.0"),
            "corten-namespaces"
        );
    }

    #[test]
    fn test_binaries_and_programs_are_told_apart() {
        let message = |test: bool, kind: &str| {
            serde_json::json!({
                "reason": "compiler-artifact", "executable": "/t/x", "manifest_path": "/w/a/Cargo.toml",
                "package_id": "path+file:///w/a#0.1.0", "profile": {"test": test},
                "target": {"name": "run", "kind": [kind]},
            })
        };
        let mut built = Built::default();
        built.take(&message(true, "test"));
        built.take(&message(true, "lib"));
        built.take(&message(false, "bin"));
        built.take(&serde_json::json!({"reason": "build-finished", "success": true}));
        let names: Vec<_> = built.tests.iter().map(|binary| binary.name.as_str()).collect();
        assert_eq!(names, ["a/tests/run", "a"]);
        assert_eq!(built.tests[0].dir, Path::new("/w/a"));
        assert_eq!(built.programs[0].path, Path::new("/t/x"));
    }
}
