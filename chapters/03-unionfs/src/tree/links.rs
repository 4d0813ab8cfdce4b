//! Names that an archive says are one file.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

use corten_namespaces::Context;
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::Mode;

use super::marks::UNMARK;
use super::{Tree, leads_nowhere};
use crate::copy::copy_node;
use crate::error::{Error, Result};
use crate::node::{self, Attributes};
use crate::path::EntryPath;
use crate::walk::{DIRECTORY, Found, identity};
use crate::whiteout;

impl Tree<'_> {
    pub(super) fn hard_link(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &EntryPath,
        target: &EntryPath,
    ) -> Result<()> {
        let refused = |why: String| Error::Refused { entry: path.shown(), why };
        let missing = || {
            let target = target.shown();
            refused(format!("it is a hard link to {target}, which this layer has not made before"))
        };
        let Some(target_name) = target.name() else {
            return Err(refused("a hard link to the layer's root".into()));
        };
        if whiteout::marked(target_name).is_some() {
            return Err(missing());
        }
        let to = match self.root.open_at(target.parent(), DIRECTORY, Mode::empty()) {
            Ok(fd) => fd,
            Err(error) if leads_nowhere(&error) => {
                return Err(missing());
            }
            Err(error) => return Err(error.into()),
        };
        let stat = node::look(to.as_fd(), target_name).on("stat", target.as_path())?;
        let stat = stat.ok_or_else(missing)?;
        if node::is_directory(&stat) {
            return Err(refused("it is a hard link to a directory".into()));
        }
        if self.options.separate_names {
            let original = Found { dir: Rc::new(to), path: target.as_path().to_path_buf(), stat };
            return self.copy_of(&original, parent, name, path);
        }
        // No flag: a symbolic link gets a second name itself, it is not followed.
        let link = || nix::unistd::linkat(&to, target_name, parent, name, AtFlags::empty());
        match link() {
            Err(Errno::EEXIST) => {
                let existing = node::look(parent, name).on("stat", path.as_path())?;
                if existing.is_some_and(|found| found.st_ino == stat.st_ino) {
                    return Ok(());
                }
                self.replacing(path, parent, name, link)
            }
            made => {
                made.on("link", path.as_path())?;
                self.unmark(parent, name).on(UNMARK, path.as_path())?;
                Ok(())
            }
        }
    }

    /// Makes a file like `original`, for a driver that mistakes names of one file for each other.
    fn copy_of(
        &mut self,
        original: &Found,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &EntryPath,
    ) -> Result<()> {
        match node::look(parent, name).on("stat", path.as_path())? {
            // A link to itself.
            Some(found) if identity(&found) == identity(&original.stat) => return Ok(()),
            Some(_) => self.remove(parent, name, path.as_path())?,
            None => {}
        }
        let attributes = Attributes::of(original)?;
        copy_node(original, &attributes, parent, name, &mut self.share, &mut self.copied)?;
        self.unmark(parent, name).on(UNMARK, path.as_path())?;
        let limit = self.options.limits.max_bytes;
        if self.copied.bytes > limit {
            return Err(Error::Limit { what: "bytes", limit });
        }
        Ok(())
    }
}
