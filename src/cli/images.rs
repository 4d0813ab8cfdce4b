//! `corten images`.

use clap::Args;
use corten_daemon::backend::Backend;
use corten_daemon::version::NEWEST;
use serde_json::{Value, json};

use super::format::{Columns, Format};
use super::remote::{filters, rfc3339, short, text};
use super::{print, table};
use crate::cli::Result;
use crate::engine::image::Listed;
use crate::engine::{Engine, clock};

#[derive(Debug, Args)]
pub(super) struct Images {
    /// Show images of steps of a build, too: there are none, since steps are kept in the build's cache
    #[arg(short, long)]
    all: bool,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
    /// Print ids in full
    #[arg(long)]
    no_trunc: bool,
    /// Show the digests that registries have for names
    #[arg(long)]
    digests: bool,
    /// Those that fit: dangling=, label=, label!=, before=IMAGE, since=IMAGE, until=TIME, reference=PATTERN
    #[arg(short, long = "filter", value_name = "NAME=VALUE")]
    filters: Vec<String>,
    #[command(flatten)]
    format: Format,
    /// Those of this name only; * and ? stand for anything but a slash
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
        let choice = engine.choice(&self.filters())?;
        let all = engine.images()?;
        // The digest of a repository that has a tag stands beside that.
        let beside = |listed: &Listed| {
            let digest = listed.name.as_ref().filter(|name| name.digest().is_some());
            digest.is_some_and(|name| listed.image.tags().any(|tag| tag.name() == name.name()))
        };
        let fits = |listed: &&Listed| {
            let named = || listed.name.as_ref().is_some_and(|name| choice.name_fits(name));
            !beside(listed) && choice.fits(&listed.image) && (!choice.asks_for_names() || named())
        };
        let rows = all.iter().filter(fits).map(|listed| self.row(listed));
        if self.quiet {
            let ids = rows.map(|row| format!("{}\n", row["ID"].as_str().unwrap_or_default()));
            return print(&ids.collect::<String>());
        }
        let columns = if self.digests { WITH_DIGESTS } else { COLUMNS };
        print(&self.format.list(columns, &rows.collect::<Vec<_>>())?)
    }

    /// A name is a filter, too.
    fn filters(&self) -> Vec<String> {
        let name = self.name.iter().map(|name| format!("reference={name}"));
        self.filters.iter().cloned().chain(name).collect()
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

    /// The same of a daemon's images.
    pub(super) fn remote(&self, engine: &dyn Backend) -> Result<()> {
        let filters = filters(&self.filters())?;
        let list = engine.list_images(false, self.digests, &filters, NEWEST)?;
        let rows = list.iter().flat_map(|image| self.remote_rows(image));
        if self.quiet {
            let mut ids: Vec<String> = rows.map(|row| format!("{}\n", text(&row, "ID"))).collect();
            ids.dedup();
            return print(&ids.concat());
        }
        let columns = if self.digests { WITH_DIGESTS } else { COLUMNS };
        print(&self.format.list(columns, &rows.collect::<Vec<_>>())?)
    }

    /// A row for each name of an image.
    fn remote_rows(&self, image: &Value) -> Vec<Value> {
        let names = |field: &str, by: char| -> Vec<(String, String)> {
            let list = image[field].as_array().into_iter().flatten().filter_map(Value::as_str);
            let pairs = list.filter(|name| !name.starts_with("<none>")).filter_map(|name| {
                let (name, rest) = name.rsplit_once(by)?;
                Some((name.to_owned(), rest.to_owned()))
            });
            pairs.collect()
        };
        let (mut tags, digests) = (names("RepoTags", ':'), names("RepoDigests", '@'));
        let none = || "<none>".to_owned();
        if tags.is_empty() {
            tags.push((digests.first().map_or_else(none, |(name, _)| name.clone()), none()));
        }
        let created = rfc3339(&image["Created"]);
        let row = |(name, tag): (String, String)| {
            let digest = digests.iter().find(|(own, _)| *own == name);
            json!({
                "ID": short(text(image, "Id"), self.no_trunc),
                "Repository": name,
                "Tag": tag,
                "Digest": digest.map_or_else(none, |(_, digest)| digest.clone()),
                "CreatedSince": clock::ago(&created),
                "CreatedAt": created,
                "Size": table::size(image["Size"].as_u64().unwrap_or(0)),
            })
        };
        tags.into_iter().map(row).collect()
    }
}
