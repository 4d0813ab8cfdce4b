//! What a container has changed: from overlay's upper directory, or by comparing two trees.
//!
//! The order depends on the names alone, and what does not belong to the change (access times, inode
//! numbers, the names of users) is not told. So the same change gives the same layer, byte for byte,
//! whenever and wherever it is packed.

mod compare;
mod layer;
mod link;
mod pack;
mod upper;

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use corten_namespaces::{Context, Root};
use nix::fcntl::OFlag;
use nix::sys::stat::FileStat;

pub use compare::of_trees;
pub use layer::{LayerWriter, Written};
pub use pack::{Packing, pack, pack_all, pack_as};
pub(crate) use upper::{By, of_upper};

use crate::archive::Kind;
use crate::error::{Error, Result};
use crate::node::{self, Attributes};
use crate::path::EntryPath;
use crate::walk::{Found, root_fd};

/// One change. A directory comes before what is in it.
pub enum Change<'a> {
    /// This node is new, or other than it was.
    Made(Node<'a>),
    /// Nothing is here any more.
    Deleted(&'a Path),
    /// Nothing of what was in this directory is there any more; it was told just before.
    Emptied(&'a Path),
}

/// Takes the changes one after the other.
pub trait Sink {
    /// Takes one.
    ///
    /// # Errors
    /// Whatever the sink likes; it ends the diff.
    fn change(&mut self, change: Change<'_>) -> Result<()>;
}

/// A node that is new or other than it was.
pub struct Node<'a> {
    pub(crate) path: &'a Path,
    pub(crate) kind: Kind,
    pub(crate) attributes: Attributes,
    pub(crate) existed: bool,
    /// Where its content is: not always where its attributes are.
    source: Option<&'a Found>,
}

impl Node<'_> {
    /// Its path; empty for the root.
    pub fn path(&self) -> &Path {
        self.path
    }

    /// What it is. Of several names of one file, the first is the file and the others are links.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Whether something of that name was there before.
    pub fn existed(&self) -> bool {
        self.existed
    }

    /// Its mode, owner and group.
    pub fn permissions(&self) -> (u32, u32, u32) {
        (self.attributes.mode, self.attributes.uid, self.attributes.gid)
    }

    /// The content of a regular file.
    ///
    /// # Errors
    /// Where it cannot be opened.
    pub fn open(&self) -> Result<File> {
        let none = || Error::Invalid {
            what: self.path.display().to_string(),
            why: "has no content".into(),
        };
        Ok(File::from(self.source.ok_or_else(none)?.open(OFlag::O_RDONLY)?))
    }
}

/// A list of changes as `docker diff` prints them.
#[derive(Debug, Default)]
pub struct Listing {
    /// `A` for what is new, `C` for what is other than it was, `D` for what is gone; and the path
    /// from the root.
    pub lines: Vec<(char, PathBuf)>,
}

impl Sink for Listing {
    fn change(&mut self, change: Change<'_>) -> Result<()> {
        let root = Path::new("/");
        match change {
            Change::Made(node) => {
                let letter = if node.existed { 'C' } else { 'A' };
                self.lines.push((letter, root.join(node.path)));
            }
            Change::Deleted(path) => self.lines.push(('D', root.join(path))),
            Change::Emptied(_) => {}
        }
        Ok(())
    }
}

/// The root directory as a node, where it is other than the old one.
fn root(new: &Root, old: Option<&Root>, sink: &mut dyn Sink) -> Result<()> {
    let attributes = Attributes::of_directory(root_fd(new)?.as_fd()).on("stat", new.label())?;
    if let Some(old) = old {
        let before = Attributes::of_directory(root_fd(old)?.as_fd()).on("stat", old.label())?;
        if before == attributes {
            return Ok(());
        }
    }
    let (path, kind) = (Path::new(""), Kind::Directory);
    let node = Node { path, kind, attributes, existed: old.is_some(), source: None };
    sink.change(Change::Made(node))
}

/// A node that was found, as a change; `first` is the first name of the file.
fn made<'a>(
    found: &'a Found,
    content: &'a Found,
    existed: bool,
    first: Option<&Path>,
) -> Result<Node<'a>> {
    let kind = match first {
        Some(first) => Kind::HardLink(EntryPath::trusted(first)),
        None => node::kind(found)?,
    };
    let attributes = Attributes::of(found)?;
    Ok(Node { path: &found.path, kind, attributes, existed, source: Some(content) })
}

/// Whether `stat` is of the same type.
fn same_type(a: &FileStat, b: &FileStat) -> bool {
    const TYPE: u32 = libc::S_IFMT;
    a.st_mode & TYPE == b.st_mode & TYPE
}

/// Tells all of the tree below `root` as new.
///
/// # Errors
/// What the kernel or the sink answers.
pub fn of_tree(tree: &Root, sink: &mut dyn Sink) -> Result<()> {
    root(tree, None, sink)?;
    upper::everything(tree, Path::new(""), &mut link::Links::default(), sink)
}
