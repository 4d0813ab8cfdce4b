//! The tests that docker-py and docker-compose have of themselves, against our daemon and against dockerd.
//!
//! They are in what both publish on PyPI; nobody has written them for us. What needs a swarm or plugins is left
//! out. Images are pulled from a registry beside the daemon; a test that wants one of the internet fails with both, and
//! is counted apart.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};

use crate::error::{Error, OnPath, Result};
use crate::setup::{self, Purpose};
use crate::{process, say, workspace};

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

/// What was said of one test; `None` of one that was not run.
type Passed = BTreeMap<String, bool>;

/// The document, and a table of it.
///
/// # Errors
/// Where something cannot be fetched or started. A test that fails is a result.
pub fn suites() -> Result<(Value, String)> {
    setup::ensure(&[Purpose::Test, Purpose::Clients])?;
    process::run(workspace::cargo().args(["build", "--quiet", "--workspace", "--bins"]))?;
    let place = workspace::scratch("suites")?;
    let python = fetch(&place)?;
    image(&place)?;
    let mut found = Vec::new();
    let mut table = String::from(
        "| Suite | Tests | dockerd | Corten | dockerd alone | Corten alone | dockerd, s | Corten, s |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for suite in &SUITES {
        say!("{} {} against {}", suite.package, suite.version, DAEMONS.join(" and "));
        let (place, python) = (&place, &python);
        // At the same time: most of a suite is waiting for what is stopped.
        let results = std::thread::scope(|scope| {
            let run = |daemon| {
                let start = Instant::now();
                let passed = one(place, python, suite, daemon)?;
                Ok((passed, start.elapsed().as_secs()))
            };
            let runs = DAEMONS.map(|daemon| scope.spawn(move || run(daemon)));
            let runs = runs.into_iter().map(|run| run.join().unwrap_or_else(|p| resume_unwind(p)));
            runs.collect::<Result<Vec<_>>>()
        })?;
        let (document, row) = compared(suite, &results);
        table += &row;
        found.push(document);
    }
    let dockerd = process::read(Command::new("dockerd").arg("--version"))?;
    Ok((json!({"soak": "suites", "dockerd": dockerd.trim(), "suites": found}), table))
}

/// What both have made of a suite, and its line of the table.
fn compared(suite: &Suite, results: &[(Passed, u64)]) -> (Value, String) {
    let passes = |passed: &Passed| -> BTreeSet<String> {
        passed.iter().filter(|(_, passed)| **passed).map(|(name, _)| name.clone()).collect()
    };
    let sets: Vec<_> = results.iter().map(|(passed, _)| passes(passed)).collect();
    let names: BTreeSet<&String> = results.iter().flat_map(|(passed, _)| passed.keys()).collect();
    let [of_dockerd, ours] = [&sets[0], &sets[1]];
    let alone = |one: &BTreeSet<String>, other| one.difference(other).cloned().collect::<Vec<_>>();
    let (theirs_alone, ours_alone) = (alone(of_dockerd, ours), alone(ours, of_dockerd));
    let seconds: Vec<u64> = results.iter().map(|(_, seconds)| *seconds).collect();
    let mut row = String::new();
    let _ = writeln!(
        row,
        "| {} {} | {} | {} | {} | {} | {} | {} | {} |",
        suite.package,
        suite.version,
        names.len(),
        of_dockerd.len(),
        ours.len(),
        theirs_alone.len(),
        ours_alone.len(),
        seconds[0],
        seconds[1],
    );
    let document = json!({
        "suite": format!("{} {}", suite.package, suite.version),
        "tests": names.len(),
        "dockerd": {"passed": of_dockerd.len(), "seconds": seconds[0]},
        "corten": {"passed": ours.len(), "seconds": seconds[1]},
        "passed with dockerd alone": theirs_alone,
        "passed with corten alone": ours_alone,
        "passed with neither": names.iter().filter(|name| {
            !of_dockerd.contains(**name) && !ours.contains(**name)
        }).collect::<Vec<_>>(),
    });
    (document, row)
}

