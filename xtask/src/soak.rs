//! `./x soak`: what takes minutes. Every system call of the runtime fails or is killed in turn; the
//! conformance suite measures several runtimes. Results are written to benches/results.

mod project;
mod suites;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::error::{Error, OnPath, Result};
use crate::setup::{self, Purpose};
use crate::test::libtest;
use crate::test::report::Outcome;
use crate::{lab, mutants, process, say, workspace};

/// Which soak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Name {
    /// Each system call of create, start, exec and delete fails, with three errors
    Faults,
    /// The runtime is killed at each system call of create, start, exec and delete
    Kills,
    /// The conformance suite against corten-runtime, runc and crun
    Conformance,
    /// The shim of chapter 5 is killed at 500 moments of a start and what follows
    Shim,
    /// The power is cut at a hundred random moments of pulls
    Pulls,
    /// The power is cut at a hundred random moments of `corten pull`, which unpacks as well
    Unpacks,
    /// The engine is killed five hundred times, in a VM, while it makes, starts, stops and removes containers
    Engine,
    /// The power is cut fifty times while containers are made, end and are removed
    Outages,
    /// Ten thousand containers one after the other, and five hundred at the same time
    Many,
    /// Two hundred clients of the daemon for two minutes: run, logs, stats, events
    Daemon,
    /// Signatures of images, both ways against sigstore's own library and against skopeo
    Signatures,
    /// The attacks on the supervisor of chapter 5, with each defence and without it
    Attacks,
    /// Every command of the book is typed, page by page
    Reader,
    /// The engine's own image, built by the engine on a base of debootstrap, runs a container
    Project,
    /// The tests that each task of the labs has recorded fail without it, and pass with it
    Labs,
    /// The tests that docker-py and docker-compose have of themselves, against our daemon and dockerd
    Suites,
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
        Name::Shim => shim(),
        Name::Pulls => pulls(),
        Name::Unpacks => unpacks(),
        Name::Engine => engine(),
        Name::Outages => outages(),
        Name::Many => many(),
        Name::Daemon => daemon(),
        Name::Signatures => signatures(),
        Name::Attacks => attacks(),
        Name::Reader => reader(),
        Name::Project => write("soak-project.json", project::project()?),
        Name::Labs => labs(),
        Name::Suites => suites(),
    }
}

/// `cargo test` of one test target of the runtime, optimized: there are thousands of runs.
fn cargo_test(target: &str) -> Command {
    let mut command = workspace::cargo();
    command.args(["test", "--release", "-p", "corten-runtime", "--test", target, "--"]);
    command
}

fn tests(name: &str) -> Result<()> {
    let mut command = cargo_test("faults");
    command.args(["--exact", &format!("soak::{name}"), "--ignored", "--nocapture"]);
    of_test(name, command)
}

/// 500 kills; `CORTEN_SOAK_KILLS` says otherwise.
fn shim() -> Result<()> {
    let mut command = workspace::cargo();
    command.args(["test", "--release", "-p", "corten-supervisor", "--test", "supervision", "--"]);
    command.args(["--exact", "shim::crash::soak", "--ignored", "--nocapture"]);
    of_test("shim", command)
}

