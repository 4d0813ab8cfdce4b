//! Putting the changes of a layer into a whole tree, for the drivers that have one directory per
//! layer and not a stack of them.
//!
//! A layer is always unpacked the same way, into an empty directory with marks. Here that directory is
//! emptied into the tree: what it deletes is removed, what it has is moved.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use corten_namespaces::{Context, Root};
use nix::errno::Errno;
use nix::sys::stat::{self, Mode};

use crate::error::{Error, Result};
use crate::node::{self, Attributes};
use crate::overlay::OverlayXattr;
use crate::remove::remove_tree;
use crate::walk::{Found, Place, Visit, Walk, names, root_fd};
use crate::whiteout;

/// fuse-overlayfs's own, where it may set neither of overlay's.
const FUSE_OPAQUE: &str = "user.fuseoverlayfs.opaque";

// ANCHOR: merge
/// Moves all that is in `changes` into `tree`, on the same file system. `changes` is of no use
/// afterwards.
///
/// # Errors
/// What the kernel answers, with the path in the tree.
pub fn merge(changes: &Root, tree: &Root, hides_all: bool) -> Result<()> {
    let root = Attributes::of_directory(root_fd(changes)?.as_fd()).on("stat", changes.label())?;
    if hides_all {
        empty(root_fd(tree)?.as_fd()).on("empty", tree.label())?;
    }
    let mut merge = Merge { place: Place::new(tree), directories: Vec::new() };
    let mut walk = Walk::marked(changes);
    while let Some(visit) = walk.next()? {
        match visit {
            Visit::Node(found) if node::is_whiteout(&found.stat) => merge.delete(&found)?,
            Visit::Node(found) if found.is_directory() => merge.enter(&found)?,
            Visit::Node(found) => merge.take(&found)?,
            Visit::Leave(path) => merge.leave(&path)?,
        }
    }
    let fd = root_fd(tree)?;
    node::clear_xattrs(fd.as_fd()).on("remove xattrs of", tree.label())?;
    node::dress_wholly(fd.as_fd(), &root).on("set the attributes of", tree.label())?;
    Ok(())
}
// ANCHOR_END: merge

struct Merge<'a> {
    place: Place<'a>,
    directories: Vec<Attributes>,
}

impl Merge<'_> {
    fn delete(&mut self, found: &Found) -> Result<()> {
        let dir = self.place.at(found.parent())?;
        remove(dir.as_fd(), found.name()).on("delete", &found.path).map_err(Error::from)
    }

    fn enter(&mut self, found: &Found) -> Result<()> {
        let path = found.path.as_path();
        // Before anything is moved out of it, which changes its times.
        self.directories.push(Attributes::of(found)?);
        let dir = self.place.at(found.parent())?;
        let (dir, name) = (dir.as_fd(), found.name());
        match node::look(dir, name).on("stat", path)? {
            Some(stat) if node::is_directory(&stat) => {
                if is_opaque(found, true)? {
                    let fd = node::open_dir(dir, name).on("open", path)?;
                    empty(fd.as_fd()).on("empty", path)?;
                }
                return Ok(());
            }
            Some(_) => remove(dir, name).on("replace", path)?,
            None => {}
        }
        stat::mkdirat(dir, name, Mode::S_IRWXU).on("mkdir", path).map_err(Error::from)
    }

    fn take(&mut self, found: &Found) -> Result<()> {
        let (path, name) = (found.path.as_path(), found.name());
        let dir = self.place.at(found.parent())?;
        let rename = || nix::fcntl::renameat(found.dir.as_fd(), name, dir.as_fd(), name);
        match rename() {
            // A file over a directory; rename(2) replaces only what is of its kind.
            Err(Errno::EISDIR | Errno::ENOTEMPTY | Errno::EEXIST) => {
                remove(dir.as_fd(), name).on("replace", path)?;
                rename()
            }
            other => other,
        }
        .on("move", path)
        .map_err(Error::from)
    }

    fn leave(&mut self, path: &Path) -> Result<()> {
        let Some(attributes) = self.directories.pop() else { return Ok(()) };
        let fd = self.place.at(path)?;
        node::clear_xattrs(fd.as_fd()).on("remove xattrs of", path)?;
        node::dress_wholly(fd.as_fd(), &attributes)
            .on("set the attributes of", path)
            .map_err(Error::from)
    }
}

/// Whether a directory hides what the layers below have in it; with `files`, a file may say so.
pub(crate) fn is_opaque(found: &Found, files: bool) -> Result<bool> {
    let path = found.proc_path();
    let names = [OverlayXattr::Trusted.opaque(), OverlayXattr::User.opaque(), FUSE_OPAQUE];
    for name in names.into_iter().filter(|&name| files || name != FUSE_OPAQUE) {
        match xattr::get(&path, name).map_err(node::errno) {
            Ok(Some(value)) if value == b"y" => return Ok(true),
            Ok(_) | Err(Errno::EOPNOTSUPP) => {}
            Err(errno) => return Err(errno).on("read xattrs of", &found.path).map_err(Error::from),
        }
    }
    if !files {
        return Ok(false);
    }
    let dir = node::open_dir(found.dir.as_fd(), found.name()).on("open", &found.path)?;
    let mark = node::look(dir.as_fd(), whiteout::OPAQUE_NAME.as_ref()).on("stat", &found.path)?;
    Ok(mark.is_some())
}

fn remove(dir: BorrowedFd<'_>, name: &OsStr) -> nix::Result<()> {
    match remove_tree(dir, name) {
        Err(Errno::ENOENT) => Ok(()),
        other => other,
    }
}

fn empty(dir: BorrowedFd<'_>) -> nix::Result<()> {
    names(dir)?.iter().try_for_each(|name| remove(dir, name))
}
