//! A container as one archive.

use std::io::{BufWriter, Write};
use std::path::Path;

use corten_unionfs::diff::{LayerWriter, of_tree};

use super::Engine;
use super::copy::of_archive;
use super::error::{At, Result};
use super::files::Scope;

impl Engine {
    /// Writes the whole tree of a container as a tar stream, with hard links, xattrs and holes, and
    /// without what is mounted in it: `corten import` makes an image of that.
    ///
    /// # Errors
    /// [`super::Error::NoSuchContainer`]; what the kernel or `to` answers. The stream has no end then.
    pub fn export(&self, name_or_id: &str, to: impl Write) -> Result<()> {
        let files = self.files(name_or_id, Scope::Root)?;
        let mut archive = LayerWriter::new(BufWriter::with_capacity(64 << 10, to));
        of_tree(files.root(), &mut archive).map_err(of_archive)?;
        let (mut to, _) = archive.finish().map_err(of_archive)?;
        to.flush().at("write", Path::new("the archive"))?;
        files.note("export");
        Ok(())
    }
}
