//! `corten commit`.

use clap::{ArgAction, Args};
use corten_daemon::backend::{Backend, Commit as Wanted};
use corten_registry::Reference;
use serde_json::Value;

use super::print;
use crate::cli::Result;
use crate::engine::{Engine, commit};

#[derive(Debug, Args)]
pub(super) struct Commit {
    /// Who made it
    #[arg(short, long, default_value = "")]
    author: String,
    /// Set part of the configuration by a Dockerfile instruction: CMD, ENTRYPOINT, ENV, EXPOSE,
    /// LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    changes: Vec<String>,
    /// A comment for the image's history
    #[arg(short, long, default_value = "")]
    message: String,
    /// Let the container stand still meanwhile
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_value = "true", default_missing_value = "true", action = ArgAction::Set)]
    pause: bool,
    /// The same as --pause=false
    #[arg(long)]
    no_pause: bool,
    /// Its name or id
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// The image's name
    #[arg(value_name = "REF")]
    reference: Option<String>,
}

impl Commit {
    pub(super) fn execute(&self, engine: &Engine) -> Result<()> {
        let name = self.reference.as_deref().map(Reference::parse).transpose()?;
        let image = engine.commit(
            &self.container,
            &commit::Commit {
                name,
                author: self.author.clone(),
                message: self.message.clone(),
                changes: self.changes.clone(),
                pause: self.pause && !self.no_pause,
                config: None,
            },
        )?;
        print(&format!("{}\n", image.id))
    }

    /// The same of a daemon's container.
    pub(super) fn remote(&self, engine: &dyn Backend) -> Result<()> {
        let name = self.reference.as_deref().map(Reference::parse).transpose()?;
        let id = engine.commit(&Wanted {
            container: self.container.clone(),
            repo: name.as_ref().map(Reference::name).unwrap_or_default(),
            tag: name.as_ref().and_then(Reference::tag).unwrap_or_default().to_owned(),
            comment: self.message.clone(),
            author: self.author.clone(),
            pause: self.pause && !self.no_pause,
            changes: self.changes.clone(),
            config: Value::Null,
        })?;
        print(&format!("{id}\n"))
    }
}
