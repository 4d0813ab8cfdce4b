//! `corten load`.

use std::fs::File;
use std::path::PathBuf;

use clap::Args;
use corten_namespaces::error::Context;

use super::print;
use crate::engine::{Engine, Result};

#[derive(Debug, Args)]
pub(super) struct Load {
    /// Read this file instead of standard input
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Print nothing
    #[arg(short, long)]
    quiet: bool,
}

impl Load {
    pub(super) fn execute(&self, engine: &Engine) -> Result<()> {
        let images = match &self.input {
            Some(path) => engine.load(&mut File::open(path).on("open", path)?)?,
            None => engine.load(&mut std::io::stdin().lock())?,
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
}
