//! `./x install`: the programs, what shells and man(1) need, the units and the book, below one directory;
//! and all of it away again.
//!
//! What is installed is made ready below `target/x/stage` first, so that root's rights are needed for
//! one copy only. A list of it goes along: `--remove` takes away what is on it, and nothing else.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, OnPath, Result};
use crate::run::build;
use crate::setup::apt::Privilege;
use crate::{book, process, say, workspace};

/// What `./x install` was asked for.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Below which directory
    #[arg(long, value_name = "DIR", default_value = "/usr/local")]
    prefix: PathBuf,
    /// Write to this directory as if it were /: for packages
    #[arg(long, value_name = "DIR", default_value = "/")]
    destdir: PathBuf,
    /// Leave out the book
    #[arg(long)]
    no_book: bool,
    /// Remove what was installed; images and containers stay
    #[arg(long)]
    remove: bool,
}

/// The list of what was installed, below the prefix.
const LIST: &str = "share/corten/installed";

/// Installs Corten, or removes it.
///
/// # Errors
/// Where the prefix is no absolute path, something cannot be built or written, or there are no rights.
pub fn run(options: &Options) -> Result<()> {
    if !options.prefix.is_absolute() {
        return Err(Error::failed("--prefix is an absolute path, as in /usr/local"));
    }
    let below = options.prefix.strip_prefix("/").unwrap_or(&options.prefix);
    let place = options.destdir.join(below);
    if options.remove {
        return remove(&place);
    }
    build("corten")?;
    let stage = workspace::scratch("stage")?;
    fs::remove_dir_all(&stage).on("empty", &stage)?;
    let release = workspace::target().join("release");
    let programs = [release.join("corten"), release.join("corten-supervisor")];
    make_ready(&programs, &options.prefix, &stage)?;
    if !options.no_book {
        book::run(book::Action::Build, None)?;
        let built = workspace::root().join("book/build");
        let to = stage.join("share/doc/corten/book");
        copy_tree(&built, &to)?;
    }
    write_list(&stage)?;
    let privilege = Privilege::here();
    process::run(privilege.command("mkdir").arg("-p").arg(&place))?;
    // A program that runs keeps its file: the new one gets the name.
    let mut copy = privilege.command("cp");
    copy.args(["-a", "--no-preserve=ownership", "--remove-destination"]);
    process::run(copy.arg(stage.join(".")).arg(&place))?;
    say!(
        "installed below {}: corten, corten-supervisor, completions, manual pages, units",
        place.display()
    );
    say!(
        "the daemon, for docker and its like: systemctl daemon-reload && systemctl enable --now corten.socket"
    );
    say!("all of it away again: ./x install{} --remove", options.place());
    Ok(())
}

impl Options {
    /// The options that say where, as they must be said again.
    fn place(&self) -> String {
        let said = |name: &str, path: &Path, usual: &str| match path == Path::new(usual) {
            true => String::new(),
            false => format!(" --{name} {}", path.display()),
        };
        said("prefix", &self.prefix, "/usr/local") + &said("destdir", &self.destdir, "/")
    }
}

/// Puts all but the book where it belongs below `stage`.
fn make_ready(programs: &[PathBuf], prefix: &Path, stage: &Path) -> Result<()> {
    let put = |to: &str, content: &[u8], mode: u32| -> Result<()> {
        let path = stage.join(to);
        let directory = path.parent().unwrap_or(stage);
        fs::create_dir_all(directory).on("make", directory)?;
        fs::write(&path, content).on("write", &path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).on("chmod", &path)
    };
    for program in programs {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        put(&format!("bin/{name}"), &fs::read(program).on("read", program)?, 0o755)?;
    }
    let Some(corten) = programs.first() else { return Ok(()) };
    for (shell, place) in [
        ("bash", "share/bash-completion/completions/corten"),
        ("zsh", "share/zsh/site-functions/_corten"),
        ("fish", "share/fish/vendor_completions.d/corten.fish"),
    ] {
        let script = process::read(Command::new(corten).args(["completion", shell]))?;
        put(place, script.as_bytes(), 0o644)?;
    }
    process::run(Command::new(corten).arg("man").arg(stage.join("share/man/man1")))?;
    for unit in ["corten.service", "corten.socket"] {
        let path = workspace::root().join("dist").join(unit);
        let text = fs::read_to_string(&path).on("read", &path)?;
        let program = prefix.join("bin/corten");
        let text = text.replace("/usr/bin/corten", &program.to_string_lossy());
        put(&format!("lib/systemd/system/{unit}"), text.as_bytes(), 0o644)?;
    }
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).on("make", to)?;
    process::run(Command::new("cp").args(["-r"]).arg(from.join(".")).arg(to))
}

