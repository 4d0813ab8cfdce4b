//! `./x soak`: what takes minutes. Every system call of the runtime fails or is killed in turn; the
//! conformance suite measures several runtimes. Results are written to benches/results.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::error::{Error, OnPath, Result};
use crate::setup::{self, Purpose};
use crate::test::libtest;
use crate::test::report::Outcome;
use crate::{process, say, workspace};

/// Which soak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Name {
    /// Each system call of create, start, exec and delete fails, with three errors
    Faults,
    /// The runtime is killed at each system call of create, start, exec and delete
    Kills,
    /// The conformance suite against corten-runtime, runc and crun
    Conformance,
    /// The power is cut at a hundred random moments of pulls
    Pulls,
    /// Signatures of images, both ways against sigstore's own library
    Signatures,
}

/// Runs the soak `name` and writes what it finds.
///
/// # Errors
/// Where it cannot be built, or finds something wrong; its results are written all the same.
pub fn run(name: Name) -> Result<()> {
    setup::ensure(&[Purpose::Test, Purpose::Soak])?;
    match name {
        Name::Faults => tests("faults"),
        Name::Kills => tests("kills"),
        Name::Conformance => conformance(),
        Name::Pulls => pulls(),
        Name::Signatures => signatures(),
    }
}

/// `cargo test` of one test target of the runtime, optimized: there are thousands of runs.
fn cargo_test(target: &str) -> Command {
    let mut command = workspace::cargo();
    command.args(["test", "--release", "-p", "corten-runtime", "--test", target, "--"]);
    command
}

fn tests(name: &str) -> Result<()> {
    let result = workspace::scratch("soak")?.join(format!("{name}.json"));
    let _ = fs::remove_file(&result);
    let test = format!("soak::{name}");
    let mut command = cargo_test("faults");
    command.args(["--exact", &test, "--ignored", "--nocapture"]);
    let done = process::run(command.env("CORTEN_SOAK_RESULT", &result));
    let text = fs::read_to_string(&result).on("read", &result)?;
    let mut document: Value = serde_json::from_str(&text)
        .map_err(|e| Error::failed(format!("{}: {e}", result.display())))?;
    document["soak"] = json!(name);
    write(&format!("soak-{name}.json"), document)?;
    done
}

/// `cargo test` of one soak of chapter 6.
fn registry_test(target: &str, filter: &str) -> Command {
    let mut command = workspace::cargo();
    command.args(["test", "-p", "corten-registry", "--test", target, "--", filter]);
    command.args(["--ignored", "--nocapture", "--test-threads=1"]);
    command
}

/// How often the power is cut; `CORTEN_SOAK_CUTS` says otherwise.
const CUTS: &str = "100";

fn pulls() -> Result<()> {
    setup::ensure(&[Purpose::Vm])?;
    let result = workspace::scratch("soak")?.join("pulls.json");
    let _ = fs::remove_file(&result);
    let cuts = std::env::var("CORTEN_SOAK_CUTS").unwrap_or_else(|_| CUTS.to_owned());
    let mut command = registry_test("power", "soak::");
    let done =
        process::run(command.env("CORTEN_SOAK_CUTS", cuts).env("CORTEN_SOAK_RESULT", &result));
    let text = fs::read_to_string(&result).on("read", &result)?;
    let document: Value = serde_json::from_str(&text)
        .map_err(|e| Error::failed(format!("{}: {e}", result.display())))?;
    write("soak-pulls.json", document)?;
    done
}

/// Builds the peer, which is no part of the workspace, and lets both sides sign and verify.
fn signatures() -> Result<()> {
    let target = workspace::root().join("target/sigstore-peer");
    let manifest = workspace::root().join("tests/sigstore-peer/Cargo.toml");
    let mut build = workspace::cargo();
    build.args(["build", "--locked", "--manifest-path"]).arg(manifest);
    process::run(build.env("CARGO_TARGET_DIR", &target))?;
    let program = target.join("debug/sigstore-peer");
    let done =
        process::run(registry_test("signature", "soak::").env("CORTEN_SIGSTORE_PEER", program));
    let version = "sigstore 0.15.0";
    write(
        "soak-signatures.json",
        json!({"soak": "signatures", "peer": version, "passed": done.is_ok()}),
    )?;
    done
}

/// The runtimes that are measured: ours, and the distribution's.
const RUNTIMES: [(&str, &str); 3] =
    [("corten-runtime", ""), ("runc", "/usr/sbin/runc"), ("crun", "/usr/bin/crun")];

fn conformance() -> Result<()> {
    let mut tests: BTreeMap<String, BTreeMap<&str, String>> = BTreeMap::new();
    let mut runtimes = serde_json::Map::new();
    for (name, path) in RUNTIMES {
        if !path.is_empty() && !Path::new(path).exists() {
            say!("{path} is not installed, and is left out");
            continue;
        }
        let results = measure(path)?;
        let count = |wanted: &str| results.values().filter(|result| *result == wanted).count();
        let counts = json!({
            "version": version(name, path), "tests": results.len(), "passed": count("passed"),
            "failed": count("failed"), "skipped": count("skipped"),
        });
        println!("{name:<16} {counts}");
        runtimes.insert(name.to_owned(), counts);
        for (test, result) in results {
            tests.entry(test).or_default().insert(name, result);
        }
    }
    write("conformance.json", json!({"runtimes": runtimes, "tests": tests}))
}

/// Runs the suite against the program `path`, or ours: each check's result.
fn measure(path: &str) -> Result<BTreeMap<String, String>> {
    let skips = workspace::scratch("soak")?.join("skips");
    let _ = fs::remove_file(&skips);
    let mut command = cargo_test("conformance");
    command.args(["--ignored"]).env("CORTEN_CONFORMANCE_SKIPS", &skips);
    if !path.is_empty() {
        command.env("CORTEN_CONFORMANCE_RUNTIME", path);
    }
    let output = process::try_output(&mut command)
        .ok_or_else(|| Error::failed("cargo cannot be started"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let short = |name: &str| name.trim_end_matches("::t1").to_owned();
    let mut results = BTreeMap::new();
    for (name, outcome) in libtest::parse_results(&text) {
        let passed = matches!(outcome, Outcome::Passed);
        results.insert(short(&name), if passed { "passed" } else { "failed" }.to_owned());
    }
    if results.is_empty() {
        return Err(Error::failed(String::from_utf8_lossy(&output.stderr).trim()));
    }
    for line in fs::read_to_string(&skips).unwrap_or_default().lines() {
        let name = short(line.split('\t').next().unwrap_or_default());
        // What a test has checked before it skipped the rest must have passed.
        if results.get(&name).is_some_and(|result| result == "passed") {
            results.insert(name, "skipped".to_owned());
        }
    }
    Ok(results)
}

fn version(name: &str, path: &str) -> String {
    if path.is_empty() {
        return env!("CARGO_PKG_VERSION").to_owned();
    }
    let text = process::read(Command::new(path).arg("--version")).unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    first.trim_start_matches(name).trim_start_matches(" version ").to_owned()
}

fn write(file: &str, mut document: Value) -> Result<()> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    document["machine"] = json!({
        "architecture": std::env::consts::ARCH,
        "kernel": kernel.trim(),
        "cpu": cpu.map_or("unknown", |(_, name)| name.trim()),
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "date": process::read(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]))?.trim(),
    });
    let path = workspace::root().join("benches/results").join(file);
    let dir = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(dir).on("create", dir)?;
    fs::write(&path, format!("{document:#}\n")).on("write", &path)?;
    say!("written to {}", path.display());
    Ok(())
}
