//! The driver that works on every file system: each layer and each container has a tree of its own.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use corten_namespaces::Root;

use super::{Driver, Layout, bind, diff_of_own_tree, own_tree, plain_directory, topmost};
use crate::copy::copy_tree;
use crate::diff::Sink;
use crate::error::Result;

/// Copies. On a file system that shares blocks between files that costs time for each file, but no
/// room; on others it costs both.
#[derive(Debug, Default, Clone, Copy)]
pub struct CopyDriver;

impl CopyDriver {
    fn copied(dir: &Path, from: &Path) -> Result<()> {
        plain_directory(dir)?;
        copy_tree(&Root::open(from)?, &Root::open(dir.join("diff"))?).map(drop)
    }
}

impl Driver for CopyDriver {
    fn name(&self) -> &'static str {
        "copy"
    }

    fn layout(&self) -> Layout {
        Layout::Whole
    }

    fn begin(&self, dir: &Path, parent: Option<&Path>) -> Result<()> {
        match parent {
            None => plain_directory(dir),
            Some(parent) => CopyDriver::copied(dir, &parent.join("diff")),
        }
    }

    fn mount(&self, layers: &[PathBuf], writable: Option<&Path>) -> Result<OwnedFd> {
        let top = topmost(layers)?;
        let Some(writable) = writable else { return bind(top, true) };
        let make = |dir: &Path| CopyDriver::copied(dir, top);
        bind(&own_tree(writable, |dir| self.discard(dir), make)?, false)
    }

    fn diff(&self, layers: &[PathBuf], writable: &Path, sink: &mut dyn Sink) -> Result<()> {
        diff_of_own_tree(layers, writable, sink)
    }
}