/// Every file of the stage, by its path below it.
fn write_list(stage: &Path) -> Result<()> {
    let list = stage.join(LIST);
    let directory = list.parent().unwrap_or(stage);
    fs::create_dir_all(directory).on("make", directory)?;
    let mut files = vec![LIST.to_owned()];
    let mut open = vec![stage.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).on("list", &directory)?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if let Ok(below) = path.strip_prefix(stage) {
                files.push(below.to_string_lossy().into_owned());
            }
        }
    }
    files.sort();
    fs::write(&list, files.join("\n") + "\n").on("write", &list)
}

/// Removes the files of the list, and the directories that are empty then.
fn remove(place: &Path) -> Result<()> {
    let list = place.join(LIST);
    let text = fs::read_to_string(&list).map_err(|error| {
        Error::failed(format!(
            "nothing that ./x install has written is below {}: {error}",
            place.display()
        ))
    })?;
    let inside = |name: &&str| {
        let path = Path::new(name);
        path.is_relative()
            && path.components().all(|part| matches!(part, std::path::Component::Normal(_)))
    };
    let files: Vec<PathBuf> = text.lines().filter(inside).map(|name| place.join(name)).collect();
    let privilege = Privilege::here();
    for some in files.chunks(100) {
        process::run(privilege.command("rm").args(["-f", "--"]).args(some))?;
    }
    let mut directories: Vec<&Path> =
        files.iter().flat_map(|file| file.ancestors().skip(1)).collect();
    directories.retain(|directory| {
        directory.starts_with(place) && *directory != place && directory.exists()
    });
    // Inner ones first.
    directories.sort_by_key(|directory| std::cmp::Reverse(directory.components().count()));
    directories.dedup();
    for some in directories.chunks(100) {
        let mut rmdir = privilege.command("rmdir");
        process::run(rmdir.args(["--ignore-fail-on-non-empty", "--"]).args(some))?;
    }
    say!("removed; what is in /var/lib/corten, images and containers, stays");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says what it was asked for, in the place of the real program.
    const STAND_IN: &str = "#!/bin/sh\n[ \"$1\" = man ] && mkdir -p \"$2\" && echo page > \"$2/corten.1\"\necho \"$*\"\n";

    #[test]
    fn where_it_is_must_be_said_again_only_where_it_is_not_usual() {
        let place = |prefix: &str, destdir: &str| {
            let (prefix, destdir) = (prefix.into(), destdir.into());
            Options { prefix, destdir, no_book: true, remove: false }.place()
        };
        assert_eq!(place("/usr/local", "/"), "");
        assert_eq!(place("/opt", "/tmp/x"), " --prefix /opt --destdir /tmp/x");
    }

    #[test]
    fn what_was_installed_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("corten");
        fs::write(&program, STAND_IN).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let stage = dir.path().join("place");
        make_ready(std::slice::from_ref(&program), Path::new("/opt/corten"), &stage).unwrap();
        write_list(&stage).unwrap();
        let read = |name: &str| fs::read_to_string(stage.join(name)).unwrap();
        assert_eq!(read("share/zsh/site-functions/_corten"), "completion zsh\n");
        assert!(
            read("lib/systemd/system/corten.service")
                .contains("ExecStart=/opt/corten/bin/corten daemon")
        );
        assert!(read(LIST).contains("share/man/man1/corten.1\n"));
        fs::write(stage.join("bin/other"), "").unwrap();
        // A list that somebody has changed leads nowhere else.
        let outside = dir.path().join("outside");
        fs::write(&outside, "").unwrap();
        fs::write(stage.join(LIST), read(LIST) + "../outside\n" + outside.to_str().unwrap() + "\n")
            .unwrap();
        remove(&stage).unwrap();
        let left: Vec<_> =
            fs::read_dir(&stage).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(left, ["bin"]);
        assert!(stage.join("bin/other").exists() && outside.exists());
        let again = remove(&stage).unwrap_err().to_string();
        assert!(again.contains("nothing that ./x install has written"), "{again}");
    }
}
