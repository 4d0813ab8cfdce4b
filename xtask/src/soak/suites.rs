//! The tests that docker-py, docker-compose, aiodocker and bollard have of themselves, against our daemon and
//! against dockerd.
//!
//! They are in what those publish; nobody has written them for us. What needs a swarm or plugins is left
//! out. Images are pulled from a registry beside the daemon; a test that wants one of the internet fails with both, and
//! is counted apart.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
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
    /// The package, and the directory of its sources.
    package: &'static str,
    version: &'static str,
    runner: Runner,
    /// A file beside run.sh: what its Python has, or the binaries of its tests.
    list: &'static str,
    /// The images that there are, each an archive, a name and a command.
    images: &'static [[&'static str; 3]],
}

/// Who runs its tests.
enum Runner {
    /// Of a package of PyPI: what pytest is told.
    Pytest(&'static [&'static str]),
    /// Of a crate that is one of our dependencies: its features.
    Cargo(&'static str),
}

/// For those whose modules are Debian's.
const DEBIAN: &str = "debian.txt";

const SMALL: &[[&str; 3]] = &[
    ["image.tar", "busybox:latest", SHELL],
    ["image.tar", "busybox:1.31.0-uclibc", SHELL],
    ["image.tar", "busybox:1.27.2", SHELL],
    ["image.tar", "alpine:3.10", SHELL],
    ["image.tar", "alpine:3.10.1", SHELL],
    ["image.tar", "alpine:3.12", SHELL],
    ["image.tar", "alpine:latest", SHELL],
    ["image.tar", "nginx:latest", SHELL],
    ["image.tar", "hello-world:latest", r#"["echo", "hello"]"#],
];
const SHELL: &str = r#"["/bin/sh"]"#;

const PYTHON: &[[&str; 3]] = &[
    ["python.tar", "python:3.13-alpine", INTERPRETER],
    ["python.tar", "python:3.14-alpine", INTERPRETER],
    ["python.tar", "python:latest", INTERPRETER],
    ["registry.tar", "registry:2", r#"["registry", "serve", "/etc/docker/registry/config.yml"]"#],
];
const INTERPRETER: &str = r#"["python3"]"#;

const BOLLARD: &[[&str; 3]] = &[
    ["bollard.tar", "hello-world:linux", HELLO],
    ["bollard.tar", "hello-world:latest", HELLO],
    ["bollard.tar", "alpine:latest", SHELL],
    ["bollard.tar", "fussybeaver/uhttpd:latest", r#"["run_uhttpd"]"#],
];
const HELLO: &str = r#"["/hello"]"#;

/// The versions of the first two are those that Debian 12 has, whose modules their tests import.
const SUITES: [Suite; 4] = [
    Suite {
        package: "docker",
        version: "5.0.3",
        runner: Runner::Pytest(&[
            "tests/integration",
            "-k",
            "not Swarm and not Service and not Secret and not Config and not Plugin and not Nodes",
        ]),
        list: DEBIAN,
        images: SMALL,
    },
    Suite {
        package: "docker-compose",
        version: "1.29.2",
        runner: Runner::Pytest(&["tests/integration", "tests/acceptance/cli_test.py"]),
        list: DEBIAN,
        images: SMALL,
    },
    Suite {
        package: "aiodocker",
        version: "0.27.0",
        runner: Runner::Pytest(&[
            "tests",
            "-o",
            "addopts=",
            "--ignore=tests/test_configs.py",
            "--ignore=tests/test_nodes.py",
            "--ignore=tests/test_secrets.py",
            "--ignore=tests/test_services.py",
            "--ignore=tests/test_swarm.py",
        ]),
        list: "aiodocker.txt",
        images: PYTHON,
    },
    Suite {
        package: "bollard",
        version: "0.21.1",
        runner: Runner::Cargo("test_websocket"),
        list: "bollard.txt",
        images: BOLLARD,
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
    for suite in &SUITES {
        clients::once(&fetched(&place, suite), &beside(suite.list), |to| match suite.runner {
            Runner::Pytest(_) => fetch(to, suite.list),
            Runner::Cargo(features) => build(to, suite, features),
        })?;
    }
    let archive = place.join("image.tar");
    fs::write(&archive, image::layer(&image::busybox()?)?).on("write", &archive)?;
    process::run(Command::new(beside("images.sh")).arg(&place))?;
    let before = Fingerprint::take(&Scope::Steps);
    let found = all(&place);
    // dockerd leaves the group that its containers' are in.
    before.remove_new_control_groups(&Scope::Steps);
    found
}

/// A file of the suites'.
fn beside(name: &str) -> PathBuf {
    workspace::root().join("tests/clients/suites").join(name)
}

/// Where a suite's sources are, and what runs them.
fn fetched(place: &Path, suite: &Suite) -> PathBuf {
    place.join(format!("fetched-{}", suite.list))
}

/// What runs a suite's tests.
fn command(suite: &Suite, fetched: &Path) -> Result<Vec<OsString>> {
    match suite.runner {
        Runner::Pytest(tests) => {
            let python =
                ["-W", "ignore", "-m", "pytest", "-q", "-rA", "--tb=no", "--timeout", "100"];
            let options = python.into_iter().chain(["-p", "no:cacheprovider"]);
            let words = options.chain(tests.iter().copied()).map(OsString::from);
            Ok([fetched.join("bin/python").into()].into_iter().chain(words).collect())
        }
        Runner::Cargo(_) => {
            let path = fetched.join(BINARIES);
            let binaries = fs::read_to_string(&path).on("read", &path)?;
            // With the name of the binary before that of each test.
            let each = "for binary; do name=${binary##*/}; \"$binary\" --test-threads 1 | \
                        sed \"s/^test /test ${name%-*}::/\"; done";
            let words = ["sh", "-c", each, "sh"].into_iter().chain(binaries.lines());
            Ok(words.map(OsString::from).collect())
        }
    }
}

fn all(place: &Path) -> Result<(Value, String)> {
    let mut found = Vec::new();
    let mut table = String::from(
        "| Suite | Tests | dockerd | Corten | dockerd alone | Corten alone | dockerd, s | Corten, s |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for suite in &SUITES {
        say!("{} {} against {}", suite.package, suite.version, DAEMONS.join(" and "));
        // At the same time: most of a suite is waiting for what is stopped.
        let [theirs, ours] = std::thread::scope(|scope| {
            let run = |daemon| scope.spawn(move || one(place, suite, daemon));
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
fn one(place: &Path, suite: &Suite, daemon: &str) -> Result<Run> {
    let begin = Instant::now();
    let own = place.join(daemon);
    if own.exists() {
        fs::remove_dir_all(&own).on("remove", &own)?;
    }
    fs::create_dir_all(&own).on("create", &own)?;
    let fetched = fetched(place, suite);
    let report = place.join(format!("{}-{daemon}", suite.package));
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--propagation", "private"]);
    command.arg(beside("run.sh"));
    command.arg(daemon).arg(&own).arg(fetched.join(format!("{}-{}", suite.package, suite.version)));
    command.arg(&report).args(self::command(suite, &fetched)?);
    command.env("CORTEN", workspace::target().join("debug/corten")).env("PARENT", PARENT);
    let images: Vec<String> = suite.images.iter().map(|image| image.join(" ")).collect();
    command.env("IMAGES", images.join("\n"));
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

/// Which tests passed, by pytest's summary or by what Rust's tests print. One that was skipped was not run; one that
/// was expected to fail, and did, tells of the client.
fn parse(text: &str) -> Passed {
    let mut results = Passed::new();
    for line in text.lines() {
        if let Some((name, end)) =
            line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... "))
        {
            match end {
                "ok" => _ = results.insert(name.to_owned(), true),
                "FAILED" => _ = results.insert(name.to_owned(), false),
                _ => {}
            }
        }
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

/// What lists the binaries of a crate's tests.
const BINARIES: &str = "binaries";

/// Makes `to` a Python that has what `list` names, with the sources of those suites in it that want it.
fn fetch(to: &Path, list: &str) -> Result<()> {
    let is_debian = list == DEBIAN;
    let mut venv = Command::new("/usr/bin/python3");
    let with = is_debian.then_some("--system-site-packages");
    process::run(venv.args(["-m", "venv"]).args(with).arg(to))?;
    let pip = |arguments: &[&str]| {
        let mut pip = Command::new(to.join("bin/pip"));
        process::run(pip.args(arguments).args(["--quiet", "--retries", "8"]).current_dir(to))
    };
    pip(&["install", "--requirement", &beside(list).display().to_string()])?;
    for Suite { package, version, .. } in SUITES.iter().filter(|suite| suite.list == list) {
        let wanted = format!("{package}=={version}");
        let mut from_source = vec!["download", "--no-deps", "--no-binary", package, &wanted];
        // Theirs are built by what is in the list, in the version of then.
        from_source.extend(is_debian.then_some("--no-build-isolation"));
        pip(&from_source)?;
        let mut tar = Command::new("tar");
        let archive = format!("{package}-{version}.tar.gz");
        process::run(tar.args(["--extract", "--file", &archive]).current_dir(to))?;
    }
    if !is_debian {
        return Ok(());
    }
    // With today's Python its own modules warn, which that suite takes for errors.
    let path = to.join("docker-5.0.3/tests/integration/conftest.py");
    let text = fs::read_to_string(&path).on("read", &path)?;
    fs::write(&path, text.replace("simplefilter('error')", "simplefilter('ignore')"))
        .on("write", &path)
}

/// Copies a crate to `to`, whose source is here since it is one of our dependencies, and builds those of its tests that
/// are listed, with the versions that it was published with.
fn build(to: &Path, suite: &Suite, features: &str) -> Result<()> {
    let found =
        process::read(workspace::cargo().args(["metadata", "--quiet", "--format-version=1"]))?;
    let metadata: Value =
        serde_json::from_str(&found).map_err(|why| Error::failed(why.to_string()))?;
    let mut packages = metadata["packages"].as_array().into_iter().flatten();
    let package = packages
        .find(|one| one["name"] == suite.package && one["version"] == suite.version)
        .and_then(|one| Path::new(one["manifest_path"].as_str()?).parent())
        .ok_or_else(|| {
            let Suite { package, version, .. } = suite;
            Error::failed(format!(
                "{package} {version} is no dependency of ours: which one is it now?"
            ))
        })?;
    let own = to.join(format!("{}-{}", suite.package, suite.version));
    process::run(Command::new("cp").arg("--recursive").arg(package).arg(&own))?;
    // It is in our tree, and no part of our workspace.
    let manifest = own.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).on("read", &manifest)?;
    fs::write(&manifest, text + "\n[workspace]\n").on("write", &manifest)?;
    let mut cargo = workspace::cargo();
    cargo.args(["test", "--no-run", "--locked", "--quiet", "--message-format=json"]);
    cargo
        .args(["--features", features])
        .current_dir(&own)
        .env("CARGO_TARGET_DIR", to.join("target"));
    let list = beside(suite.list);
    for test in fs::read_to_string(&list).on("read", &list)?.lines() {
        cargo.args(["--test", test]);
    }
    let told = process::read(&mut cargo)?;
    let documents = told.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let binaries = documents.filter_map(|one| Some(format!("{}\n", one["executable"].as_str()?)));
    let path = to.join(BINARIES);
    fs::write(&path, binaries.collect::<String>()).on("write", &path)
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
    fn the_same_of_rusts_tests() {
        let text = "running 3 tests\ntest a_test::one ... ok\ntest a_test::two ... FAILED\n\
            test a_test::three ... ignored, needs a swarm\n\ntest result: FAILED. 1 passed\n";
        let expected = [("a_test::one".to_owned(), true), ("a_test::two".to_owned(), false)];
        assert_eq!(parse(text), expected.into());
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
