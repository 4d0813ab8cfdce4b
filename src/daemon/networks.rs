//! Networks.

use corten_daemon::backend::{Filters, Networks};
use corten_daemon::route::NO_SWARM;
use corten_daemon::{Failure, Outcome};
use corten_network::network::Request;
use serde_json::{Value, json};

use super::Api;
use super::create::{self, read, without_null};
use super::watch::pairs;
use crate::engine::Error;
use crate::engine::networks::{Attachment, with_options};

/// A field of a body that is a string.
fn text<'a>(body: &'a Value, name: &str) -> Outcome<&'a str> {
    match &body[name] {
        Value::Null => Ok(""),
        Value::String(text) => Ok(text),
        _ => Err(Failure::invalid(format!("invalid JSON: {name} is no string"))),
    }
}

/// dockerd's word for a name that is none.
pub(super) fn some_container(name: &str) -> Outcome<&str> {
    match name {
        "" => Err(Failure::invalid("invalid name or ID supplied: \"\"")),
        name => Ok(name),
    }
}

impl Networks for Api {
    fn list_networks(&self, filters: &Filters) -> Outcome<Vec<Value>> {
        let list = self.engine().list_networks(&pairs(filters))?;
        let shown = list.iter().map(|network| {
            let mut shown = with_options(network, json!(network));
            shown["Containers"] = json!({});
            shown
        });
        Ok(shown.collect())
    }

    fn inspect_network(&self, name: &str, _verbose: bool, scope: &str) -> Outcome<Value> {
        let network = self.engine().networks()?.find(name).map_err(Error::from)?;
        if !["", "local"].contains(&scope) {
            return Err(Failure::missing(format!("network {name} not found")));
        }
        Ok(self.engine().inspect_network(&network.id)?)
    }

    fn create_network(&self, body: &Value) -> Outcome<(String, String)> {
        let Value::Object(_) = body else {
            return Err(Failure::invalid("invalid JSON: got EOF while reading request body"));
        };
        if body["Ingress"] == json!(true) {
            let text = "Ingress network can only be global scope network";
            return Err(Failure::forbidden(text));
        }
        if body["Scope"] == "swarm" {
            let text = "cannot create a swarm scoped network when swarm is not active";
            return Err(Failure::forbidden(text));
        }
        let mut body = body.clone();
        // Of an address manager without options null comes.
        if let Some(pools) = body["IPAM"]["Config"].as_array_mut() {
            pools.iter_mut().for_each(|pool| *pool = without_null(pool.take()));
        }
        let mut request: Request = read(without_null(body))?;
        for pool in &mut request.ipam.config {
            // dockerd takes an address for the subnet that it is in.
            if let Ok(subnet) = pool.subnet.parse::<ipnet::IpNet>() {
                pool.subnet = subnet.trunc().to_string();
                request.enable_ipv6 |= subnet.addr().is_ipv6();
            }
        }
        if request.name.trim().is_empty() {
            return Err(Failure::invalid("network name cannot be empty"));
        }
        let driver = request.driver.clone();
        match driver.as_str() {
            // What its driver is, whoever is made by it says.
            _ if request.config_only => {}
            "host" | "null" => {
                let text = format!("only one instance of {driver:?} network is allowed");
                return Err(Failure::forbidden(text));
            }
            // That driver is a swarm's.
            "overlay" => return Err(Failure::new(503, NO_SWARM)),
            _ => {}
        }
        let ipam = request.ipam.driver.clone();
        let made = self.engine().create_network(&request).map_err(|error| match error {
            Error::Network(corten_network::Error::Invalid { what, why })
                if why.contains("could not be found") =>
            {
                let name = if what.starts_with("ipam") { &ipam } else { &driver };
                Failure::missing(format!("plugin {name:?} not found"))
            }
            other => other.into(),
        })?;
        let closed = self.engine().closed_ways([&made.name]);
        Ok((made.id, closed.join("; ")))
    }

    fn remove_network(&self, name: &str) -> Outcome<()> {
        self.engine().remove_network(name)?;
        Ok(())
    }

    fn connect(&self, name: &str, body: &Value) -> Outcome<()> {
        let wanted = match &body["EndpointConfig"] {
            Value::Null => Attachment::default(),
            config => read(without_null(config.clone()))?,
        };
        create::addresses(&wanted)?;
        let container = some_container(text(body, "Container")?)?;
        Ok(self.engine().connect_network(name, container, &wanted)?)
    }

    fn disconnect(&self, name: &str, body: &Value) -> Outcome<()> {
        let container = some_container(text(body, "Container")?)?;
        let force = body["Force"] == json!(true);
        Ok(self.engine().disconnect_network(name, container, force)?)
    }

    fn prune_networks(&self, filters: &Filters) -> Outcome<Vec<String>> {
        Ok(self.engine().prune_networks(&pairs(filters))?)
    }
}
