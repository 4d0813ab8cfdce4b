//! `corten history`.

use clap::Args;

use super::{print, table};
use crate::engine::{Engine, Result, clock};

#[derive(Debug, Args)]
pub(super) struct History {
    /// Show commands in full
    #[arg(long)]
    no_trunc: bool,
    /// A name or an id
    image: String,
}

/// How much of a command is shown, as with Docker.
const WIDTH: usize = 45;

impl History {
    pub(super) fn execute(&self, engine: &Engine) -> Result<()> {
        let image = engine.store().image(&self.image)?;
        let rows = image.history().into_iter().map(|step| {
            let layer = step.layer.as_ref();
            vec![
                layer.map_or_else(|| "<none>".to_owned(), |(digest, _)| digest.short().to_owned()),
                step.created.as_deref().map_or_else(|| "N/A".to_owned(), clock::ago),
                self.shown(&step.created_by),
                table::size(layer.map_or(0, |(_, size)| *size)),
                self.shown(&step.comment),
            ]
        });
        let header = ["LAYER", "CREATED", "CREATED BY", "COMPRESSED", "COMMENT"];
        print(&table::render(&header, &rows.collect::<Vec<_>>()))
    }

    /// What an image says of itself goes to a terminal: no control characters, not endless.
    fn shown(&self, text: &str) -> String {
        let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if self.no_trunc || clean.chars().count() <= WIDTH {
            return clean;
        }
        clean.chars().take(WIDTH - 1).chain(['…']).collect()
    }
}
