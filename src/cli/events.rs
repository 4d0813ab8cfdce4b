//! `corten events`.

use clap::Args;
use corten_daemon::backend::{Backend, EventsWanted};
use corten_supervisor::journal::Entry;
use serde_json::json;

use super::template::Template;
use super::{print, remote};
use crate::cli::{Error, Result};
use crate::engine::events::Wanted;
use crate::engine::{Engine, clock};

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
        let template = self.template()?;
        let mut failed = Ok(());
        engine.events(&wanted, &mut |entry| match self.shown(template.as_ref(), &entry) {
            // Where it cannot be printed, whoever reads us has seen enough.
            Ok(line) => print(&format!("{line}\n")).is_ok(),
            Err(error) => {
                failed = Err(error);
                false
            }
        })?;
        failed
    }

    /// What happens at a daemon.
    pub(super) fn remote(&self, engine: &dyn Backend) -> Result<()> {
        let point = |text: &Option<String>| {
            text.as_deref().map(clock::point).transpose().map(|time| time.map(remote::timestamp))
        };
        let wanted = EventsWanted {
            since: point(&self.since)?,
            until: point(&self.until)?,
            filters: remote::filters(&self.filters)?,
        };
        let template = self.template()?;
        let mut feed = engine.events(&wanted)?;
        let mut text = Vec::new();
        while let Some(piece) = feed.blocking_recv() {
            let broken = |why| Error::refused(format!("the daemon's events broke off: {why}"));
            text.extend_from_slice(&piece.map_err(broken)?);
            // A piece may end in the middle of one.
            let mut entries = serde_json::Deserializer::from_slice(&text).into_iter::<Entry>();
            let mut lines = String::new();
            let mut read = 0;
            while let Some(Ok(entry)) = entries.next() {
                read = entries.byte_offset();
                lines += &(self.shown(template.as_ref(), &entry)? + "\n");
            }
            text.drain(..read);
            print(&lines)?;
        }
        Ok(())
    }

    fn template(&self) -> Result<Option<Template>> {
        match self.format.as_deref() {
            None | Some("json") => Ok(None),
            Some(text) => Template::parse(text).map(Some),
        }
    }

    fn shown(&self, template: Option<&Template>, entry: &Entry) -> Result<String> {
        match template {
            Some(template) => template.render(&json!(entry)),
            None if self.format.is_some() => Ok(json!(entry).to_string()),
            None => Ok(line(entry)),
        }
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
