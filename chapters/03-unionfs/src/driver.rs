//! What a way of stacking layers must be able to do.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::apply::OverlayXattr;
use crate::error::Result;
use crate::overlay::{Overlay, Writable};

/// A way of making one tree of several layers.
pub trait Driver {
    /// The name that `corten info` shows.
    fn name(&self) -> &'static str;

    /// The merged tree of `layers` (unpacked, topmost first) as a detached mount: it is nowhere in
    /// the file system until move_mount(2) puts it somewhere, and goes away with its descriptor.
    ///
    /// With `writable`, a directory of the container, changes go there (the driver makes what it
    /// needs in it and finds it again the next time); without, the tree is read-only.
    ///
    /// # Errors
    /// What the kernel answers, with its reason.
    fn mount(&self, layers: &[PathBuf], writable: Option<&Path>) -> Result<OwnedFd>;
}

/// The kernel's overlay file system.
#[derive(Debug, Default, Clone, Copy)]
pub struct OverlayDriver {
    /// How the layers were unpacked.
    pub xattr: OverlayXattr,
}

impl Driver for OverlayDriver {
    fn name(&self) -> &'static str {
        "overlay"
    }

    fn mount(&self, layers: &[PathBuf], writable: Option<&Path>) -> Result<OwnedFd> {
        let writable = writable.map(|dir| Writable::prepare(dir, layers)).transpose()?;
        Overlay { lower: layers.to_vec(), writable, xattr: self.xattr }.mount()
    }
}
