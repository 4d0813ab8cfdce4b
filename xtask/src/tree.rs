//! A copy of the checkout in which sources are changed and built: by the [mutants](crate::mutants), and
//! for the [labs](crate::lab), which leave tasks out or put students' functions in.
//!
//! It is in target/mutants, with a target directory of its own. Its first build is the costly part, so all
//! share one and take turns; only for what is tried at the same time there is another one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::{Flock, FlockArg};

use crate::error::{OnPath, Result};
use crate::{process, workspace};

mod features;

/// The copy of the checkout.
pub struct Tree {
    /// Its root.
    pub root: PathBuf,
    /// What cargo builds of it.
    pub target: PathBuf,
    /// Held as long as the tree is used: two would change each other's sources.
    _turn: Flock<fs::File>,
}

impl Tree {
    /// The first copy, as [`Tree::copy_of`] makes it.
    ///
    /// # Errors
    /// Where it cannot be copied.
    pub fn copy() -> Result<Tree> {
        Tree::copy_of(0)
    }

    /// Copies what git would commit. A file that is there with the same content is left alone, so
    /// that cargo builds only what has changed. Waits for whoever uses the copy of this `number`.
    ///
    /// # Errors
    /// Where it cannot be copied.
    pub fn copy_of(number: usize) -> Result<Tree> {
        let mut base = workspace::target().join("mutants");
        if number > 0 {
            base = base.join(number.to_string());
        }
        fs::create_dir_all(&base).on("create", &base)?;
        let path = base.join("lock");
        let lock = fs::File::create(&path).on("create", &path)?;
        let turn = Flock::lock(lock, FlockArg::LockExclusive)
            .map_err(|(_, errno)| std::io::Error::from(errno))
            .on("lock", &path)?;
        let tree = Tree { root: base.join("tree"), target: base.join("target"), _turn: turn };
        let instead = BTreeMap::from([(features::MANIFEST.to_owned(), features::unified()?)]);
        copy_checkout(&tree.root, &|_| true, &instead)?;
        share_others_crates(&tree.target)?;
        Ok(tree)
    }

    /// Cargo in the tree.
    pub fn cargo(&self) -> Command {
        cargo_in(&self.root, &self.target)
    }

    /// Puts something else into a file until the value that is given back goes.
    ///
    /// # Errors
    /// Where it cannot be read or written.
    pub fn replace(&self, file: &str, text: &str) -> Result<Replaced> {
        let path = self.root.join(file);
        let old = fs::read_to_string(&path).on("read", &path)?;
        fs::write(&path, text).on("write", &path)?;
        Ok(Replaced { path, old })
    }
}

/// A file of the tree that holds something else for a while.
pub struct Replaced {
    path: PathBuf,
    old: String,
}

impl Drop for Replaced {
    fn drop(&mut self) {
        // At the latest the next copy puts it right.
        let _ = fs::write(&self.path, &self.old);
    }
}

/// Cargo in a copy of the checkout.
pub fn cargo_in(root: &Path, target: &Path) -> Command {
    let mut cargo = workspace::cargo();
    cargo.current_dir(root).env("CARGO_TARGET_DIR", target);
    // Each of ours is built a hundred times and run once.
    cargo.env("CARGO_PROFILE_DEV_OPT_LEVEL", "0");
    cargo
}

/// Makes `to` a copy of what git would commit, as far as `wanted` says so of a name, with other texts in the
/// files that `instead` names; what else is there goes.
///
/// # Errors
/// Where a file cannot be read or written.
pub fn copy_checkout(
    to: &Path,
    wanted: &dyn Fn(&str) -> bool,
    instead: &BTreeMap<String, String>,
) -> Result<()> {
    let listing = process::read(
        Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(workspace::root()),
    )?;
    let mut copied = BTreeSet::new();
    for name in listing.split('\0').filter(|name| !name.is_empty() && wanted(name)) {
        let source = workspace::root().join(name);
        if source.is_file() {
            let content = match instead.get(name) {
                Some(text) => text.clone().into_bytes(),
                None => fs::read(&source).on("read", &source)?,
            };
            let content = if name == "Cargo.toml" { without_warnings(content) } else { content };
            copy_if_changed(&source, content, &to.join(name))?;
            copied.insert(PathBuf::from(name));
        }
    }
    remove_others(to, to, &copied)
}

