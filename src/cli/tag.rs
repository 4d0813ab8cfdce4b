//! `corten tag`.

use clap::Args;
use corten_daemon::backend::Backend;
use corten_registry::Reference;

use crate::cli::{Error, Result};
use crate::engine::Engine;

#[derive(Debug, Args)]
pub(super) struct Tag {
    /// An image's name or id
    #[arg(value_name = "IMAGE")]
    source: String,
    /// The further name, which is taken from the image that has it
    #[arg(value_name = "NAME[:TAG]")]
    target: String,
}

impl Tag {
    pub(super) fn execute(&self, engine: &Engine) -> Result<()> {
        Ok(engine.tag(&self.source, &self.name()?)?)
    }

    /// The same of a daemon's image.
    pub(super) fn remote(&self, engine: &dyn Backend) -> Result<()> {
        let name = self.name()?;
        Ok(engine.tag(&self.source, &name.name(), name.tag().unwrap_or_default())?)
    }

    fn name(&self) -> Result<Reference> {
        let name = Reference::parse(&self.target)?;
        if name.digest().is_some() {
            return Err(Error::invalid(
                &self.target,
                "a name with a digest cannot be given: write NAME:TAG",
            ));
        }
        Ok(name)
    }
}
