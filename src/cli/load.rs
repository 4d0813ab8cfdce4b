//! `corten load`.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use corten_daemon::backend::Backend;
use corten_namespaces::error::Context;
use corten_registry::Platform;

use super::progress::Stream;
use super::{print, remote};
use crate::cli::Result;
use crate::engine::Engine;

#[derive(Debug, Args)]
pub(super) struct Load {
    /// Read this file instead of standard input
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Print nothing
    #[arg(short, long)]
    quiet: bool,
    /// Those for these platforms only
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_delimiter = ',')]
    platform: Vec<Platform>,
}

impl Load {
    pub(super) fn execute(&self, engine: &Engine) -> Result<()> {
        let images = match &self.input {
            Some(path) => engine.load(&mut File::open(path).on("open", path)?, &self.platform)?,
            None => engine.load(&mut std::io::stdin().lock(), &self.platform)?,
        };
        let mut lines: Vec<String> = Vec::new();
        for image in images {
            if image.names.is_empty() {
                lines.push(format!("Loaded image ID: {}\n", image.id));
            }
            lines.extend(
                image.names.iter().map(|name| format!("Loaded image: {}\n", name.familiar())),
            );
        }
        // Several names of one image come with each of them.
        lines.dedup();
        if self.quiet { Ok(()) } else { print(&lines.concat()) }
    }

    /// The same for a daemon, which is sent the archive.
    pub(super) fn remote(&self, engine: &dyn Backend) -> Result<()> {
        let mut archive: Box<dyn Read + Send> = match &self.input {
            Some(path) => Box::new(File::open(path).on("open", path)?),
            None => Box::new(std::io::stdin()),
        };
        let mut messages = remote::Messages::new(Stream::Output);
        let platforms = remote::platforms(&self.platform);
        engine.load(&mut archive, self.quiet, &platforms, &mut |line| {
            if !self.quiet {
                messages.show(&line);
            }
        })?;
        Ok(())
    }
}
