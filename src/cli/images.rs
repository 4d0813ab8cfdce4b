//! `corten images`.

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{print, table};
use crate::engine::image::Listed;
use crate::engine::{Engine, Result, clock};

#[derive(Debug, Args)]
pub(super) struct Images {
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
    /// Print ids in full
    #[arg(long)]
    no_trunc: bool,
    /// A table, or a JSON object per line
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// How a list is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// A line of `--format json`, under Docker's names.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Line {
    #[serde(rename = "ID")]
    id: String,
    repository: String,
    tag: String,
    digest: String,
    created_at: String,
    created_since: String,
    size: String,
}

impl Line {
    fn new(listed: &Listed, full: bool) -> Line {
        let none = || "<none>".to_owned();
        let name = listed.name.as_ref();
        let id = &listed.image.id;
        let created = listed.image.config.spec().created().clone();
        Line {
            id: if full { id.to_string() } else { id.short().to_owned() },
            repository: name.map_or_else(none, |name| name.familiar_name()),
            tag: name.and_then(|name| name.tag()).map_or_else(none, str::to_owned),
            digest: listed.source.as_ref().map_or_else(none, ToString::to_string),
            created_since: created.as_deref().map_or_else(|| "N/A".to_owned(), clock::ago),
            created_at: created.unwrap_or_else(|| "N/A".to_owned()),
            size: table::size(listed.size),
        }
    }
}

impl Images {
    pub(super) fn execute(&self, engine: &Engine) -> Result<()> {
        let lines: Vec<Line> =
            engine.images()?.iter().map(|listed| Line::new(listed, self.no_trunc)).collect();
        let text = match self.format {
            _ if self.quiet => lines.iter().map(|line| format!("{}\n", line.id)).collect(),
            // A map of strings is always valid JSON.
            Format::Json => lines
                .iter()
                .filter_map(|line| serde_json::to_string(line).ok())
                .map(|line| line + "\n")
                .collect(),
            Format::Table => {
                let rows = lines.into_iter().map(|line| {
                    vec![line.repository, line.tag, line.id, line.created_since, line.size]
                });
                let header = ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"];
                table::render(&header, &rows.collect::<Vec<_>>())
            }
        };
        print(&text)
    }
}