/// Runs a test that writes what it finds to the file that `CORTEN_SOAK_RESULT` names, and keeps that.
fn of_test(name: &str, mut command: Command) -> Result<()> {
    let result = workspace::scratch("soak")?.join(format!("{name}.json"));
    let _ = fs::remove_file(&result);
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

/// Builds the supervisor once with each of the chapter's patches and attacks all of them.
fn attacks() -> Result<()> {
    let weak = workspace::scratch("attacks")?;
    mutants::programs("05", "corten-supervisor", &weak)?;
    let mut command = workspace::cargo();
    command.args(["test", "-p", "corten-supervisor", "--test", "attacks", "--", "--exact"]);
    command.args(["table::all_attacks_with_and_without_each_defence::t1", "--ignored"]);
    let table = workspace::root().join("chapters/05-supervisor/attacks.json");
    command.env("CORTEN_ATTACKS_TABLE", table).env("CORTEN_ATTACKS_WEAK", weak);
    process::run(command.arg("--nocapture"))
}

/// How often the power is cut; `CORTEN_SOAK_CUTS` says otherwise.
const CUTS: &str = "100";

fn pulls() -> Result<()> {
    let (document, done) = power_cuts("pulls", registry_test("power", "soak::"))?;
    let columns = [
        ("cuts", "cuts"),
        ("stores whole", "stores_whole"),
        ("pulls repeated", "pulls_repeated"),
        ("with a partial layer", "with_partial_layer"),
        ("what came again was less", "resumed"),
    ];
    tabulate("pulls", document, &columns)?;
    done
}

fn unpacks() -> Result<()> {
    let mut command = workspace::cargo();
    command.args(["test", "--release", "-p", "corten", "--test", "vms", "--", "power::soak::"]);
    command.args(["--ignored", "--nocapture"]);
    let (document, done) = power_cuts("unpacks", command)?;
    let columns = [
        ("cuts", "cuts"),
        ("all layers whole or absent", "stores_whole"),
        ("with unfinished layers", "with_unfinished_layers"),
        ("with some layers of six", "with_some_layers"),
        ("after the end of the pull", "done"),
        ("pulls repeated", "pulls_repeated"),
        ("pulls on what was left", "on_leftovers"),
    ];
    tabulate("unpacks", document, &columns)?;
    done
}

/// 500 kills.
fn engine() -> Result<()> {
    setup::ensure(&[Purpose::Vm])?;
    of_engine("engine", "engine", "kills::soak::in_a_vm", &[])
}

fn many() -> Result<()> {
    of_engine("many", "many", "soak::", &["--release"])
}

fn daemon() -> Result<()> {
    of_engine("daemon", "clients", "crowd::soak::", &[])
}

/// 50 cuts; `CORTEN_SOAK_CUTS` says otherwise.
fn outages() -> Result<()> {
    setup::ensure(&[Purpose::Vm])?;
    of_engine("outages", "vms", "outage::soak::", &["--release"])
}

/// A soak of the whole engine: the one in the test target `target` whose name holds `test`, built with the
/// options of cargo that `profile` has. Where nothing is measured but patience there need be none.
fn of_engine(name: &str, target: &str, test: &str, profile: &[&str]) -> Result<()> {
    // The supervisor is a program of its own, which the engine finds beside itself.
    let mut build = workspace::cargo();
    process::run(build.args(["build", "-p", "corten-supervisor"]).args(profile))?;
    let mut command = workspace::cargo();
    command.args(["test", "-p", "corten"]).args(profile);
    command.args(["--test", target, "--", test, "--ignored", "--nocapture"]);
    of_test(name, command)
}

/// Runs a test that cuts the power of VMs: what it has found, and whether it went well.
fn power_cuts(name: &str, mut command: Command) -> Result<(Value, Result<()>)> {
    setup::ensure(&[Purpose::Vm])?;
    let result = workspace::scratch("soak")?.join(format!("{name}.json"));
    let _ = fs::remove_file(&result);
    let cuts = std::env::var("CORTEN_SOAK_CUTS").unwrap_or_else(|_| CUTS.to_owned());
    let done =
        process::run(command.env("CORTEN_SOAK_CUTS", cuts).env("CORTEN_SOAK_RESULT", &result));
    let text = fs::read_to_string(&result).on("read", &result)?;
    let document = serde_json::from_str(&text)
        .map_err(|e| Error::failed(format!("{}: {e}", result.display())))?;
    Ok((document, done))
}

/// Words that a reader of technical texts reads in a minute, roughly.
const PACE: u64 = 200;

/// The book's commands, typed one after the other, each page in shells of its own.
fn reader() -> Result<()> {
    setup::ensure(&[Purpose::Book, Purpose::Vm])?;
    process::run(workspace::cargo().args(["build", "--quiet", "--workspace", "--bins"]))?;
    let mut program = Command::new(workspace::target().join("debug/corten-book"));
    let text = process::read(program.current_dir(workspace::root()).arg("read"))?;
    let pages: Value =
        serde_json::from_str(&text).map_err(|e| Error::failed(format!("corten-book read: {e}")))?;
    let mut table = String::from(
        "| page | words | minutes to read | commands | did what the page says | seconds | not typed |\n\
         |---|---:|---:|---:|---:|---:|---:|\n",
    );
    for page in pages.as_array().into_iter().flatten() {
        let number = |key: &str| page[key].as_u64().unwrap_or_default();
        // What has commands for another machine only is in the data.
        if number("typed") == 0 {
            continue;
        }
        let name = page["page"].as_str().unwrap_or_default();
        table += &format!(
            "| [{name}]({name}.md) | {} | {} | {} | {} | {:.0} | {} |\n",
            number("words"),
            number("words").div_ceil(PACE),
            number("typed"),
            number("as_shown"),
            page["seconds"].as_f64().unwrap_or_default(),
            number("left_out"),
        );
    }
    write_table("reader", &table)?;
    write("soak-reader.json", json!({"soak": "reader", "pages": pages}))
}

/// Each task of each lab is left out and put back.
fn labs() -> Result<()> {
    let chapters = lab::check_records()?;
    let head = "| Chapter | Tasks | Fail without theirs | Pass with all |\n|---|---:|---:|---:|\n";
    let table = head.to_owned() + &chapters.iter().map(lab::Checked::row).collect::<String>();
    write_table("labs", &table)?;
    write("soak-labs.json", json!({"soak": "labs", "chapters": chapters}))?;
    lab::Checked::verdict(&chapters)
}

/// Others' tests, which are written for dockerd.
fn suites() -> Result<()> {
    let (document, table) = suites::suites()?;
    write_table("suites", &table)?;
    write("soak-suites.json", document)
}

/// Writes the counts of `document` as a table for the book, and all of it as data.
fn tabulate(name: &str, document: Value, columns: &[(&str, &str)]) -> Result<()> {
    let row = |cell: &dyn Fn(&(&str, &str)) -> String| {
        format!("| {} |\n", columns.iter().map(cell).collect::<Vec<_>>().join(" | "))
    };
    let head = row(&|(title, _)| (*title).to_owned());
    let line = format!("|{}\n", "---:|".repeat(columns.len()));
    let counts = row(&|(_, key)| document[*key].to_string());
    write_table(name, &(head + &line + &counts))?;
    write(&format!("soak-{name}.json"), document)
}

/// skopeo of a Debian that builds it with signatures, and the libraries that it needs.
const SKOPEO: (&str, [&str; 6]) =
    ("trixie", ["skopeo", "libc6", "libgpgme11t64", "libassuan9", "libgpg-error0", "libsqlite3-0"]);

/// Fetches that skopeo and gives a script that runs it, with a loader and libraries of its own.
fn newer_skopeo() -> Result<PathBuf> {
    let (suite, packages) = SKOPEO;
    let root = corten_vm::unpacked_packages(suite, &packages)
        .map_err(|e| Error::failed(format!("skopeo of {suite}: {e}")))?;
    let script = workspace::scratch("soak")?.join("skopeo");
    let root = root.display();
    let text = format!(
        "#!/bin/sh\nexec {root}/usr/lib*/ld-linux*.so.* --library-path \
         \"$(echo {root}/usr/lib/*-linux-gnu)\" {root}/usr/bin/skopeo \"$@\"\n"
    );
    fs::write(&script, text).on("write", &script)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).on("chmod", &script)?;
    Ok(script)
}

/// Builds the peer, which is no part of the workspace, and lets all sides sign and verify.
fn signatures() -> Result<()> {
    let target = workspace::root().join("target/sigstore-peer");
    let manifest = workspace::root().join("tests/sigstore-peer/Cargo.toml");
    let mut build = workspace::cargo();
    build.args(["build", "--locked", "--manifest-path"]).arg(manifest);
    process::run(build.env("CARGO_TARGET_DIR", &target))?;
    let program = target.join("debug/sigstore-peer");
    let skopeo = newer_skopeo()?;
    let mut command = registry_test("signature", "soak::");
    command.env("CORTEN_SIGSTORE_PEER", program).env("CORTEN_SKOPEO", &skopeo);
    let done = process::run(&mut command);
    let version = process::read(Command::new(&skopeo).arg("--version"))?;
    let peers = ["sigstore 0.15.0", version.trim()];
    write(
        "soak-signatures.json",
        json!({"soak": "signatures", "peers": peers, "passed": done.is_ok()}),
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

/// Writes what the book shows of a soak.
fn write_table(name: &str, table: &str) -> Result<()> {
    let path = workspace::root().join(format!("benches/soak-{name}.md"));
    fs::write(&path, table).on("write", &path)
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
