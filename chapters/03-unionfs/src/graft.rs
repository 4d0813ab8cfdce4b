//! Copying a part of one tree into another: what `COPY` of a builder does.
//!
//! Neither tree is trusted. What is copied is walked with open directories, and where it goes to is
//! resolved inside the target's root; below that no link is followed, whatever stands in the way.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use corten_namespaces::{Context, Root};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{self, FileStat, Mode};
use nix::unistd::UnlinkatFlags;

use crate::archive::Kind;
use crate::copy::{Copied, copy_content};
use crate::error::{Error, Result};
use crate::node::{self, Attributes};
use crate::remove::remove_tree;
use crate::walk::{Found, Place, Visit, Walk, identity};

/// What is done with a node of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It is copied.
    Yes,
    /// A directory that is only copied where something in it is.
    Inside,
    /// Neither it nor what is below.
    No,
}

/// A node of a source tree.
pub struct Node<'a> {
    found: &'a Found,
    kind: Kind,
    below: &'a Path,
}

impl Node<'_> {
    /// Its path below what is copied.
    pub fn path(&self) -> &Path {
        self.below
    }

    /// What it is.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// What stat(2) says.
    pub fn stat(&self) -> &FileStat {
        &self.found.stat
    }

    /// Its content, where it is a regular file.
    ///
    /// # Errors
    /// Where it cannot be opened, or is another file by now.
    pub fn open(&self) -> Result<File> {
        Ok(File::from(self.found.open(OFlag::O_RDONLY)?))
    }

    /// The xattrs that are copied.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub fn xattrs(&self) -> Result<Vec<(std::ffi::OsString, Vec<u8>)>> {
        Ok(carried(Attributes::of(self.found)?).xattrs)
    }
}

