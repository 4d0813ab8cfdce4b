//! Networks of a daemon elsewhere.

use serde_json::Value;

use super::http::Request;
use super::{Remote, list, texts};
use crate::backend::{Filters, Networks};
use crate::failure::Outcome;

impl Networks for Remote {
    fn list_networks(&self, filters: &Filters) -> Outcome<Vec<Value>> {
        list(self.value(Request::get(&["networks"]).filters(filters))?)
    }

    fn inspect_network(&self, name: &str, verbose: bool, scope: &str) -> Outcome<Value> {
        let request = Request::get(&["networks", name]);
        self.value(request.flag("verbose", verbose).with("scope", scope))
    }

    fn create_network(&self, body: &Value) -> Outcome<(String, String)> {
        let made = self.value(Request::post(&["networks", "create"]).json(body))?;
        let text = |name: &str| made[name].as_str().unwrap_or_default().to_owned();
        Ok((text("Id"), text("Warning")))
    }

    fn remove_network(&self, name: &str) -> Outcome<()> {
        self.done(Request::delete(&["networks", name])).map(drop)
    }

    fn connect(&self, name: &str, body: &Value) -> Outcome<()> {
        self.done(Request::post(&["networks", name, "connect"]).json(body)).map(drop)
    }

    fn disconnect(&self, name: &str, body: &Value) -> Outcome<()> {
        self.done(Request::post(&["networks", name, "disconnect"]).json(body)).map(drop)
    }

    fn prune_networks(&self, filters: &Filters) -> Outcome<Vec<String>> {
        let told = self.value(Request::post(&["networks", "prune"]).filters(filters))?;
        Ok(texts(&told["NetworksDeleted"]))
    }
}
