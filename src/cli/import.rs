//! `corten import`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use clap::Args;
use corten_daemon::backend::{Backend, Import as Wanted};
use corten_namespaces::error::Context;
use corten_registry::Reference;

use super::print;
use crate::cli::Result;
use crate::engine::Engine;

#[derive(Debug, Args)]
pub(super) struct Import {
    /// Set part of the configuration by a Dockerfile instruction: CMD, ENTRYPOINT, ENV, EXPOSE,
    /// LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    changes: Vec<String>,
    /// A comment for the image's history
    #[arg(short, long, default_value = "")]
    message: String,
    /// A tar archive of a root file system, plain or gzip; - is standard input
    file: String,
    /// The image's name
    #[arg(value_name = "REF")]
    reference: Option<String>,
}

impl Import {
    pub(super) fn execute(&self, engine: &Engine) -> Result<()> {
        let name = self.reference.as_deref().map(Reference::parse).transpose()?;
        let message = match self.message.as_str() {
            "" => format!("Imported from {}", self.file),
            message => message.to_owned(),
        };
        let image = if self.file == "-" {
            let mut archive = std::io::stdin().lock();
            engine.import(&mut archive, name.as_ref(), &self.changes, &message, None)?
        } else {
            let mut archive = File::open(&self.file).on("open", Path::new(&self.file))?;
            engine.import(&mut archive, name.as_ref(), &self.changes, &message, None)?
        };
        print(&format!("{}\n", image.id))
    }

    /// The same for a daemon, which is sent the archive.
    pub(super) fn remote(&self, engine: &dyn Backend) -> Result<()> {
        let name = self.reference.as_deref().map(Reference::parse).transpose()?;
        let is_elsewhere = self.file.contains("://");
        let wanted = Wanted {
            source: if is_elsewhere { self.file.clone() } else { "-".to_owned() },
            repo: name.as_ref().map(Reference::name).unwrap_or_default(),
            tag: name.as_ref().and_then(Reference::tag).unwrap_or_default().to_owned(),
            message: match self.message.as_str() {
                "" => format!("Imported from {}", self.file),
                message => message.to_owned(),
            },
            changes: self.changes.clone(),
            platform: String::new(),
        };
        let mut archive: Box<dyn Read + Send> = match self.file.as_str() {
            "-" => Box::new(std::io::stdin()),
            _ if is_elsewhere => Box::new(std::io::empty()),
            path => Box::new(File::open(path).on("open", Path::new(path))?),
        };
        let mut last = String::new();
        engine.import(&wanted, &mut archive, &mut |line| {
            last = super::remote::text(&line, "status").to_owned();
        })?;
        print(&format!("{last}\n"))
    }
}
