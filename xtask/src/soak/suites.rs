//! The tests that docker-py and docker-compose have of themselves, against our daemon and against dockerd.
//!
//! They are in what both publish on PyPI; nobody has written them for us. What needs a swarm or plugins is left
//! out. Images are pulled from a registry beside the daemon; a test that wants one of the internet fails with both, and
//! is counted apart.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::panic::resume_unwind;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};

use crate::error::{Error, OnPath, Result};
use crate::fingerprint::{Fingerprint, Scope};
use crate::run::image;
use crate::setup::{self, Purpose};
use crate::{clients, process, say, workspace};

/// One suite.
struct Suite {
    /// The package on PyPI, and the directory of its sources.
    package: &'static str,
    version: &'static str,
    /// What pytest is told.
    tests: &'static [&'static str],
}

/// The versions are those that Debian 12 has, whose modules the tests import.
const SUITES: [Suite; 2] = [
    Suite {
        package: "docker",
        version: "5.0.3",
        tests: &[
            "tests/integration",
            "-k",
            "not Swarm and not Service and not Secret and not Config and not Plugin and not Nodes",
        ],
    },
    Suite {
        package: "docker-compose",
        version: "1.29.2",
        tests: &["tests/integration", "tests/acceptance/cli_test.py"],
    },
];

const DAEMONS: [&str; 2] = ["dockerd", "corten"];

/// Control groups of dockerd's containers are below this one.
const PARENT: &str = "corten-suites";

/// Whether each test passed that was run.
type Passed = BTreeMap<String, bool>;

/// What a daemon has made of a suite.
struct Run {
    passed: Passed,
    seconds: u64,
}

/// The document, and a table of it.
///
/// # Errors
/// Where something cannot be fetched or started. A test that fails is a result.
pub fn suites() -> Result<(Value, String)> {
    setup::ensure(&[Purpose::Test, Purpose::Clients])?;
    process::run(workspace::cargo().args(["build", "--quiet", "--workspace", "--bins"]))?;
    let place = workspace::scratch("suites")?;
    let list = workspace::root().join("tests/clients/suites/requirements.txt");
    let fetched = place.join("fetched");
    clients::once(&fetched, &list, |to| fetch(to, &list))?;
    let archive = place.join("image.tar");
    fs::write(&archive, image::layer(&image::busybox()?)?).on("write", &archive)?;
    let before = Fingerprint::take(&Scope::Steps);
    let found = all(&place, &fetched);
    // dockerd leaves the group that its containers' are in.
    before.remove_new_control_groups(&Scope::Steps);
    found
}

fn all(place: &Path, fetched: &Path) -> Result<(Value, String)> {
    let mut found = Vec::new();
    let mut table = String::from(
        "| Suite | Tests | dockerd | Corten | dockerd alone | Corten alone | dockerd, s | Corten, s |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for suite in &SUITES {
        say!("{} {} against {}", suite.package, suite.version, DAEMONS.join(" and "));
        // At the same time: most of a suite is waiting for what is stopped.
        let [theirs, ours] = std::thread::scope(|scope| {
            let run = |daemon| scope.spawn(move || one(place, fetched, suite, daemon));
            DAEMONS.map(run).map(|run| run.join().unwrap_or_else(|panic| resume_unwind(panic)))
        });
        let (document, row) = compared(suite, &theirs?, &ours?);
        table += &row;
        found.push(document);
    }
    let dockerd = process::read(Command::new("dockerd").arg("--version"))?;
    Ok((json!({"soak": "suites", "dockerd": dockerd.trim(), "suites": found}), table))
}

/// What both have made of a suite, and its line of the table.
fn compared(suite: &Suite, theirs: &Run, ours: &Run) -> (Value, String) {
    let passes = |run: &Run| -> BTreeSet<String> {
        run.passed.iter().filter(|(_, passed)| **passed).map(|(name, _)| name.clone()).collect()
    };
    let (dockerd, corten) = (passes(theirs), passes(ours));
    let tests: BTreeSet<String> = theirs.passed.keys().chain(ours.passed.keys()).cloned().collect();
    let (dockerd_alone, corten_alone) = (&dockerd - &corten, &corten - &dockerd);
    let name = format!("{} {}", suite.package, suite.version);
    let numbers = [
        tests.len(),
        dockerd.len(),
        corten.len(),
        dockerd_alone.len(),
        corten_alone.len(),
        theirs.seconds as usize,
        ours.seconds as usize,
    ];
    let row = format!("| {name} | {} |\n", numbers.map(|number| number.to_string()).join(" | "));
    let document = json!({
        "suite": name,
        "tests": tests.len(),
        "dockerd": {"passed": dockerd.len(), "seconds": theirs.seconds},
        "corten": {"passed": corten.len(), "seconds": ours.seconds},
        "passed with dockerd alone": dockerd_alone,
        "passed with corten alone": corten_alone,
        "passed with neither": &(&tests - &dockerd) - &corten,
    });
    (document, row)
}

