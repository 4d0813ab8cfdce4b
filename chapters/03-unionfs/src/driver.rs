//! What a way of making one tree of many layers must be able to do, and the four ways there are.
//!
//! Overlay keeps in a layer's directory only what the layer changes, and lets the kernel stack the
//! directories; fuse-overlayfs does the same with a program. The others keep the whole tree in it, as
//! the layer leaves it: btrfs as a snapshot of the tree below, the plain copy as a copy. Whichever it is,
//! a layer is unpacked by the same code.

mod btrfs;
mod copy;
mod fuse;
mod probe;

use std::ffi::OsStr;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use corten_namespaces::sys::mount;
use corten_namespaces::{Context, Root};
use nix::sys::stat::Mode;

pub use btrfs::BtrfsDriver;
pub use copy::CopyDriver;
pub use fuse::FuseDriver;
pub use probe::{Probe, choose, named, probe};
pub(crate) use probe::{WHOLE_OVERLAY, whole_overlay};

use crate::diff::{self, By, Sink};
use crate::error::{Error, Result};
use crate::overlay::{Copyup, Overlay, OverlayXattr, Writable};
use crate::remove::remove_tree;
use crate::walk::root_fd;
use crate::whiteout::Marks;

/// What a layer's directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// What the layer changes, with marks for what it deletes.
    Changes,
    /// The tree of this layer and all below it.
    Whole,
}

// ANCHOR: driver
/// A way of making one tree of several layers.
///
/// A layer and a container each have a directory that the driver makes; what it puts there is its
/// own matter, but the tree or the changes of a layer are in `diff`.
pub trait Driver: fmt::Debug + Send + Sync {
    /// The name that `corten info` shows.
    fn name(&self) -> &'static str;

    /// What a layer's directory holds.
    fn layout(&self) -> Layout;

    /// How deletions are marked in what a layer changes.
    fn marks(&self) -> Marks {
        Marks::Files
    }

    /// Whether two names of a layer may be one file. Otherwise each gets a file of its own.
    fn keeps_links(&self) -> bool {
        true
    }

    /// Makes the directory `dir` with a directory `diff` in it, for a layer that stands on the layer
    /// of the directory `parent`.
    ///
    /// # Errors
    /// `EEXIST` where the name is taken, and what else the kernel answers.
    fn begin(&self, dir: &Path, parent: Option<&Path>) -> Result<()>;

    /// The merged tree of `layers` (their `diff` directories, topmost first) as a detached mount: it
    /// is nowhere in the file system until move_mount(2) puts it somewhere, and goes away with its
    /// descriptor.
    ///
    /// With `writable`, a directory of the container, changes go there (the driver makes what it
    /// needs in it and finds it again the next time); without, the tree is read-only.
    ///
    /// # Errors
    /// What the kernel answers, with its reason.
    fn mount(&self, layers: &[PathBuf], writable: Option<&Path>) -> Result<OwnedFd>;

    /// Tells `sink` what has changed in `writable` since it was first mounted on `layers`.
    ///
    /// # Errors
    /// What the kernel or the sink answers.
    fn diff(&self, layers: &[PathBuf], writable: &Path, sink: &mut dyn Sink) -> Result<()>;

    /// Removes a directory that [`Driver::begin`] made, with all that is in it.
    ///
    /// # Errors
    /// `ENOENT` where it is not there.
    fn discard(&self, dir: &Path) -> Result<()> {
        let (parent, name) = parent_of(dir)?;
        remove_tree(parent.as_fd(), name).on("remove", dir).map_err(Error::from)
    }
}
// ANCHOR_END: driver

/// The kernel's overlay file system.
#[derive(Debug, Default, Clone, Copy)]
pub struct OverlayDriver {
    /// How the layers are unpacked.
    pub xattr: OverlayXattr,
    /// How a file of a layer gets into the container's directory.
    pub copyup: Copyup,
}

