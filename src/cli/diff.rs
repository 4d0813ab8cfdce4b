//! `corten diff`.

use std::os::unix::ffi::OsStrExt;

use clap::Args;

use super::print_bytes;
use crate::engine::{Engine, Result};

#[derive(Debug, Args)]
#[command(after_help = "A is new, C was changed, D was deleted.")]
pub(super) struct Diff {
    /// Its name or id
    #[arg(value_name = "CONTAINER")]
    container: String,
}

impl Diff {
    pub(super) fn execute(&self, engine: &Engine) -> Result<()> {
        let mut text = Vec::new();
        for (kind, path) in engine.changes(&self.container)? {
            text.extend(format!("{} ", kind.letter()).bytes());
            text.extend(path.as_os_str().as_bytes());
            text.push(b'\n');
        }
        print_bytes(&text)
    }
}
