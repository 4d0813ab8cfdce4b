//! What a builder has changed in a tree becomes a layer, without being unpacked again: the upper
//! directory of overlay is what unpacking the layer would make.

use std::fs;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use corten_namespaces::{Context, Root};
use nix::errno::Errno;
use nix::unistd::UnlinkatFlags;

use super::temporary::{Temporary, open_dir, sync_dir};
use super::{DIFF, Layer, LayerStore};
use crate::archive::Kind;
use crate::diff::{Change, LayerWriter, Sink, Written};
use crate::digest::ChainId;
use crate::driver::{self, Driver, Layout};
use crate::error::{Error, Result};
use crate::node;
use crate::whiteout::Marks;

/// A layer that was written, and is not in the store yet.
#[derive(Debug, Clone)]
pub struct Packed {
    /// What was written.
    pub written: Written,
    /// What is in the directory and in no layer.
    left_out: Vec<PathBuf>,
}

/// Notes what a layer leaves out.
struct Noting<'a, W: Write> {
    writer: &'a mut LayerWriter<W>,
    left_out: Vec<PathBuf>,
}

impl<W: Write> Sink for Noting<'_, W> {
    fn change(&mut self, change: Change<'_>) -> Result<()> {
        if let Change::Made(node) = &change
            && *node.kind() == Kind::Socket
        {
            self.left_out.push(node.path().to_path_buf());
        }
        self.writer.change(change)
    }
}

impl LayerStore {
    /// The driver for trees whose changes become layers: as the store's own, but every file that is
    /// changed is there whole, and no directory refers to another one.
    pub fn build_driver(&self) -> Box<dyn Driver> {
        driver::named(self.build_driver_name()).unwrap_or_else(|| driver::whole_overlay())
    }

    /// The name by which a supervisor finds [`LayerStore::build_driver`].
    pub fn build_driver_name(&self) -> &'static str {
        match self.driver.name() {
            "overlay" => driver::WHOLE_OVERLAY,
            other => other,
        }
    }

    /// What to mount for the tree of `parent`, or for an empty one.
    ///
    /// # Errors
    /// As [`LayerStore::lower_dirs`].
    pub fn lowers(&self, parent: Option<&ChainId>) -> Result<Vec<PathBuf>> {
        let Some(parent) = parent else {
            let path = self.path.join(".empty");
            let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(&path);
            made.map_err(node::errno).on("mkdir", &path)?;
            return Ok(vec![path]);
        };
        self.lower_dirs(parent)
    }

    /// Writes what has changed in `writable` since [`LayerStore::build_driver`] mounted it on
    /// `parent`, as a plain tar stream.
    ///
    /// # Errors
    /// What the kernel or `to` answers.
    pub fn pack<W: Write>(
        &self,
        parent: Option<&ChainId>,
        writable: &Path,
        to: W,
    ) -> Result<(W, Packed)> {
        let lowers = self.lowers(parent)?;
        let mut writer = LayerWriter::new(to);
        let mut sink = Noting { writer: &mut writer, left_out: Vec::new() };
        self.build_driver().diff(&lowers, writable, &mut sink)?;
        let left_out = sink.left_out;
        let (to, written) = writer.finish()?;
        Ok((to, Packed { written, left_out }))
    }

    // ANCHOR: adopt
    /// Puts what [`LayerStore::pack`] has written into the store by moving the directory there; the
    /// tree must not be mounted any more. `None` where it cannot be moved (another driver, another
    /// file system): then the layer must be unpacked. What fuse-overlayfs has written it marks in
    /// several ways, and at the bottom too; unpacked, it is like any other layer.
    ///
    /// One syncfs(2) brings it to the disk, with all that was written to that file system before.
    ///
    /// # Errors
    /// What the kernel answers; nothing is left then.
    pub fn adopt(
        &self,
        parent: Option<&ChainId>,
        writable: &Path,
        packed: &Packed,
    ) -> Result<Option<Layer>> {
        if self.driver.layout() != Layout::Changes || self.driver.marks() == Marks::Files {
            return Ok(None);
        }
        let Written { diff_id, entries, bytes: size } = packed.written;
        let chain_id = ChainId::of(parent, &diff_id);
        let _lease = self.lease(&[chain_id])?;
        if let Some(layer) = self.get(&chain_id)? {
            return Ok(Some(layer));
        }
        let temporary = Temporary::grave(&self.path, &*self.driver)?;
        let (upper, diff) = (writable.join("upper"), temporary.path.join(DIFF));
        match fs::rename(&upper, &diff).map_err(node::errno) {
            Ok(()) => {}
            Err(Errno::EXDEV) => return Ok(None),
            Err(errno) => return Err(errno).on("rename", &upper).map_err(Error::from),
        }
        let root = Root::open(&diff)?;
        for path in &packed.left_out {
            let (directory, name) = root.parent(path)?;
            nix::unistd::unlinkat(&directory, name.as_os_str(), UnlinkatFlags::NoRemoveDir)
                .on("unlink", path)?;
        }
        let parent = parent.copied();
        let layer = Layer { chain_id, diff_id, parent, entries, size, opaque_root: false };
        temporary.describe(&layer)?;
        nix::unistd::syncfs(open_dir(&self.path)?).on("syncfs", &self.path)?;
        temporary.publish(&self.directory(&chain_id))?;
        sync_dir(&self.path)?;
        Ok(Some(layer))
    }
    // ANCHOR_END: adopt
}
