//! The changes between two whole trees, for the drivers that keep those.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;

use corten_namespaces::{Context, Root};
use nix::fcntl::OFlag;

use super::link::Groups;
use super::{Change, Sink, made, root, same_type};
use crate::archive::Kind;
use crate::error::Result;
use crate::node::{self, Attributes};
use crate::walk::{Found, Place, Visit, Walk, names, open_directory};

// ANCHOR: of_trees
/// Tells how `new` differs from `old`.
///
/// # Errors
/// What the kernel or the sink answers.
pub fn of_trees(old: &Root, new: &Root, sink: &mut dyn Sink) -> Result<()> {
    root(new, Some(old), sink)?;
    let mut compare =
        Compare { old, new, before: Place::new(old), groups: [Groups::of(old)?, Groups::of(new)?] };
    compare.deleted(Path::new(""), sink)?;
    let mut walk = Walk::new(new);
    while let Some(visit) = walk.next()? {
        let Visit::Node(found) = visit else { continue };
        let was = compare.before.look(&found.path)?;
        let same = match &was {
            Some(was) => compare.same(was, &found)?,
            None => false,
        };
        if !same {
            let first = compare.groups[1].first(&found, &found.path);
            sink.change(Change::Made(made(&found, &found, was.is_some(), first)?))?;
        }
        if found.is_directory() && was.is_some_and(|was| was.is_directory()) {
            compare.deleted(&found.path, sink)?;
        }
    }
    Ok(())
}
// ANCHOR_END: of_trees

struct Compare<'a> {
    old: &'a Root,
    new: &'a Root,
    before: Place<'a>,
    /// Files with several names, in the old and in the new tree.
    groups: [Groups; 2],
}

impl Compare<'_> {
    /// Tells which names of the old directory `path` the new one has no more.
    fn deleted(&self, path: &Path, sink: &mut dyn Sink) -> Result<()> {
        let list = |tree| -> Result<Vec<OsString>> {
            Ok(names(open_directory(tree, path)?.as_fd()).on("read", path)?)
        };
        let (old, new) = (list(self.old)?, list(self.new)?);
        for name in old {
            if new.binary_search(&name).is_err() {
                sink.change(Change::Deleted(&path.join(name)))?;
            }
        }
        Ok(())
    }

    /// Whether a layer would have nothing to say about the node.
    fn same(&self, was: &Found, is: &Found) -> Result<bool> {
        if !same_type(&was.stat, &is.stat) || Attributes::of(was)? != Attributes::of(is)? {
            return Ok(false);
        }
        match (node::kind(was)?, node::kind(is)?) {
            // A link needs its target in the same layer, so all names of a file go together.
            _ if self.groups[0].names(was) != self.groups[1].names(is) => Ok(false),
            (Kind::File { size: old }, Kind::File { size: new }) => {
                Ok(old == new && (untouched(was, is) || same_content(was, is)?))
            }
            (old, new) => Ok(old == new),
        }
    }
}

/// A snapshot keeps inode numbers and the times at which inodes have changed, which nobody can set.
fn untouched(was: &Found, is: &Found) -> bool {
    let time = |found: &Found| (found.stat.st_ctime, found.stat.st_ctime_nsec);
    was.stat.st_ino == is.stat.st_ino && time(was) == time(is)
}

fn same_content(was: &Found, is: &Found) -> Result<bool> {
    let mut old = File::from(was.open(OFlag::O_RDONLY)?);
    let mut new = File::from(is.open(OFlag::O_RDONLY)?);
    let mut buffers = [vec![0; 64 * 1024], vec![0; 64 * 1024]];
    let [a, b] = &mut buffers;
    loop {
        let length = fill(&mut old, a).map_err(node::errno).on("read", &was.path)?;
        let other = fill(&mut new, b).map_err(node::errno).on("read", &is.path)?;
        if a[..length] != b[..other] {
            return Ok(false);
        }
        if length == 0 {
            return Ok(true);
        }
    }
}

fn fill(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..])? {
            0 => break,
            length => filled += length,
        }
    }
    Ok(filled)
}
