//! `corten tag`.

use clap::Args;
use corten_registry::Reference;

use crate::engine::{Engine, Error, Result};

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
        let name = Reference::parse(&self.target)?;
        if name.digest().is_some() {
            return Err(Error::invalid(
                &self.target,
                "a name with a digest cannot be given: write NAME:TAG",
            ));
        }
        engine.tag(&self.source, &name)
    }
}
