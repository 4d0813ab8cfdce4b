//! `corten events`.

use clap::Args;
use corten_supervisor::journal::Entry;
use serde_json::json;

use super::print;
use super::template::Template;
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
    /// `json`, or a Go template as in '{{.Action}}'; lines for people otherwise
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Events {
    pub(super) fn execute(&self, engine: &Engine) -> Result<()> {
        let point = |text: &Option<String>| text.as_deref().map(clock::point).transpose();
        let wanted = Wanted {
            since: point(&self.since)?,
            until: point(&self.until)?,
            filters: self.filters.clone(),
        };
        let template = match self.format.as_deref() {
            None | Some("json") => None,
            Some(text) => Some(Template::parse(text)?),
        };
        let mut failed = Ok(());
        engine.events(&wanted, &mut |entry| {
            let line = match &template {
                Some(template) => template.render(&json!(entry)),
                None if self.format.is_some() => Ok(json!(entry).to_string()),
                None => Ok(line(&entry)),
            };
            match line {
                // Where it cannot be printed, whoever reads us has seen enough.
                Ok(line) => print(&format!("{line}\n")).is_ok(),
                Err(error) => {
                    failed = Err(error);
                    false
                }
            }
        })?;
        failed
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