impl Driver for OverlayDriver {
    fn name(&self) -> &'static str {
        "overlay"
    }

    fn layout(&self) -> Layout {
        Layout::Changes
    }

    fn marks(&self) -> Marks {
        Marks::Overlay(self.xattr)
    }

    fn begin(&self, dir: &Path, _parent: Option<&Path>) -> Result<()> {
        plain_directory(dir)
    }

    fn mount(&self, layers: &[PathBuf], writable: Option<&Path>) -> Result<OwnedFd> {
        let writable = writable.map(|dir| Writable::prepare(dir, layers)).transpose()?;
        let copyup = if writable.is_some() { self.copyup } else { Copyup::default() };
        Overlay { lower: layers.to_vec(), writable, xattr: self.xattr, copyup }.mount()
    }

    fn diff(&self, layers: &[PathBuf], writable: &Path, sink: &mut dyn Sink) -> Result<()> {
        let upper = writable.join("upper");
        if !upper.exists() {
            // It was never mounted.
            return Ok(());
        }
        let mut lower = vec![upper.clone()];
        lower.extend(layers.iter().cloned());
        let merged = Overlay { lower, writable: None, xattr: self.xattr, copyup: self.copyup };
        let merged = Root::from_fd(merged.mount()?, "the merged tree");
        let (lower, copyup) = (layers.to_vec(), Copyup::default());
        let old = Overlay { lower, writable: None, xattr: self.xattr, copyup };
        let old = Root::from_fd(old.mount()?, "the layers");
        diff::of_upper(&Root::open(&upper)?, &By::Kernel(&merged), &old, sink)
    }
}

/// Makes `dir` and, in it, `diff` for a tree.
pub(crate) fn plain_directory(dir: &Path) -> Result<()> {
    nix::unistd::mkdir(dir, Mode::S_IRWXU).on("mkdir", dir)?;
    tree_directory(dir)
}

/// Makes `diff` in `dir`.
pub(crate) fn tree_directory(dir: &Path) -> Result<()> {
    let diff = dir.join("diff");
    nix::unistd::mkdir(&diff, Mode::S_IRWXU).on("mkdir", &diff)?;
    // Whatever the umask: a layer without an entry for its root has this one.
    let mode = Mode::from_bits_truncate(0o755);
    let fd = root_fd(&Root::open(&diff)?)?;
    nix::sys::stat::fchmod(&fd, mode).on("chmod", &diff).map_err(Error::from)
}

/// The directory that holds `dir`, opened, and the name of `dir` in it.
pub(crate) fn parent_of(dir: &Path) -> Result<(OwnedFd, &OsStr)> {
    let no_name = || Error::Invalid { what: dir.display().to_string(), why: "has no name".into() };
    let name = dir.file_name().ok_or_else(no_name)?;
    let parent = dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((root_fd(&Root::open(parent)?)?, name))
}

/// A detached mount of the directory `tree`, for the drivers that have it whole.
pub(crate) fn bind(tree: &Path, read_only: bool) -> Result<OwnedFd> {
    let root = Root::open(tree)?;
    let fd =
        mount::clone_tree(root.as_fd().as_raw_fd(), c"", false).on("clone the mount of", tree)?;
    if read_only {
        let attributes = libc::MOUNT_ATTR_RDONLY;
        mount::setattr(fd.as_raw_fd(), c"", false, attributes, 0, 0).on("make read-only", tree)?;
    }
    Ok(fd)
}

/// The container's own tree in `writable`, made by `make` the first time. It has its name only when
/// it is complete.
pub(crate) fn own_tree(
    writable: &Path,
    discard: impl Fn(&Path) -> Result<()>,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let tree = writable.join("tree");
    if !tree.exists() {
        let unfinished = writable.join("tree.new");
        if unfinished.exists() {
            discard(&unfinished)?;
        }
        make(&unfinished)?;
        std::fs::rename(&unfinished, &tree)
            .map_err(crate::node::errno)
            .on("rename to", &tree)
            .map_err(Error::from)?;
    }
    Ok(tree.join("diff"))
}

/// What has changed in the tree that [`own_tree`] has made; nothing where it has not yet.
pub(crate) fn diff_of_own_tree(
    layers: &[PathBuf],
    writable: &Path,
    sink: &mut dyn Sink,
) -> Result<()> {
    let tree = writable.join("tree/diff");
    if !tree.exists() {
        return Ok(());
    }
    diff::of_trees(&Root::open(topmost(layers)?)?, &Root::open(tree)?, sink)
}

/// The tree that a driver with whole trees mounts: that of the topmost layer.
pub(crate) fn topmost(layers: &[PathBuf]) -> Result<&Path> {
    let none = || Error::Invalid { what: "layers".into(), why: "at least one is needed".into() };
    layers.first().map(PathBuf::as_path).ok_or_else(none)
}
