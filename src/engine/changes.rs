//! What a container has changed in its root, as `docker diff` tells it.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use corten_namespaces::Root;
use corten_unionfs::diff::{Change, Sink};
use nix::fcntl::{AtFlags, OFlag};
use nix::libc;
use nix::sys::stat::{FileStat, Mode, fstatat};

use super::Engine;
use super::error::{At, Result};
use super::state::Record;

/// What has become of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// It is other than it was, or something below it is.
    Modified,
    /// It is new.
    Added,
    /// It is gone.
    Deleted,
}

impl Changed {
    /// As `docker diff` writes it.
    pub fn letter(self) -> char {
        match self {
            Changed::Modified => 'C',
            Changed::Added => 'A',
            Changed::Deleted => 'D',
        }
    }

    /// As Docker's API writes it.
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// Where the engine mounts in every container. What is missing there is made in the container's
/// root for it, and is no change of the container's.
const MOUNTED: [&str; 6] = ["dev", "proc", "sys", "etc/hosts", "etc/hostname", "etc/resolv.conf"];

/// Passes on what the container itself has changed.
pub(super) struct Own<'a, S: Sink> {
    /// Where to.
    pub(super) sink: &'a mut S,
    /// What was kept back.
    pub(super) mounted: Vec<PathBuf>,
}

impl<'a, S: Sink> Own<'a, S> {
    pub(super) fn new(sink: &'a mut S) -> Self {
        Own { sink, mounted: Vec::new() }
    }
}

impl<S: Sink> Sink for Own<'_, S> {
    fn change(&mut self, change: Change<'_>) -> corten_unionfs::Result<()> {
        if let Change::Made(node) = &change
            && !node.existed()
            && MOUNTED.iter().any(|path| node.path() == Path::new(path))
        {
            self.mounted.push(node.path().to_path_buf());
            return Ok(());
        }
        self.sink.change(change)
    }
}

/// Mode, owner and group.
type Permissions = (u32, u32, u32);

#[derive(Default)]
struct Listing {
    lines: BTreeMap<PathBuf, (Changed, Permissions)>,
    /// Directories that were removed and made again.
    emptied: Vec<PathBuf>,
}

impl Sink for Listing {
    fn change(&mut self, change: Change<'_>) -> corten_unionfs::Result<()> {
        match change {
            Change::Made(node) => {
                let kind = if node.existed() { Changed::Modified } else { Changed::Added };
                self.lines.insert(node.path().to_path_buf(), (kind, node.permissions()));
            }
            Change::Deleted(path) => {
                self.lines.insert(path.to_path_buf(), (Changed::Deleted, (0, 0, 0)));
            }
            Change::Emptied(path) => self.emptied.push(path.to_path_buf()),
        }
        Ok(())
    }
}

impl Engine {
    /// What a container has changed, by path; also while it runs.
    ///
    /// # Errors
    /// [`super::Error::NoSuchContainer`]; what the kernel answers.
    pub fn changes(&self, name_or_id: &str) -> Result<Vec<(Changed, PathBuf)>> {
        let (record, _) = self.containers.find(name_or_id)?;
        let mut listing = Listing::default();
        let mut own = Own::new(&mut listing);
        self.diff(&record, &mut own)?;
        let mounted = own.mounted;
        let before = Root::from_fd(self.tree(&record.layers, None)?, "/");
        for path in std::mem::take(&mut listing.emptied) {
            listing.tell_deleted(&before, &path)?;
        }
        listing.forget_made_room(&before, &mounted)?;
        Ok(listing.finish())
    }

    /// Tells `sink` what a container has changed.
    pub(super) fn diff(&self, record: &Record, sink: &mut dyn Sink) -> Result<()> {
        let layers = self.lower_dirs(&record.layers)?;
        let directory = self.containers.directory_of(&record.id);
        Ok(self.layers.driver().diff(&layers, &directory, sink)?)
    }
}

