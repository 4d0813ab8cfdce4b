//! `corten history`.

use clap::Args;
use corten_daemon::backend::Backend;

use serde_json::{Value, json};

use super::format::{Columns, Format};
use super::remote::{rfc3339, short, text};
use super::{print, table};
use crate::cli::Result;
use crate::engine::{Engine, clock};

#[derive(Debug, Args)]
pub(super) struct History {
    /// Show commands in full
    #[arg(long)]
    no_trunc: bool,
    /// Print the ids of layers only
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    format: Format,
    /// A name or an id
    image: String,
}

const COLUMNS: Columns = Columns {
    titles: &[
        ("ID", "LAYER"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "COMPRESSED"),
        ("Comment", "COMMENT"),
    ],
    usual: "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
};

/// What a daemon tells: images, not layers.
const REMOTE: Columns = Columns {
    titles: &[
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ],
    ..COLUMNS
};

/// How much of a command is shown, as with Docker.
const WIDTH: usize = 45;

impl History {
    pub(super) fn execute(&self, engine: &Engine) -> Result<()> {
        let image = engine.store().image(&self.image)?;
        let rows = image.history().into_iter().map(|step| {
            let layer = step.layer.as_ref();
            let digest = layer.map(|(digest, _)| match self.no_trunc {
                true => digest.to_string(),
                false => digest.short().to_owned(),
            });
            json!({
                "ID": digest.unwrap_or_else(|| "<none>".to_owned()),
                "CreatedSince": step.created.as_deref().map_or_else(|| "N/A".to_owned(), clock::ago),
                "CreatedAt": step.created.unwrap_or_else(|| "N/A".to_owned()),
                "CreatedBy": self.shown(&step.created_by),
                "Size": table::size(layer.map_or(0, |(_, size)| *size)),
                "Comment": self.shown(&step.comment),
            })
        });
        if self.quiet {
            let ids = rows.map(|row| format!("{}\n", row["ID"].as_str().unwrap_or_default()));
            return print(&ids.collect::<String>());
        }
        print(&self.format.list(COLUMNS, &rows.collect::<Vec<_>>())?)
    }

    /// What an image says of itself goes to a terminal: no control characters, not endless.
    fn shown(&self, text: &str) -> String {
        if self.no_trunc { table::printable(text) } else { table::shortened(text, WIDTH) }
    }

    /// The same of a daemon's image.
    pub(super) fn remote(&self, engine: &dyn Backend) -> Result<()> {
        let steps = engine.history(&self.image)?;
        let rows = steps.iter().map(|step| {
            let created = rfc3339(&step["Created"]);
            json!({
                "ID": short(text(step, "Id"), self.no_trunc),
                "CreatedSince": clock::ago(&created),
                "CreatedAt": created,
                "CreatedBy": self.shown(text(step, "CreatedBy")),
                "Size": table::size(step["Size"].as_u64().unwrap_or(0)),
                "Comment": self.shown(text(step, "Comment")),
            })
        });
        let rows: Vec<Value> = rows.collect();
        if self.quiet {
            return print(
                &rows.iter().map(|row| format!("{}\n", text(row, "ID"))).collect::<String>(),
            );
        }
        print(&self.format.list(REMOTE, &rows)?)
    }
}
