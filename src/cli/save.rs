//! `corten save`.

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use corten_namespaces::error::Context;

use crate::engine::{Engine, Error, Result};

#[derive(Debug, Args)]
pub(super) struct Save {
    /// Write into this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Names or ids
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

impl Save {
    pub(super) fn execute(&self, engine: &Engine) -> Result<()> {
        let Some(path) = &self.output else {
            if std::io::stdout().is_terminal() {
                let why = "an archive is not for a terminal: use -o FILE, or redirect it";
                return Err(Error::invalid("save", why));
            }
            let mut out = BufWriter::new(std::io::stdout().lock());
            engine.store().save(&self.images, &mut out)?;
            return Ok(out.flush().during("write to standard output")?);
        };
        // The name is given to what is complete only.
        let part = path.with_extension("part");
        let result = write(engine, &self.images, &part)
            .and_then(|()| Ok(std::fs::rename(&part, path).on("rename to", path)?));
        if result.is_err() {
            let _ = std::fs::remove_file(&part);
        }
        result
    }
}

fn write(engine: &Engine, images: &[String], part: &Path) -> Result<()> {
    let mut out = BufWriter::new(File::create(part).on("create", part)?);
    engine.store().save(images, &mut out)?;
    out.flush().on("write", part)?;
    Ok(out.get_ref().sync_all().on("fsync", part)?)
}
