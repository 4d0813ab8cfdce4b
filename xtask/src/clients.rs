//! `./x clients`: libraries of other languages drive the daemon. They come by npm and pip, which is more than
//! whoever runs the tests should have to install; so these are not among them, and CI runs both.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, OnPath, Result};
use crate::setup::apt::Privilege;
use crate::setup::{self, Purpose};
use crate::test::build;
use crate::{process, say, workspace};

/// The test binary, and its tests.
const BINARY: &str = "corten/tests/clients";
const TESTS: [&str; 2] = ["sdks::dockerode_works", "sdks::testcontainers_works"];

/// Fetches the libraries and runs their tests.
///
/// # Errors
/// Where one cannot be fetched, or a test fails.
pub fn run() -> Result<()> {
    setup::ensure(&[Purpose::Test, Purpose::Clients])?;
    let place = workspace::scratch("clients")?;
    let from = workspace::root().join("tests/clients");
    let lock = from.join("node/package-lock.json");
    once(&place.join("node"), &lock, |directory| {
        for file in ["package.json", "package-lock.json"] {
            let source = from.join("node").join(file);
            fs::copy(&source, directory.join(file)).on("copy", source)?;
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund"]);
        process::run(npm.args(["--silent", "--fetch-retries=5"]).current_dir(directory))
    })?;
    let requirements = from.join("requirements.txt");
    once(&place.join("python"), &requirements, |directory| {
        // Debian's, whatever else is in PATH.
        process::run(Command::new("/usr/bin/python3").args(["-m", "venv"]).arg(directory))?;
        let mut pip = Command::new(directory.join("bin/pip"));
        pip.args(["install", "--quiet", "--retries", "8", "--no-deps", "--requirement"]);
        process::run(pip.arg(&requirements))
    })?;
    let built = build::workspace()?;
    let binary = built.tests.iter().find(|binary| binary.name == BINARY);
    let binary = binary.ok_or_else(|| Error::failed(format!("there is no {BINARY}")))?;
    let mut command = Privilege::here().command(&binary.path);
    command.args(["--ignored", "--exact"]).args(TESTS).current_dir(&binary.dir);
    process::run(command.env("CORTEN_CLIENTS", &place))
}

/// Has the directory `to` made as the file `by` says, unless it is there and was made by the same.
///
/// # Errors
/// Where `by` cannot be read, or it cannot be made.
pub fn once(to: &Path, by: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let text = fs::read_to_string(by).on("read", by)?;
    let stamp: PathBuf = to.join("made-by");
    if fs::read_to_string(&stamp).is_ok_and(|made_by| made_by == text) {
        return Ok(());
    }
    say!("fetching what {} names", by.strip_prefix(workspace::root()).unwrap_or(by).display());
    if to.exists() {
        fs::remove_dir_all(to).on("remove", to)?;
    }
    fs::create_dir_all(to).on("create", to)?;
    make(to)?;
    fs::write(&stamp, text).on("write", stamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_made_again_where_its_list_has_changed_or_it_is_not_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (to, by) = (dir.path().join("to"), dir.path().join("by"));
        let mut times = 0;
        let mut made = |list: &str, fails: bool| {
            fs::write(&by, list).unwrap();
            let result = once(&to, &by, |to| {
                times += 1;
                fs::write(to.join("made"), "x").unwrap();
                if fails { Err(Error::failed("no network")) } else { Ok(()) }
            });
            assert_eq!(result.is_err(), fails);
            times
        };
        assert_eq!(
            [made("1", true), made("1", false), made("1", false), made("2", false)],
            [1, 2, 2, 3]
        );
    }
}
