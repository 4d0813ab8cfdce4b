//! Kernel packages from the distribution's own archive, without installing anything and without
//! touching the machine's own apt state.
//!
//! A newer Debian's kernel comes from the sources that this machine already uses, with the name of
//! the suite replaced: so a mirror or a snapshot that is set up here is used there too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::error::{Context, Error, Result};

/// How long an archive may have a bad moment: what is not fetched costs the whole run.
const PATIENCE: Duration = Duration::from_secs(30);

/// An apt of its own: sources, lists and cache below one directory.
pub struct Apt {
    directory: PathBuf,
}

impl Apt {
    /// Sets up `directory` with the machine's sources for another `suite` (`trixie`), and fetches
    /// the package lists.
    ///
    /// # Errors
    /// [`Error::Program`] where apt-get fails, for want of a network above all.
    pub fn for_suite(directory: &Path, suite: &str) -> Result<Apt> {
        for part in ["state/lists/partial", "cache/archives/partial", "sources.d"] {
            let part = directory.join(part);
            fs::create_dir_all(&part).on("create", &part)?;
        }
        let own = codename()?;
        // apt tells the two formats apart by the file's suffix.
        for format in ["list", "sources"] {
            let list = directory.join("sources.d/corten").with_extension(format);
            let text = machine_sources(format)?;
            fs::write(&list, other_suite(&text, &own, suite)).on("write", &list)?;
        }
        let apt = Apt { directory: directory.to_path_buf() };
        apt.update()?;
        Ok(apt)
    }

    /// Fetches the package lists. By itself apt-get warns of a list that it has not got, and says that all is
    /// well.
    fn update(&self) -> Result<()> {
        let update = || self.run("apt-get", &["-o", "APT::Update::Error-Mode=any", "update"]);
        patiently(PATIENCE, update).map(drop)
    }

    /// The real package behind the meta package `name`: the first of its dependencies that begins
    /// with `linux-image-`, or `name` itself.
    ///
    /// # Errors
    /// [`Error::Program`] where there is no such package.
    pub fn kernel_behind(&self, name: &str) -> Result<String> {
        let depends = self.run("apt-cache", &["depends", "--important", name])?;
        Ok(kernel_in(&depends).unwrap_or(name).to_owned())
    }

    /// Downloads the package `name` and unpacks it into `into`.
    ///
    /// # Errors
    /// [`Error::Program`] where apt-get or dpkg-deb fails.
    pub fn unpack(&self, name: &str, into: &Path) -> Result<()> {
        patiently(PATIENCE, || self.run("apt-get", &["download", name]))?;
        let entries = fs::read_dir(&self.directory).on("list", &self.directory)?;
        let package = entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .find(|path| path.extension().is_some_and(|e| e == "deb"))
            .ok_or_else(|| failed("apt-get download", format!("it left no file of {name}")))?;
        run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(into))?;
        fs::remove_file(&package).on("remove", package)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let at = |what: &str, path: &str| format!("{what}={}", self.directory.join(path).display());
        let mut command = Command::new(program);
        command.current_dir(&self.directory).env("LC_ALL", "C");
        for option in [
            "Dir::Etc::sourcelist=/dev/null".to_owned(),
            at("Dir::Etc::sourceparts", "sources.d"),
            at("Dir::State", "state"),
            at("Dir::Cache", "cache"),
            "Dir::State::status=/var/lib/dpkg/status".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=3".to_owned(),
            // The sandbox user _apt can't write below a home directory.
            "APT::Sandbox::User=root".to_owned(),
        ] {
            command.arg("-o").arg(option);
        }
        run(command.args(arguments))
    }
}

/// Programs of another Debian, for tests that compare with newer ones than this machine has: `packages`
/// (the program's and those of its libraries, libc's among them) of `suite`, unpacked below one
/// directory and never installed. A second call uses no network.
///
/// # Errors
/// [`Error::Program`] where a package cannot be had.
pub fn unpacked_packages(suite: &str, packages: &[&str]) -> Result<PathBuf> {
    let name = packages.first().copied().unwrap_or_default();
    let directory = crate::cache::root()?.join("packages");
    fs::create_dir_all(&directory).on("create", &directory)?;
    crate::cache::directory(&format!("packages/{suite}-{name}"), |into| {
        eprintln!("corten-vm: fetching {name} of Debian's {suite}");
        let work = tempfile::tempdir().on("create a directory in", std::env::temp_dir())?;
        let apt = Apt::for_suite(&work.path().join("apt"), suite)?;
        packages.iter().try_for_each(|package| apt.unpack(package, into))
    })
}

