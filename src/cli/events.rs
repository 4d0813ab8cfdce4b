//! `corten events`.

use clap::Args;
use corten_supervisor::journal::Entry;

use super::images::Format;
use super::print;
use crate::engine::events::Wanted;
use crate::engine::{Engine, Result, clock};

#[derive(Debug, Args)]
pub(super) struct Events {
    /// From when: a point in time, or how long ago as in 10m; from now on otherwise
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Until when; for ever otherwise
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Those that fit: container=, event=, image=, label=, type=, volume=
    #[arg(short, long = "filter", value_name = "NAME=VALUE")]
    filters: Vec<String>,
    /// Lines for people, or a JSON object per line
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Events {
    pub(super) fn execute(&self, engine: &Engine) -> Result<()> {
        let point = |text: &Option<String>| text.as_deref().map(clock::point).transpose();
        let wanted = Wanted {
            since: point(&self.since)?,
            until: point(&self.until)?,
            filters: self.filters.clone(),
        };
        engine.events(&wanted, &mut |entry| {
            let line = match self.format {
                Format::Table => line(&entry),
                Format::Json => serde_json::to_string(&entry).unwrap_or_default(),
            };
            // Whoever reads us has seen enough.
            print(&format!("{line}\n")).is_ok()
        })
    }
}

/// As Docker prints it: the time, what, the id, and in brackets what else is known.
fn line(entry: &Entry) -> String {
    let pairs = entry.actor.attributes.iter().map(|(name, value)| {
        // Labels come from images: what could move the cursor is escaped.
        format!("{}={}", name.escape_debug(), value.escape_debug())
    });
    let pairs: Vec<String> = pairs.collect();
    let time = clock::at(entry.time_nano);
    format!("{time} {} {} {} ({})", entry.kind, entry.action, entry.actor.id, pairs.join(", "))
}
