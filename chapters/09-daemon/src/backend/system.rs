//! The engine as a whole.

use serde_json::Value;

use super::{Credentials, Feed, Filters, Outcome};
use crate::version::Version;

/// `GET /events`.
#[derive(Debug, Clone, Default)]
pub struct EventsWanted {
    /// From this time on; from now on without.
    pub since: Option<String>,
    /// Until this time; for ever without.
    pub until: Option<String>,
    /// Those that fit.
    pub filters: Filters,
}

/// `GET /system/df`.
#[derive(Debug, Clone, Default)]
pub struct UsageWanted {
    /// Of `container`, `image`, `volume`, `build-cache`; all where there is none.
    pub kinds: Vec<String>,
    /// Whether sums are wanted with what they are of. Where nothing is said the lists of before 1.52
    /// come.
    pub verbose: Option<bool>,
}

/// The engine as a whole.
pub trait System {
    /// `GET /info`.
    ///
    /// # Errors
    /// Where the state is damaged.
    fn info(&self, version: Version) -> Outcome<Value>;

    /// `GET /version`, but for the versions of the API.
    fn version(&self) -> Value;

    /// What has happened and happens: JSON objects, each with a line's end.
    ///
    /// # Errors
    /// 400 for a filter or a time that is none.
    fn events(&self, wanted: &EventsWanted) -> Outcome<Feed>;

    /// `GET /system/df`.
    ///
    /// # Errors
    /// Where the state is damaged.
    fn disk_usage(&self, wanted: &UsageWanted, version: Version) -> Outcome<Value>;

    /// `POST /auth`: tries credentials; gives a token, or nothing.
    ///
    /// # Errors
    /// 401 where the registry refuses them.
    fn login(&self, credentials: &Credentials) -> Outcome<String>;

    /// Figures for `GET /metrics`: names and values.
    fn figures(&self) -> Vec<(&'static str, u64)>;
}
