//! The marks of what a layer takes away from the layers below, as its [`Marks`] say.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use corten_namespaces::{Context, Root};
use nix::errno::Errno;
use nix::unistd::UnlinkatFlags;

use super::Tree;
use crate::error::{Error, Result};
use crate::node;
use crate::walk::Place;
use crate::whiteout::{self, Marks};

/// What fails where [`Tree::unmark`] does.
pub(super) const UNMARK: &str = "remove the whiteout of";

impl Tree<'_> {
    // ANCHOR: marks
    pub(super) fn mark_deleted(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
    ) -> Result<()> {
        match self.options.marks {
            Marks::Overlay(_) => node::make_whiteout(parent, name),
            Marks::Files => {
                self.has_marks = true;
                node::make_mark(parent, &whiteout::hiding(name))
            }
        }
        .on("make the whiteout", path)
        .map_err(Error::from)
    }

    pub(super) fn make_opaque(&self, dir: &OwnedFd, path: &Path) -> Result<()> {
        match self.options.marks {
            Marks::Overlay(xattr) => node::set_xattr(dir.as_fd(), OsStr::new(xattr.opaque()), b"y"),
            Marks::Files => node::keeping_times(dir.as_fd(), || {
                node::make_mark(dir.as_fd(), OsStr::new(whiteout::OPAQUE_NAME))
            }),
        }
        .on("mark as opaque", path)
        .map_err(Error::from)
    }
    // ANCHOR_END: marks

    /// Takes away the file that marks `name` as deleted, now that something has that name. Tells
    /// whether there was one.
    pub(super) fn unmark(&self, parent: BorrowedFd<'_>, name: &OsStr) -> nix::Result<bool> {
        if !self.has_marks {
            return Ok(false);
        }
        let mark = whiteout::hiding(name);
        match nix::unistd::unlinkat(parent, mark.as_os_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT | Errno::ENAMETOOLONG) => Ok(false),
            Err(errno) => Err(errno),
        }
    }
}

/// Whether a file of the layer says that `path`, or a directory above it, is deleted.
pub(super) fn deletes(layer: &Root, path: &Path) -> Result<bool> {
    let mut place = Place::new(layer);
    for path in path.ancestors().filter(|path| path.file_name().is_some()) {
        if place.look(&whiteout::beside(path))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
