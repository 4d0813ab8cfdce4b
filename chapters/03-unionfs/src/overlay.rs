//! The overlay mount, detached.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::apply::OverlayXattr;
use crate::error::{Error, Result};

/// The two directories that overlay needs for writing, on one file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writable {
    /// Takes all changes.
    pub upper: PathBuf,
    /// Overlay's own, for making changes atomic.
    pub work: PathBuf,
}

impl Writable {
    /// `dir/upper` and `dir/work`, made where they are missing. A new upper directory takes the
    /// owner, mode, times and xattrs of the topmost layer's root, because it becomes the root.
    ///
    /// # Errors
    /// Where they cannot be made.
    pub fn prepare(dir: &Path, layers: &[PathBuf]) -> Result<Writable> {
        let _ = layers;
        Ok(Writable { upper: dir.join("upper"), work: dir.join("work") })
    }
}

/// An overlay mount to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// The layers, topmost first; at least one.
    pub lower: Vec<PathBuf>,
    /// Where changes go; the tree is read-only without it.
    pub writable: Option<Writable>,
    /// Which xattrs mark opaque directories.
    pub xattr: OverlayXattr,
}

impl Overlay {
    /// Makes the detached mount.
    ///
    /// # Errors
    /// [`Error::Overlay`] with the kernel's reason.
    pub fn mount(&self) -> Result<OwnedFd> {
        Err(Error::Invalid { what: "overlay".into(), why: "being written".into() })
    }
}
