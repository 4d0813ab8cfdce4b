//! `corten images`.

use clap::Args;
use serde_json::{Value, json};

use super::format::{Columns, Format};
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
    /// Show the digests that registries have for names
    #[arg(long)]
    digests: bool,
    #[command(flatten)]
    format: Format,
    /// Those of this name only
    #[arg(value_name = "NAME[:TAG]")]
    name: Option<String>,
}

const COLUMNS: Columns = Columns {
    titles: &[
        ("ID", "IMAGE ID"),
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("Digest", "DIGEST"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedSince", "CREATED"),
        ("Size", "SIZE"),
    ],
    usual: "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
};

/// The same with `--digests`.
const WITH_DIGESTS: Columns = Columns {
    usual: "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
    ..COLUMNS
};

impl Images {
    pub(super) fn execute(&self, engine: &Engine) -> Result<()> {
        let all = engine.images()?;
        let rows = all.iter().filter(|listed| self.fits(listed)).map(|listed| self.row(listed));
        if self.quiet {
            let ids = rows.map(|row| format!("{}\n", row["ID"].as_str().unwrap_or_default()));
            return print(&ids.collect::<String>());
        }
        let columns = if self.digests { WITH_DIGESTS } else { COLUMNS };
        print(&self.format.list(columns, &rows.collect::<Vec<_>>())?)
    }

    fn fits(&self, listed: &Listed) -> bool {
        let Some(wanted) = &self.name else { return true };
        listed
            .name
            .as_ref()
            .is_some_and(|name| *wanted == name.familiar() || *wanted == name.familiar_name())
    }

    /// Under the names of `docker images --format json`.
    fn row(&self, listed: &Listed) -> Value {
        let none = || "<none>".to_owned();
        let (name, id) = (listed.name.as_ref(), &listed.image.id);
        let created = listed.image.config.spec().created().clone();
        json!({
            "ID": if self.no_trunc { id.to_string() } else { id.short().to_owned() },
            "Repository": name.map_or_else(none, |name| name.familiar_name()),
            "Tag": name.and_then(|name| name.tag()).map_or_else(none, str::to_owned),
            "Digest": listed.source.as_ref().map_or_else(none, ToString::to_string),
            "CreatedSince": created.as_deref().map_or_else(|| "N/A".to_owned(), clock::ago),
            "CreatedAt": created.unwrap_or_else(|| "N/A".to_owned()),
            "Size": table::size(listed.size),
        })
    }
}
