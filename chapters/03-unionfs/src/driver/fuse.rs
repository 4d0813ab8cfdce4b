//! The driver that stacks layers with a program, where the kernel refuses to: on a state directory that
//! is an overlay itself, or in a user namespace of an old kernel.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use corten_namespaces::Root;

use super::{Driver, Layout, plain_directory};
use crate::diff::{self, By, Sink};
use crate::error::Result;
use crate::fuse::{FuseOverlay, PROGRAM};
use crate::overlay::Writable;

/// fuse-overlayfs. Every look at a file goes through one program for each mount, so it is slower than
/// overlay; it takes as little room.
#[derive(Debug, Default, Clone, Copy)]
pub struct FuseDriver;

impl Driver for FuseDriver {
    fn name(&self) -> &'static str {
        PROGRAM
    }

    fn layout(&self) -> Layout {
        Layout::Changes
    }

    /// What is written under one of several names it puts into the upper directory under another (1.10 and
    /// 1.14), where the next mount does not find it.
    fn keeps_links(&self) -> bool {
        false
    }

    fn begin(&self, dir: &Path, _parent: Option<&Path>) -> Result<()> {
        plain_directory(dir)
    }

    fn mount(&self, layers: &[PathBuf], writable: Option<&Path>) -> Result<OwnedFd> {
        let writable = writable.map(|dir| Writable::prepare(dir, layers)).transpose()?;
        FuseOverlay { lower: layers, writable: writable.as_ref() }.mount()
    }

    fn diff(&self, layers: &[PathBuf], writable: &Path, sink: &mut dyn Sink) -> Result<()> {
        let upper = writable.join("upper");
        if !upper.exists() {
            // It was never mounted.
            return Ok(());
        }
        let old = Root::from_fd(self.mount(layers, None)?, "the layers");
        diff::of_upper(&Root::open(&upper)?, &By::Fuse, &old, sink)
    }
}