/// A suite against a daemon, in namespaces of its own.
fn one(place: &Path, fetched: &Path, suite: &Suite, daemon: &str) -> Result<Run> {
    let begin = Instant::now();
    let own = place.join(daemon);
    if own.exists() {
        fs::remove_dir_all(&own).on("remove", &own)?;
    }
    fs::create_dir_all(&own).on("create", &own)?;
    let report = place.join(format!("{}-{daemon}", suite.package));
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--propagation", "private"]);
    command.arg(workspace::root().join("tests/clients/suites/run.sh"));
    command.arg(daemon).arg(&own).arg(fetched.join("bin/python"));
    command.arg(fetched.join(format!("{}-{}", suite.package, suite.version)));
    command.arg(&report).args(suite.tests);
    command.env("CORTEN", workspace::target().join("debug/corten")).env("PARENT", PARENT);
    for variable in ["DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG"] {
        command.env_remove(variable);
    }
    process::run(&mut command)?;
    fs::remove_dir_all(&own).on("remove", &own)?;
    let text = fs::read_to_string(&report).on("read", &report)?;
    let passed = parse(&text);
    if passed.is_empty() {
        return Err(Error::failed(format!("{}: no test has run", report.display())));
    }
    Ok(Run { passed, seconds: begin.elapsed().as_secs() })
}

/// Which tests of pytest's summary passed. One that was skipped was not run; one that was expected to fail, and did,
/// tells of the client.
fn parse(text: &str) -> Passed {
    let mut results = Passed::new();
    for line in text.lines() {
        let Some((word, rest)) = line.split_once(' ') else { continue };
        let name = rest.split(" - ").next().unwrap_or_default().trim();
        if !name.starts_with("tests/") {
            continue;
        }
        match word {
            "PASSED" => _ = results.entry(name.to_owned()).or_insert(true),
            // A test may pass, and its end fail.
            "FAILED" | "ERROR" => _ = results.insert(name.to_owned(), false),
            _ => {}
        }
    }
    results
}

/// Makes `to` a Python that has what `list` names, with the sources of the suites in it.
fn fetch(to: &Path, list: &Path) -> Result<()> {
    let mut venv = Command::new("/usr/bin/python3");
    process::run(venv.args(["-m", "venv", "--system-site-packages"]).arg(to))?;
    let pip = |arguments: &[&str]| {
        let mut pip = Command::new(to.join("bin/pip"));
        process::run(pip.args(arguments).args(["--quiet", "--retries", "8"]).current_dir(to))
    };
    pip(&["install", "--requirement", &list.display().to_string()])?;
    for Suite { package, version, .. } in &SUITES {
        let wanted = format!("{package}=={version}");
        let from_source = ["download", "--no-deps", "--no-build-isolation", "--no-binary"];
        pip(&[&from_source[..], &[package, &wanted]].concat())?;
        let mut tar = Command::new("tar");
        let archive = format!("{package}-{version}.tar.gz");
        process::run(tar.args(["--extract", "--file", &archive]).current_dir(to))?;
    }
    // With today's Python its own modules warn, which that suite takes for errors.
    let path = to.join("docker-5.0.3/tests/integration/conftest.py");
    let text = fs::read_to_string(&path).on("read", &path)?;
    fs::write(&path, text.replace("simplefilter('error')", "simplefilter('ignore')"))
        .on("write", &path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_read() {
        let text = "....F [100%]\n== short test summary info ==\n\
            PASSED tests/integration/a_test.py::A::test_one\n\
            PASSED tests/integration/a_test.py::A::test_two\n\
            SKIPPED [1] tests/integration/a_test.py:3: needs a swarm\n\
            XFAIL tests/integration/a_test.py::A::test_known - later\n\
            ERROR tests/integration/a_test.py::A::test_two - at its end\n\
            ERROR: for web  Cannot start\n\
            FAILED tests/integration/a_test.py::A::test_three - AssertionError: a - b\n\
            1 failed, 2 passed in 3.00s\n";
        let passed = parse(text);
        let of =
            |name: &str| passed.get(&format!("tests/integration/a_test.py::A::{name}")).copied();
        assert_eq!(passed.len(), 3);
        assert_eq!(
            [of("test_one"), of("test_two"), of("test_three")],
            [Some(true), Some(false), Some(false)]
        );
    }

    #[test]
    fn each_daemon_has_what_the_other_has_not() {
        let run = |results: [(&str, bool); 4], seconds| Run {
            passed: results.map(|(name, passed)| (name.to_owned(), passed)).into(),
            seconds,
        };
        let theirs = run([("a", true), ("b", true), ("c", true), ("d", false)], 9);
        let ours = run([("a", true), ("b", false), ("d", false), ("e", true)], 2);
        let (document, row) = compared(&SUITES[0], &theirs, &ours);
        assert_eq!(row, "| docker 5.0.3 | 5 | 3 | 2 | 2 | 1 | 9 | 2 |\n");
        let of = |who: &str| document[format!("passed with {who}")].clone();
        assert_eq!(of("dockerd alone"), json!(["b", "c"]));
        assert_eq!(of("corten alone"), json!(["e"]));
        assert_eq!(of("neither"), json!(["d"]));
    }
}
