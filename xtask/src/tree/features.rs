//! Others' crates with the features that the whole workspace's build gives them.
//!
//! Cargo builds a crate with the features that what is selected asks for, and a chapter alone asks for
//! fewer than the workspace: nearly all that the chapter depends on would be built again, for each chapter
//! otherwise. (`resolver.feature-unification` would be the answer, and is unstable.) So in a copy of the
//! checkout the crate that every chapter's tests depend on asks for all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

use crate::error::{OnPath, Result};
use crate::{process, workspace};

/// The manifest that asks for them.
pub const MANIFEST: &str = "tests/tier/Cargo.toml";

/// Features of a crate by its name and version. Crates of build scripts and procedural macros may have
/// others than those of the same name in programs.
type Crates = BTreeMap<(String, String), BTreeSet<String>>;

/// [`MANIFEST`], asking for others' crates with all features that the workspace asks for.
///
/// # Errors
/// Where it cannot be read, or cargo does not list the features.
pub fn unified() -> Result<String> {
    let path = workspace::root().join(MANIFEST);
    let manifest = fs::read_to_string(&path).on("read", &path)?;
    let programs: Crates = parse(&list("normal,dev,no-proc-macro")?).into_iter().collect();
    let scripts = parse(&list("normal,dev,build")?).into_iter();
    let scripts = scripts.filter(|(name, features)| programs.get(name) != Some(features)).collect();
    Ok(asking(&manifest, &programs, &scripts))
}

/// `manifest`, asking for these crates, too.
fn asking(manifest: &str, programs: &Crates, scripts: &Crates) -> String {
    // What it depends on already it asks for once more, by the same name.
    let own = |line: &str| {
        let name = line.split(['=', '.']).next().unwrap_or_default().trim().to_owned();
        Some(name).filter(|name| programs.keys().any(|(package, _)| package == name))
    };
    let named: BTreeSet<String> = manifest.lines().filter_map(own).collect();
    let kept = manifest.lines().filter(|line| own(line).is_none());
    let mut text: String = kept.flat_map(|line| [line, "\n"]).collect();
    // Without a build script nothing of the second is built here; cargo has the features all the same.
    for (kind, crates) in [("dependencies", programs), ("build-dependencies", scripts)] {
        for ((name, version), features) in crates {
            let key = match named.contains(name) {
                true => name.clone(),
                false => format!("{name}-{}", version.replace('.', "_")),
            };
            let features: Vec<_> = features.iter().collect();
            let _ = writeln!(
                text,
                "\n[{kind}.{key}]\npackage = \"{name}\"\nversion = \"={version}\"\n\
                 default-features = false\nfeatures = {features:?}",
            );
        }
    }
    text
}

/// What the workspace depends on by these edges, a line each as `name vVERSION (NOTE)|FEATURE,FEATURE`.
fn list(edges: &str) -> Result<String> {
    let mut cargo = workspace::cargo();
    cargo.args(["tree", "--workspace", "--prefix", "none", "--no-dedupe", "--edges", edges]);
    process::read(cargo.args(["--format", "{p}|{f}"]).current_dir(workspace::root()))
}

/// The crates of such a list, without the workspace's own, whose note is their path.
fn parse(list: &str) -> BTreeSet<((String, String), BTreeSet<String>)> {
    let mut crates = BTreeSet::new();
    for line in list.lines() {
        let Some((package, features)) = line.split_once('|') else { continue };
        let mut words = package.split_whitespace();
        let (Some(name), Some(version)) = (words.next(), words.next()) else { continue };
        if words.any(|note| note.starts_with("(/")) {
            continue;
        }
        // What follows a plus is no part of a requirement.
        let version = version.trim_start_matches('v').split('+').next().unwrap_or_default();
        let features = features.split(',').filter(|name| !name.is_empty()).map(str::to_owned);
        crates.insert(((name.to_owned(), version.to_owned()), features.collect()));
    }
    crates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_of_a_list_are_those_of_others() {
        let list = "corten v0.1.0 (/work)|\nnix v0.31.3|fs,mount\ntoml v1.2.1+spec-1.1.0|\n\n\
                    strum_macros v0.27.2 (proc-macro)|\nnix v0.31.3|fs,mount\n";
        let crates: Crates = parse(list).into_iter().collect();
        let names: Vec<_> =
            crates.keys().map(|(name, version)| format!("{name} {version}")).collect();
        assert_eq!(names, ["nix 0.31.3", "strum_macros 0.27.2", "toml 1.2.1"]);
        assert_eq!(crates.values().next().map(BTreeSet::len), Some(2));
    }

    #[test]
    fn the_manifest_asks_for_them_and_for_what_it_has_once() {
        let crates = |list| parse(list).into_iter().collect::<Crates>();
        let manifest = "[dependencies]\nnix = { workspace = true, features = [\"user\"] }\nown.workspace = true\n";
        let programs = crates("nix v0.31.3|fs,user\nsyn v2.0.1|\nsyn v3.0.1|full\n");
        let text = asking(manifest, &programs, &crates("syn v2.0.1|parsing\n"));
        let section = |name: &str, version: &str, features: &str| {
            let package = name.rsplit('.').next().unwrap().split('-').next().unwrap();
            text.contains(&format!(
                "\n[{name}]\npackage = \"{package}\"\nversion = \"={version}\"\n\
                 default-features = false\nfeatures = {features}\n"
            ))
        };
        assert!(text.starts_with("[dependencies]\nown.workspace = true\n\n["), "{text}");
        assert!(section("dependencies.nix", "0.31.3", "[\"fs\", \"user\"]"), "{text}");
        assert!(section("dependencies.syn-2_0_1", "2.0.1", "[]"), "{text}");
        assert!(section("dependencies.syn-3_0_1", "3.0.1", "[\"full\"]"), "{text}");
        assert!(section("build-dependencies.syn-2_0_1", "2.0.1", "[\"parsing\"]"), "{text}");
        assert_eq!(text.matches("\n[").count(), 4, "{text}");
    }
}
