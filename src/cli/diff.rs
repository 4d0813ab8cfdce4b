//! `corten diff`.

use std::os::unix::ffi::OsStrExt;

use clap::Args;
use corten_daemon::backend::Backend;

use super::print_bytes;
use crate::cli::Result;
use crate::engine::Engine;

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

    /// The same of a daemon's container.
    pub(super) fn remote(&self, engine: &dyn Backend) -> Result<()> {
        let letter = |kind: u8| match kind {
            0 => 'C',
            1 => 'A',
            _ => 'D',
        };
        let changes = engine.changes(&self.container)?.into_iter();
        let lines = changes.map(|(path, kind)| format!("{} {path}\n", letter(kind)));
        print_bytes(lines.collect::<String>().as_bytes())
    }
}
