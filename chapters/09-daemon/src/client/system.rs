//! A daemon elsewhere as a whole.

use serde_json::Value;

use super::http::Request;
use super::{Remote, feed, shown};
use crate::backend::{Credentials, EventsWanted, Feed, System, UsageWanted};
use crate::failure::Outcome;
use crate::version::Version;

impl System for Remote {
    fn info(&self, _: Version) -> Outcome<Value> {
        self.value(Request::get(&["info"]))
    }

    /// Null where it does not answer any more.
    fn version(&self) -> Value {
        self.value(Request::get(&["version"])).unwrap_or_default()
    }

    fn events(&self, wanted: &EventsWanted) -> Outcome<Feed> {
        let request = Request::get(&["events"])
            .with("since", wanted.since.as_deref().unwrap_or_default())
            .with("until", wanted.until.as_deref().unwrap_or_default())
            .filters(&wanted.filters);
        feed(self.ask(request)?.body)
    }

    /// A daemon from before 1.52 passes over `verbose`, and answers with lists.
    fn disk_usage(&self, wanted: &UsageWanted, _: Version) -> Outcome<Value> {
        let request = Request::get(&["system", "df"]).each("type", &wanted.kinds);
        self.value(request.number("verbose", wanted.verbose.map(u8::from)))
    }

    fn login(&self, credentials: &Credentials) -> Outcome<String> {
        let told = self.value(Request::post(&["auth"]).json(&shown(credentials)))?;
        Ok(told["IdentityToken"].as_str().unwrap_or_default().to_owned())
    }

    /// None: those of its daemon are its own.
    fn figures(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}
