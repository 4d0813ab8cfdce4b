//! Volumes of a daemon elsewhere.

use serde_json::Value;

use super::http::Request;
use super::{Remote, freed, list, texts};
use crate::backend::{Filters, Volumes};
use crate::failure::Outcome;
use crate::version::Version;

impl Volumes for Remote {
    fn list_volumes(&self, filters: &Filters) -> Outcome<Vec<Value>> {
        list(self.value(Request::get(&["volumes"]).filters(filters))?["Volumes"].take())
    }

    fn inspect_volume(&self, name: &str) -> Outcome<Value> {
        self.value(Request::get(&["volumes", name]))
    }

    fn create_volume(&self, body: &Value) -> Outcome<Value> {
        self.value(Request::post(&["volumes", "create"]).json(body))
    }

    fn remove_volume(&self, name: &str, force: bool) -> Outcome<()> {
        self.done(Request::delete(&["volumes", name]).flag("force", force)).map(drop)
    }

    fn prune_volumes(&self, filters: &Filters, _: Version) -> Outcome<(Vec<String>, u64)> {
        let told = self.value(Request::post(&["volumes", "prune"]).filters(filters))?;
        Ok((texts(&told["VolumesDeleted"]), freed(&told)))
    }
}