/// Tries again where the archive has a bad moment, after longer and longer pauses, for as long as `patience`.
fn patiently<T>(patience: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let end = Instant::now() + patience;
    let mut pause = patience / 60;
    loop {
        match attempt() {
            Err(error) if Instant::now() + pause <= end => {
                eprintln!("corten-vm: {error}; trying again for at most {} s", patience.as_secs());
            }
            result => return result,
        }
        std::thread::sleep(pause);
        pause *= 2;
    }
}

/// Runs a program to its end and gives what it wrote.
///
/// # Errors
/// [`Error::Missing`] where it is not installed, [`Error::Program`] where it fails.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Error::Missing {
            program: program.clone(),
            remedy: "./x doctor says how to get it".to_owned(),
        },
        _ => failed(&program, source.to_string()),
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let error = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = error.lines().collect();
    let end = lines[lines.len().saturating_sub(5)..].join("; ");
    Err(failed(&program, format!("{}: {end}", output.status)))
}

fn failed(program: &str, message: String) -> Error {
    Error::Program { program: program.to_owned(), message }
}

/// The machine's package sources of one format, joined.
fn machine_sources(format: &str) -> Result<String> {
    let mut text = String::new();
    let parts = Path::new("/etc/apt/sources.list.d");
    let mut files: Vec<PathBuf> = fs::read_dir(parts)
        .map(|entries| entries.filter_map(|entry| entry.ok().map(|e| e.path())).collect())
        .unwrap_or_default();
    files.push(PathBuf::from("/etc/apt/sources.list"));
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|e| e == format)) {
        if file.exists() {
            text.push_str(&fs::read_to_string(file).on("read", file)?);
            text.push_str("\n\n");
        }
    }
    Ok(text)
}

/// `text` with the suite `own` replaced by `other`, and only with entries that name it: a third
/// party's repository has no such suite.
fn other_suite(text: &str, own: &str, other: &str) -> String {
    let is_deb822 = text.lines().any(|line| line.starts_with("Types:"));
    let separator = if is_deb822 { "\n\n" } else { "\n" };
    let entries: Vec<String> = text
        .split(separator)
        .filter(|entry| entry.contains(own) && entry.contains("debian"))
        .map(|entry| entry.replace(own, other))
        .collect();
    entries.join(separator) + "\n"
}

fn kernel_in(depends: &str) -> Option<&str> {
    depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-"))
}

/// The release's name in /etc/os-release, where this is Debian.
pub fn codename() -> Result<String> {
    let path = Path::new("/etc/os-release");
    let text = fs::read_to_string(path).on("read", path)?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_default().trim_matches('"').to_owned()
    };
    if field("ID") != "debian" {
        return Err(Error::Kernel {
            kernel: "of Debian".to_owned(),
            why: format!(
                "this machine runs {}, whose archive has no Debian kernel; give one that is \
                 unpacked here, with --kernel DIR (DIR/boot/vmlinuz-* and DIR/lib/modules/*)",
                field("PRETTY_NAME")
            ),
        });
    }
    Ok(field("VERSION_CODENAME"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_suite_is_asked_for_where_the_machine_asks_for_its_own() {
        let sources = "Types: deb\nURIs: http://mirror/debian\nSuites: bookworm bookworm-updates\n\
            \n\nTypes: deb\nURIs: http://node.example/\nSuites: nodistro\n";
        let other = other_suite(sources, "bookworm", "trixie");
        assert!(other.contains("Suites: trixie trixie-updates"), "{other}");
        assert!(!other.contains("nodistro"), "{other}");
    }

    #[test]
    fn a_bad_moment_is_waited_for_and_a_bad_day_is_not() {
        let mut attempts = 0;
        let mut until = |good, patience| {
            attempts = 0;
            patiently(Duration::from_millis(patience), || {
                attempts += 1;
                if attempts == good { Ok(attempts) } else { Err(failed("apt-get", "no".into())) }
            })
        };
        assert_eq!(until(3, 10_000).unwrap(), 3);
        assert!(until(0, 300).is_err());
        assert!((3..20).contains(&attempts), "{attempts}");
    }

    #[test]
    fn the_one_line_format_is_understood_too() {
        let list = "deb http://mirror/debian bookworm main\ndeb http://x/ stable main\n";
        let other = other_suite(list, "bookworm", "trixie");
        assert_eq!(other, "deb http://mirror/debian trixie main\n");
    }

    #[test]
    fn the_real_package_is_found_behind_the_meta_package() {
        let depends = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n";
        assert_eq!(kernel_in(depends), Some("linux-image-6.1.0-56-cloud-amd64"));
    }
}
