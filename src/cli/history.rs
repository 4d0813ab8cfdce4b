//! `corten history`.

use clap::{ArgAction, Args};
use corten_daemon::backend::Backend;
use serde_json::{Value, json};

use super::format::{Columns, Format};
use super::remote::{rfc3339, short, text};
use super::{print, table};
use crate::cli::Result;
use crate::engine::{Engine, clock};

#[derive(Debug, Args)]
pub(super) struct History {
    /// Show ids and commands in full
    #[arg(long)]
    no_trunc: bool,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
    /// Show sizes and times as people say them; false: bytes and dates
    #[arg(short = 'H', long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    human: bool,
    #[command(flatten)]
    format: Format,
    /// A name or an id
    image: String,
}

const COLUMNS: Columns = Columns {
    titles: &[
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ],
    usual: "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
};

/// How much of a command is shown, as with Docker.
const WIDTH: usize = 45;

impl History {
    pub(super) fn execute(&self, engine: &Engine) -> Result<()> {
        self.show(&engine.history(&engine.store().image(&self.image)?)?)
    }

    /// The same of a daemon's image.
    pub(super) fn remote(&self, engine: &dyn Backend) -> Result<()> {
        self.show(&engine.history(&self.image)?)
    }

    fn show(&self, steps: &[Value]) -> Result<()> {
        let rows = steps.iter().map(|step| {
            let created = rfc3339(&step["Created"]);
            let size = step["Size"].as_u64().unwrap_or(0);
            let (since, size) = match self.human {
                true => (clock::ago(&created), table::size(size)),
                false => (created.clone(), size.to_string()),
            };
            json!({
                "ID": short(text(step, "Id"), self.no_trunc),
                "CreatedSince": since,
                "CreatedAt": created,
                "CreatedBy": self.shown(text(step, "CreatedBy")),
                "Size": size,
                "Comment": self.shown(text(step, "Comment")),
            })
        });
        let rows: Vec<Value> = rows.collect();
        if self.quiet {
            let ids = rows.iter().map(|row| format!("{}\n", text(row, "ID")));
            return print(&ids.collect::<String>());
        }
        print(&self.format.list(COLUMNS, &rows)?)
    }

    /// What an image says of itself goes to a terminal: no control characters, not endless.
    fn shown(&self, text: &str) -> String {
        if self.no_trunc { table::printable(text) } else { table::shortened(text, WIDTH) }
    }
}
