//! `corten export`.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;
use corten_daemon::backend::Backend;
use corten_namespaces::error::Context;

use crate::cli::{Error, Result};
use crate::engine::Engine;

#[derive(Debug, Args)]
pub(super) struct Export {
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Its name or id
    #[arg(value_name = "CONTAINER")]
    container: String,
}

impl Export {
    pub(super) fn execute(&self, engine: &Engine) -> Result<()> {
        // Whoever asks for no container keeps the file that is there.
        let look = || Ok(engine.containers().find(&self.container).map(drop)?);
        self.put(look, |out| Ok(engine.export(&self.container, out)?))
    }

    /// The same of a daemon's container.
    pub(super) fn remote(&self, engine: &dyn Backend) -> Result<()> {
        let look = || Ok(engine.inspect(&self.container, false).map(drop)?);
        self.put(look, |out| Ok(engine.export(&self.container)?(out)?))
    }

    /// Has the archive written to where it was asked for.
    fn put(
        &self,
        look: impl FnOnce() -> Result<()>,
        export: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<()> {
        let Some(path) = &self.output else {
            if std::io::stdout().is_terminal() {
                return Err(Error::refused(
                    "cowardly refusing to save to a terminal. Use the -o flag or redirect",
                ));
            }
            return export(&mut std::io::stdout());
        };
        look()?;
        let mut part = path.clone().into_os_string();
        part.push(".part");
        let part = PathBuf::from(part);
        let mut file = File::create(&part).on("create", &part)?;
        match export(&mut file) {
            Ok(()) => Ok(std::fs::rename(&part, path).on("rename to", path)?),
            Err(error) => {
                // The error that is on its way says more than a failure to clean up would.
                let _ = std::fs::remove_file(&part);
                Err(error)
            }
        }
    }
}
