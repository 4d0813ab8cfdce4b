//! `corten search`.

use clap::Args;
use corten_daemon::backend::Backend;
use serde_json::{Value, json};

use super::format::{Columns, Format};
use super::remote::{filters, text};
use super::{print, table};
use crate::cli::Result;
use crate::engine::filter::Filters;
use crate::engine::pull::Asker;
use crate::engine::search::{self, Request};

/// How much of a description is shown.
const WIDTH: usize = 45;

#[derive(Debug, Args)]
pub(super) struct Search {
    /// So many at most, up to 100; 25 otherwise
    #[arg(long, value_name = "N")]
    limit: Option<i64>,
    /// Those that fit: stars=N, is-official=BOOL, is-automated=BOOL
    #[arg(short, long = "filter", value_name = "NAME=VALUE")]
    filters: Vec<String>,
    /// Print descriptions in full
    #[arg(long)]
    no_trunc: bool,
    #[command(flatten)]
    format: Format,
    /// What to look for; a registry may stand before it, as in localhost:5000/web
    #[arg(value_name = "TERM")]
    term: String,
}

const COLUMNS: Columns = Columns {
    titles: &[
        ("Name", "NAME"),
        ("Description", "DESCRIPTION"),
        ("StarCount", "STARS"),
        ("IsOfficial", "OFFICIAL"),
        ("IsAutomated", "AUTOMATED"),
    ],
    usual: "{{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}",
};

impl Search {
    /// No engine is needed: the registry is asked by this process.
    pub(super) fn execute(&self) -> Result<()> {
        let filters = Filters::parse(&self.filters, &search::KNOWN)?;
        let (term, limit) = (self.term.as_str(), self.limit);
        let found =
            search::search(&Request { term, limit, filters: &filters, asker: &Asker::User })?;
        self.print(&found)
    }

    /// The same by a daemon.
    pub(super) fn remote(&self, engine: &dyn Backend) -> Result<()> {
        self.print(&engine.search(&self.term, self.limit, &filters(&self.filters)?)?)
    }

    fn print(&self, found: &[Value]) -> Result<()> {
        let mut found = found.to_vec();
        // As docker: the best liked first.
        found.sort_by_key(|one| std::cmp::Reverse(one["star_count"].as_i64()));
        let rows: Vec<Value> = found.iter().map(|one| self.row(one)).collect();
        print(&self.format.list(COLUMNS, &rows)?)
    }

    fn row(&self, found: &Value) -> Value {
        let is = |field: &str| if found[field] == json!(true) { "[OK]" } else { "" };
        let description = text(found, "description");
        let description = match self.no_trunc {
            true => table::printable(description),
            false => table::shortened(description, WIDTH),
        };
        json!({
            "Name": text(found, "name"),
            "Description": description,
            "StarCount": found["star_count"].as_i64().unwrap_or(0).to_string(),
            "IsOfficial": is("is_official"),
            "IsAutomated": is("is_automated"),
        })
    }
}