/// A suite against a daemon, in namespaces of its own.
fn one(place: &Path, python: &Path, suite: &Suite, daemon: &str) -> Result<Passed> {
    let own = place.join(daemon);
    let report = place.join(format!("{}-{daemon}", suite.package));
    remove(&own)?;
    fs::create_dir_all(&own).on("create", &own)?;
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--propagation", "private"]);
    command.arg(workspace::root().join("tests/clients/suites/run.sh"));
    command.arg(daemon).arg(&own).arg(python);
    command.arg(place.join(format!("{}-{}", suite.package, suite.version)));
    command.arg(&report).args(suite.tests);
    command.env("CORTEN", workspace::target().join("debug/corten")).env("PARENT", PARENT);
    for variable in ["DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG"] {
        command.env_remove(variable);
    }
    let done = process::run(&mut command);
    if daemon == "dockerd" {
        let groups =
            format!("find /sys/fs/cgroup -depth -type d -path '*/{PARENT}*' -exec rmdir {{}} +");
        let _ = Command::new("sh").args(["-c", &groups]).status();
    }
    done?;
    remove(&own)?;
    let text = fs::read_to_string(&report).on("read", &report)?;
    let passed = parse(&text);
    if passed.is_empty() {
        return Err(Error::failed(format!("{}: no test has run", report.display())));
    }
    Ok(passed)
}

fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).on("remove", directory)
        }
        _ => Ok(()),
    }
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

/// The sources with the tests, and a Python that can run them.
fn fetch(place: &Path) -> Result<PathBuf> {
    let environment = place.join("python");
    let python = environment.join("bin/python");
    if !place.join("fetched").exists() {
        say!("fetching the suites");
        remove(&environment)?;
        let mut venv = Command::new("/usr/bin/python3");
        process::run(venv.args(["-m", "venv", "--system-site-packages"]).arg(&environment))?;
        let pip = |arguments: &[&str]| {
            let mut pip = Command::new(environment.join("bin/pip"));
            process::run(pip.args(arguments).args(["--quiet", "--retries", "8"]).current_dir(place))
        };
        let list = workspace::root().join("tests/clients/suites/requirements.txt");
        pip(&["install", "--requirement", &list.display().to_string()])?;
        for Suite { package, version, .. } in &SUITES {
            pip(&[
                "download",
                "--no-deps",
                "--no-binary",
                package,
                "--no-build-isolation",
                &format!("{package}=={version}"),
            ])?;
            let mut tar = Command::new("tar");
            let archive = format!("{package}-{version}.tar.gz");
            process::run(tar.args(["--extract", "--file", &archive]).current_dir(place))?;
        }
        // With today's Python its own modules warn, which that suite takes for errors.
        let path = place.join("docker-5.0.3/tests/integration/conftest.py");
        let text = fs::read_to_string(&path).on("read", &path)?;
        let text = text.replace("simplefilter('error')", "simplefilter('ignore')");
        fs::write(&path, text).on("write", &path)?;
        fs::write(place.join("fetched"), "").on("write", place)?;
    }
    Ok(python)
}

/// The root of a small system, made of busybox, with the users that images have.
fn image(place: &Path) -> Result<()> {
    let script = "set -e; rm -rf system; mkdir system; cd system; \
        mkdir -p bin sbin usr/bin usr/sbin etc proc sys dev tmp root home var/log var/run lib; \
        chmod 1777 tmp; cp /bin/busybox bin/busybox; chroot . /bin/busybox --install -s /bin; \
        printf 'root:x:0:0:root:/root:/bin/sh\\nbin:x:1:1:bin:/bin:/bin/false\\n\
                daemon:x:2:2:daemon:/sbin:/bin/false\\nnobody:x:65534:65534:nobody:/:/bin/false\\n' >etc/passwd; \
        printf 'root:x:0:\\nbin:x:1:\\ndaemon:x:2:\\nnogroup:x:65533:\\nnobody:x:65534:\\n' >etc/group; \
        cd ..; tar --create --file image.tar --directory system .; rm -r system";
    process::run(Command::new("sh").args(["-c", script]).current_dir(place))
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
        let (document, row) = compared(&SUITES[0], &[(parse(text), 9), (parse(text), 2)]);
        assert_eq!(row, "| docker 5.0.3 | 3 | 1 | 1 | 0 | 0 | 9 | 2 |\n");
        assert_eq!(document["passed with neither"].as_array().unwrap().len(), 2);
    }
}