impl Listing {
    /// Tells what was in a directory before it was removed and made again.
    fn tell_deleted(&mut self, before: &Root, path: &Path) -> Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let directory = before.open_at(path, flags, Mode::empty())?;
        let mut entries = nix::dir::Dir::from_fd(directory).at("read", path)?;
        let mut names = Vec::new();
        for entry in entries.iter() {
            let entry = entry.at("read", path)?;
            let name = std::os::unix::ffi::OsStrExt::from_bytes(entry.file_name().to_bytes());
            let name: &std::ffi::OsStr = name;
            if name != "." && name != ".." {
                names.push(path.join(name));
            }
        }
        for path in names {
            match self.lines.get(&path) {
                None => {
                    self.lines.insert(path, (Changed::Deleted, (0, 0, 0)));
                }
                Some((Changed::Modified, _)) if is_directory(before, &path)? => {
                    self.tell_deleted(before, &path)?;
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// A directory in which the engine has made room for its own files has another time than it had,
    /// and that is all.
    fn forget_made_room(&mut self, before: &Root, mounted: &[PathBuf]) -> Result<()> {
        for parent in mounted.iter().filter_map(|path| path.parent()) {
            if let Some((Changed::Added, now)) = self.lines.get(parent).copied() {
                // It was not there before either: what is its own is only what else is in it.
                let has_more =
                    self.lines.keys().any(|path| path != parent && path.starts_with(parent));
                match has_more {
                    true => self.lines.insert(parent.to_owned(), (Changed::Modified, now)),
                    false => self.lines.remove(parent),
                };
                continue;
            }
            let Some((Changed::Modified, now)) = self.lines.get(parent) else { continue };
            let was = stat(before, parent)?;
            let was = was.map(|was| (was.st_mode & 0o7777, was.st_uid, was.st_gid));
            if was.as_ref() == Some(now) {
                self.lines.remove(parent);
            }
        }
        Ok(())
    }

    /// With the directories above each change, and without the root.
    fn finish(mut self) -> Vec<(Changed, PathBuf)> {
        let paths: Vec<PathBuf> = self.lines.keys().cloned().collect();
        for path in paths {
            for above in path.ancestors().skip(1) {
                self.lines.entry(above.to_path_buf()).or_insert((Changed::Modified, (0, 0, 0)));
            }
        }
        self.lines.remove(Path::new(""));
        let root = Path::new("/");
        self.lines.into_iter().map(|(path, (kind, _))| (kind, root.join(path))).collect()
    }
}

fn is_directory(root: &Root, path: &Path) -> Result<bool> {
    let stat = stat(root, path)?;
    Ok(stat.is_some_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFDIR))
}

fn stat(root: &Root, path: &Path) -> Result<Option<FileStat>> {
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let (parent, name) = root.parent(path)?;
    match fstatat(parent.as_fd(), name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(nix::errno::Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno).at("stat", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_above_a_change_has_changed() {
        let mut listing = Listing::default();
        for (path, kind) in [("a/b/c", Changed::Added), ("", Changed::Modified)] {
            listing.lines.insert(path.into(), (kind, (0, 0, 0)));
        }
        let lines: Vec<_> = listing
            .finish()
            .into_iter()
            .map(|(k, p)| format!("{} {}", k.letter(), p.display()))
            .collect();
        assert_eq!(lines, ["C /a", "C /a/b", "A /a/b/c"]);
    }

    /// An image without /etc gets one for what is mounted there.
    #[test]
    fn a_directory_that_was_made_for_a_mount_is_no_change() {
        let empty = tempfile::tempdir().unwrap();
        let before = Root::from_fd(std::fs::File::open(empty.path()).unwrap().into(), "/");
        let mounted = [PathBuf::from("etc/hosts"), PathBuf::from("etc/hostname")];
        for (more, wanted) in [(None, vec![]), (Some("etc/own"), vec!["C /etc", "A /etc/own"])] {
            let mut listing = Listing::default();
            for path in std::iter::once("etc").chain(more) {
                listing.lines.insert(path.into(), (Changed::Added, (0o755, 0, 0)));
            }
            listing.forget_made_room(&before, &mounted).unwrap();
            let lines = listing.finish().into_iter();
            let lines: Vec<_> =
                lines.map(|(kind, path)| format!("{} {}", kind.letter(), path.display())).collect();
            assert_eq!(lines, wanted);
        }
    }
}
