//! `corten save`.

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use corten_daemon::backend::Backend;
use corten_namespaces::error::Context;
use corten_registry::Platform;

use super::remote;
use crate::cli::{Error, Result};
use crate::engine::Engine;

#[derive(Debug, Args)]
pub(super) struct Save {
    /// Write into this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Of each name the images for these platforms, in one archive; of several, with their index
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_delimiter = ',')]
    platform: Vec<Platform>,
    /// Names or ids
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

impl Save {
    pub(super) fn execute(&self, engine: &Engine) -> Result<()> {
        self.put(|out| Ok(engine.store().save_for(&self.images, &self.platform, out)?))
    }

    /// The same of a daemon's images.
    pub(super) fn remote(&self, engine: &dyn Backend) -> Result<()> {
        let platforms = remote::platforms(&self.platform);
        self.put(|out| Ok(engine.save(&self.images, &platforms)?(out)?))
    }

    /// Has the archive written to where it was asked for.
    fn put(&self, save: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
        let Some(path) = &self.output else {
            if std::io::stdout().is_terminal() {
                let why = "an archive is not for a terminal: use -o FILE, or redirect it";
                return Err(Error::invalid("save", why));
            }
            let mut out = BufWriter::new(std::io::stdout().lock());
            save(&mut out)?;
            return Ok(out.flush().during("write to standard output")?);
        };
        // The name is given to what is complete only.
        let part = path.with_extension("part");
        let result = write(save, &part)
            .and_then(|()| Ok(std::fs::rename(&part, path).on("rename to", path)?));
        if result.is_err() {
            let _ = std::fs::remove_file(&part);
        }
        result
    }
}

fn write(save: impl FnOnce(&mut dyn Write) -> Result<()>, part: &Path) -> Result<()> {
    let mut out = BufWriter::new(File::create(part).on("create", part)?);
    save(&mut out)?;
    out.flush().on("write", part)?;
    Ok(out.get_ref().sync_all().on("fsync", part)?)
}