/// Makes `to` a copy of the directory `from`, with other texts in the files that `instead` names; what cargo
/// or git keep there is left out.
///
/// # Errors
/// Where a file cannot be read or written.
pub fn mirror(from: &Path, to: &Path, instead: &BTreeMap<String, String>) -> Result<()> {
    let mut copied = BTreeSet::new();
    let mut open = vec![PathBuf::new()];
    while let Some(directory) = open.pop() {
        let path = from.join(&directory);
        for entry in fs::read_dir(&path).on("list", &path)?.flatten() {
            let name = directory.join(entry.file_name());
            let kind = entry.file_type().on("stat", &path)?;
            if kind.is_dir() {
                let is_kept = directory == Path::new("")
                    && ["target", ".git"].iter().any(|own| entry.file_name() == *own);
                if !is_kept {
                    open.push(name);
                }
            } else if kind.is_file() {
                let source = from.join(&name);
                let content = match instead.get(&name.display().to_string()) {
                    Some(text) => text.clone().into_bytes(),
                    None => fs::read(&source).on("read", &source)?,
                };
                copy_if_changed(&source, content, &to.join(&name))?;
                copied.insert(name);
            }
        }
    }
    remove_others(to, to, &copied)
}

/// What the workspace's build, or that of another copy, has made of crates that are not ours serves in
/// the target directory `to`, too.
///
/// # Errors
/// Where a directory cannot be made.
pub fn share_others_crates(to: &Path) -> Result<()> {
    let target = workspace::target();
    let mut from = vec![target.clone(), target.join("mutants/target")];
    let labs = fs::read_dir(target.join("lab")).into_iter().flatten().flatten();
    from.extend(labs.map(|lab| lab.path().join("target")));
    let debug = to.join("debug");
    if debug.exists() {
        return Ok(());
    }
    for part in [".fingerprint", "build", "deps"] {
        for from in from.iter().filter(|from| *from != to) {
            link_others_crates(&from.join("debug").join(part), &debug.join(part))?;
        }
    }
    Ok(())
}

/// Links what cargo has built of others' crates from the directory `from` to `to`. A file that cannot
/// be linked is built again.
fn link_others_crates(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).on("create", to)?;
    for entry in fs::read_dir(from).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let crate_name = name.to_string_lossy();
        let crate_name = crate_name.strip_prefix("lib").unwrap_or(&crate_name);
        if crate_name.starts_with("corten") || crate_name.starts_with("xtask") {
            continue;
        }
        let target = to.join(&name);
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            link_others_crates(&entry.path(), &target)?;
        } else {
            let _ = fs::hard_link(entry.path(), target);
        }
    }
    Ok(())
}

/// The workspace's manifest, with lints that say nothing: what a mutant leaves unused is not news.
/// (RUSTFLAGS would be for others' crates, too, which would then be built again.)
fn without_warnings(manifest: Vec<u8>) -> Vec<u8> {
    const LINTS: &str = "[workspace.lints.rust]\n";
    let quiet = format!("{LINTS}warnings = {{ level = \"allow\", priority = 1 }}\n");
    String::from_utf8_lossy(&manifest).replacen(LINTS, &quiet, 1).into_bytes()
}

fn copy_if_changed(from: &Path, content: Vec<u8>, to: &Path) -> Result<()> {
    if fs::read(to).is_ok_and(|old| old == content) {
        return Ok(());
    }
    let dir = to.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(dir).on("create", dir)?;
    fs::write(to, content).on("write", to)?;
    let permissions = fs::metadata(from).on("read", from)?.permissions();
    fs::set_permissions(to, permissions).on("chmod", to)
}

/// Removes the files below `dir` that are not `wanted`.
fn remove_others(root: &Path, dir: &Path, wanted: &BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).on("list", dir)?.flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_others(root, &path, wanted)?;
        } else if !path.strip_prefix(root).is_ok_and(|name| wanted.contains(name)) {
            fs::remove_file(&path).on("remove", &path)?;
        }
    }
    Ok(())
}
