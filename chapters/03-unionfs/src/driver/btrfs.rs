//! The driver for btrfs: each layer and each container is a subvolume, made as a snapshot of the one
//! below, which takes the same short time whatever is in it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use corten_namespaces::{Context, Root};
use nix::errno::Errno;

use super::{Driver, Layout, bind, diff_of_own_tree, own_tree, parent_of, topmost, tree_directory};
use crate::copy::copy_tree;
use crate::diff::Sink;
use crate::error::{Error, Result};
use crate::remove::remove_tree;
use crate::sys;
use crate::walk::root_fd;

/// Snapshots of btrfs.
#[derive(Debug, Default, Clone, Copy)]
pub struct BtrfsDriver;

impl BtrfsDriver {
    // ANCHOR: snapshot
    /// Makes `dir` a snapshot of the subvolume `from`, whose tree is in `diff`. Where `from` is an
    /// ordinary directory, its tree is copied into a new subvolume.
    fn snapshot(dir: &Path, from: &Path) -> Result<()> {
        let (parent, name) = parent_of(dir)?;
        let origin = root_fd(&Root::open(from)?)?;
        match sys::snapshot(parent.as_fd(), name, origin.as_fd()) {
            Err(Errno::EINVAL) => {
                BtrfsDriver::empty(dir)?;
                let (from, to) = (Root::open(from.join("diff"))?, Root::open(dir.join("diff"))?);
                copy_tree(&from, &to).map(drop)
            }
            other => other.on("make a snapshot", dir).map_err(Error::from),
        }
    }
    // ANCHOR_END: snapshot

    fn empty(dir: &Path) -> Result<()> {
        let (parent, name) = parent_of(dir)?;
        sys::create_subvolume(parent.as_fd(), name).on("make a subvolume", dir)?;
        tree_directory(dir)
    }
}

impl Driver for BtrfsDriver {
    fn name(&self) -> &'static str {
        "btrfs"
    }

    fn layout(&self) -> Layout {
        Layout::Whole
    }

    fn begin(&self, dir: &Path, parent: Option<&Path>) -> Result<()> {
        match parent {
            None => BtrfsDriver::empty(dir),
            Some(parent) => BtrfsDriver::snapshot(dir, parent),
        }
    }

    fn mount(&self, layers: &[PathBuf], writable: Option<&Path>) -> Result<OwnedFd> {
        let top = topmost(layers)?;
        let Some(writable) = writable else { return bind(top, true) };
        let make = |dir: &Path| {
            // The layer's subvolume holds its tree, unless it is a directory of somebody else's.
            match top.parent().filter(|_| top.ends_with("diff")) {
                Some(layer) => BtrfsDriver::snapshot(dir, layer),
                None => {
                    BtrfsDriver::empty(dir)?;
                    copy_tree(&Root::open(top)?, &Root::open(dir.join("diff"))?).map(drop)
                }
            }
        };
        bind(&own_tree(writable, |dir| self.discard(dir), make)?, false)
    }

    fn diff(&self, layers: &[PathBuf], writable: &Path, sink: &mut dyn Sink) -> Result<()> {
        diff_of_own_tree(layers, writable, sink)
    }

    fn discard(&self, dir: &Path) -> Result<()> {
        let (parent, name) = parent_of(dir)?;
        match sys::destroy_subvolume(parent.as_fd(), name) {
            Ok(()) => Ok(()),
            // An ordinary directory, or one with subvolumes in it.
            Err(Errno::EINVAL | Errno::ENOTEMPTY | Errno::ENOTTY | Errno::EPERM) => {
                remove_tree(parent.as_fd(), name).on("remove", dir).map_err(Error::from)
            }
            Err(errno) => Err(errno).on("remove", dir).map_err(Error::from),
        }
    }
}