/// Tells all that is below the directory `path` of `from`, in the order of its names, but what `seen`
/// leaves out; paths are given to it from the root of `from`.
///
/// # Errors
/// What the kernel or `each` answers.
pub fn look(
    from: &Root,
    path: &Path,
    seen: &dyn Fn(&Path, bool) -> Seen,
    each: &mut dyn FnMut(&Node<'_>) -> Result<()>,
) -> Result<()> {
    let mut walk = Walk::below(from, path);
    // Directories that count only with something in them.
    let mut waiting: Vec<Found> = Vec::new();
    while let Some(visit) = walk.next()? {
        let found = match visit {
            Visit::Node(found) => found,
            Visit::Leave(left) => {
                waiting.retain(|found| found.path != left);
                continue;
            }
        };
        match seen(&found.path, found.is_directory()) {
            Seen::No => {
                if found.is_directory() {
                    walk.skip();
                }
                continue;
            }
            Seen::Inside => {
                waiting.push(found);
                continue;
            }
            Seen::Yes => {}
        }
        for found in waiting.drain(..).chain([found]) {
            let below = found.path.strip_prefix(path).unwrap_or(&found.path).to_path_buf();
            each(&Node { kind: node::kind(&found)?, found: &found, below: &below })?;
        }
    }
    Ok(())
}

/// What `path` of `from` itself is; a link is not followed.
///
/// # Errors
/// What the kernel or `each` answers.
pub fn look_at(
    from: &Root,
    path: &Path,
    each: &mut dyn FnMut(&Node<'_>) -> Result<()>,
) -> Result<()> {
    let found = Place::new(from).look(path)?.ok_or(Errno::ENOENT).on("stat", path)?;
    let below = PathBuf::from(path.file_name().unwrap_or_default());
    each(&Node { kind: node::kind(&found)?, found: &found, below: &below })
}

/// Only rights that a file carries in itself, and what users have written to it.
fn carried(mut attributes: Attributes) -> Attributes {
    attributes.xattrs.retain(|(name, _)| {
        let name = name.as_encoded_bytes();
        name == b"security.capability" || name.starts_with(b"user.")
    });
    attributes
}

/// How to copy.
pub struct Graft<'a> {
    /// Where to.
    pub to: &'a Root,
    /// Whose all of it shall be; without, everything stays its owner's.
    pub owner: Option<(u32, u32)>,
    /// Whose directories are that are made on the way.
    pub parents: (u32, u32),
    /// The mode that a node with this one gets; it is told whether it is a directory.
    pub mode: &'a dyn Fn(u32, bool) -> u32,
    /// A directory never takes the place of something else, nor something else that of a directory.
    pub keep_kinds: bool,
    /// Where a file with several names was copied to.
    links: HashMap<(u64, u64), (PathBuf, PathBuf)>,
    share: bool,
    copied: Copied,
}

impl<'a> Graft<'a> {
    /// Copies to `to`, owned by `owner`, as the directories on the way are.
    pub fn new(to: &'a Root, owner: (u32, u32), mode: &'a dyn Fn(u32, bool) -> u32) -> Graft<'a> {
        let (links, copied) = (HashMap::new(), Copied::default());
        let (parents, owner) = (owner, Some(owner));
        Graft { to, owner, parents, mode, keep_kinds: true, links, share: true, copied }
    }

    /// How much was copied.
    pub fn copied(&self) -> Copied {
        self.copied
    }

    /// Makes the directory `at` and those above it, as far as they are missing. Links on the way are
    /// followed inside the root.
    ///
    /// # Errors
    /// `ENOTDIR` where something else is in the way.
    pub fn make(&self, at: &Path) -> Result<()> {
        let mut walked = PathBuf::from("/");
        for part in at.components() {
            let std::path::Component::Normal(name) = part else { continue };
            let parent = walked.clone();
            walked.push(name);
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
            match self.to.open_at(&walked, flags, Mode::empty()) {
                Ok(_) => continue,
                Err(error) if error.errno() == Some(Errno::ENOENT) => {}
                Err(error) => return Err(error.into()),
            }
            let parent = self.to.open_at(&parent, flags, Mode::empty())?;
            match stat::mkdirat(&parent, name, Mode::S_IRWXU) {
                Ok(()) => {}
                Err(Errno::EEXIST) => {
                    // A link that leads to nothing: what it names is made.
                    let target = nix::fcntl::readlinkat(&parent, name).on("mkdir", &walked)?;
                    let above = walked.parent().unwrap_or(Path::new("/"));
                    self.make(&above.join(target))?;
                    continue;
                }
                Err(errno) => return Err(errno).on("mkdir", &walked).map_err(Error::from),
            }
            let made = node::open_dir(parent.as_fd(), name).on("open", &walked)?;
            let (uid, gid) = self.parents;
            nix::unistd::fchown(&made, Some(uid.into()), Some(gid.into())).on("chown", &walked)?;
            let mode = Mode::from_bits_truncate(0o755);
            stat::fchmod(&made, mode).on("chmod", &walked)?;
        }
        Ok(())
    }

    // ANCHOR: graft
    /// Copies what is in the directory `path` of `from` into the directory `at`, which is made where it
    /// is missing.
    ///
    /// # Errors
    /// [`Error::Overwrite`] with [`Graft::keep_kinds`]; what the kernel answers. What was copied until
    /// then stays.
    pub fn directory(
        &mut self,
        from: &Root,
        path: &Path,
        at: &Path,
        seen: &dyn Fn(&Path, bool) -> Seen,
    ) -> Result<()> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let is_new = self.to.open_at(at, flags, Mode::empty()).is_err();
        self.make(at)?;
        if let (true, Some((uid, gid))) = (is_new, self.owner) {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
            let made = self.to.open_at(at, flags, Mode::empty())?;
            nix::unistd::fchown(&made, Some(uid.into()), Some(gid.into())).on("chown", at)?;
        }
        let base = self.to.open_at(at, OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty())?;
        let base = Root::from_fd(base, at);
        let mut place = Place::new(&base);
        let mut times = Vec::new();
        look(from, path, seen, &mut |node| {
            let below = node.path();
            let parent = place.at(below.parent().unwrap_or(Path::new("")))?;
            let name = below.file_name().unwrap_or_default();
            if node.kind == Kind::Directory {
                times.push((below.to_path_buf(), self.enter(parent.as_fd(), name, node)?));
                return Ok(());
            }
            self.leaf(parent.as_fd(), name, node, (at, below))
        })?;
        // Making entries in a directory has changed its times.
        for (below, time) in times.iter().rev() {
            let fd = place.at(below)?;
            stat::futimens(&*fd, time, time).on("set the times of", below)?;
        }
        Ok(())
    }
    // ANCHOR_END: graft

    /// Copies `path` of `from`, which is no directory, to `at`. What is above `at` is made where it is
    /// missing.
    ///
    /// # Errors
    /// As [`Graft::directory`].
    pub fn file(&mut self, from: &Root, path: &Path, at: &Path) -> Result<()> {
        let parent = at.parent().unwrap_or(Path::new("/"));
        self.make(parent)?;
        let (directory, name) = self.to.parent(at)?;
        look_at(from, path, &mut |node| {
            self.leaf(directory.as_fd(), &name, node, (parent, Path::new(&name)))
        })
    }

    fn attributes(&self, found: &Found) -> Result<Attributes> {
        let mut attributes = carried(Attributes::of(found)?);
        if let Some(owner) = self.owner {
            (attributes.uid, attributes.gid) = owner;
        }
        attributes.mode = (self.mode)(attributes.mode, found.is_directory());
        Ok(attributes)
    }

    fn enter(
        &self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        node: &Node<'_>,
    ) -> Result<nix::sys::time::TimeSpec> {
        let old = node::look(parent, name).on("stat", node.below)?;
        if !old.as_ref().is_some_and(node::is_directory) {
            self.clear(parent, name, node, old.is_some())?;
            stat::mkdirat(parent, name, Mode::S_IRWXU).on("mkdir", node.below)?;
        }
        let attributes = self.attributes(node.found)?;
        let fd = node::open_dir(parent, name).on("open", node.below)?;
        node::dress_wholly(fd.as_fd(), &attributes).on("set the attributes of", node.below)?;
        Ok(node::time_spec(attributes.mtime))
    }

    /// Makes room for a node.
    fn clear(
        &self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        node: &Node<'_>,
        there: bool,
    ) -> Result<()> {
        if !there {
            return Ok(());
        }
        if self.keep_kinds && node.kind == Kind::Directory {
            let why = format!("cannot copy to non-directory: {}", node.below.display());
            return Err(Error::Overwrite { why });
        }
        match nix::unistd::unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => return Ok(()),
            Err(Errno::EISDIR) => {}
            Err(errno) => return Err(errno).on("replace", node.below).map_err(Error::from),
        }
        if self.keep_kinds {
            let why = format!("cannot replace the directory {} with a file", node.below.display());
            return Err(Error::Overwrite { why });
        }
        remove_tree(parent, name).on("replace", node.below).map_err(Error::from)
    }

    /// Copies what is no directory; `place` is the directory that all goes to, and the path below.
    fn leaf(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        node: &Node<'_>,
        place: (&Path, &Path),
    ) -> Result<()> {
        let (below, found) = (node.below, node.found);
        let there = node::look(parent, name).on("stat", below)?.is_some();
        self.clear(parent, name, node, there)?;
        if found.stat.st_nlink > 1 {
            let (at, path) = (place.0.to_path_buf(), place.1.to_path_buf());
            if let Some((at, first)) = self.links.get(&identity(&found.stat)) {
                let base =
                    self.to.open_at(at, OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty())?;
                let (directory, first) = Root::from_fd(base, at).parent(first)?;
                let flags = AtFlags::empty();
                return nix::unistd::linkat(&directory, first.as_os_str(), parent, name, flags)
                    .on("link", below)
                    .map_err(Error::from);
            }
            self.links.insert(identity(&found.stat), (at, path));
        }
        let attributes = self.attributes(found)?;
        match &node.kind {
            Kind::File { size } => {
                let from = node.open()?;
                let file = File::from(node::make_file(parent, name).on("make", below)?);
                copy_content(&from, &file, *size, &mut self.share, &mut self.copied)
                    .on("copy", below)?;
                node::dress_wholly(file.as_fd(), &attributes)
            }
            kind => {
                node::make_node(parent, name, kind, attributes.mode).on("make", below)?;
                node::dress_node(parent, name, kind, &attributes)
            }
        }
        .on("set the attributes of", below)
        .map_err(Error::from)
    }
}
