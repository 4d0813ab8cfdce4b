//! What `inspect` shows of a container's networks.

use corten_network::network::Driver;
use corten_network::{Endpoint, Network};
use serde_json::{Map, Value, json};

use super::{Attachment, has_names};
use crate::engine::Engine;
use crate::engine::error::Result;
use crate::engine::options::NetworkMode;
use crate::engine::record::Record;
use crate::engine::view::View;

/// Fields of the time before a container could be on several networks: those of the default bridge.
const OF_BRIDGE: [&str; 8] = [
    "EndpointID",
    "Gateway",
    "GlobalIPv6Address",
    "GlobalIPv6PrefixLen",
    "IPAddress",
    "IPPrefixLen",
    "IPv6Gateway",
    "MacAddress",
];

/// The default bridge tells its options, as dockerd's does; whatever they are, nobody has written them.
pub(crate) fn with_options(network: &Network, mut shown: Value) -> Value {
    if let (true, Ok(Driver::Bridge(bridge))) = (network.name == "bridge", network.driver()) {
        let any = std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
        let at = bridge.host_binding.unwrap_or(any).to_string();
        let mtu = bridge.mtu.unwrap_or(1500).to_string();
        let [icc, masquerade] = [bridge.neighbours, bridge.masquerade].map(|yes| yes.to_string());
        shown["Options"] = json!({
            "com.docker.network.bridge.default_bridge": "true",
            "com.docker.network.bridge.enable_icc": icc,
            "com.docker.network.bridge.enable_ip_masquerade": masquerade,
            "com.docker.network.bridge.host_binding_ipv4": at,
            "com.docker.network.bridge.name": bridge.name,
            "com.docker.network.driver.mtu": mtu,
        });
    }
    shown
}

impl Engine {
    /// A network with its containers, and how many of its addresses are in use.
    ///
    /// # Errors
    /// Where there is no such network, or its files cannot be read.
    pub fn inspect_network(&self, name_or_id: &str) -> Result<Value> {
        let networks = self.networks()?;
        let found = networks.inspect(name_or_id)?;
        let usage = networks.usage(&found.network)?;
        let mut shown = with_options(&found.network, json!(found));
        shown["Status"] = json!({"IPAM": {"Subnets": usage}});
        Ok(shown)
    }

    /// `NetworkSettings`: what it has while it runs, and before and after the names of its networks.
    pub(crate) fn network_settings(&self, view: &View) -> Result<Value> {
        let record = &view.record;
        let runs = view.status.is_some();
        let endpoints = if runs { self.endpoints(record)? } else { Vec::new() };
        let networks = self.shown_networks(record, &endpoints)?;
        let mut all = json!({"Bridge": "", "SandboxID": "", "SandboxKey": "", "Ports": {},
            "HairpinMode": false, "LinkLocalIPv6Address": "", "LinkLocalIPv6PrefixLen": 0,
            "SecondaryIPAddresses": null, "SecondaryIPv6Addresses": null});
        let unconnected = shown(&Attachment::default(), None, record);
        for name in OF_BRIDGE {
            all[name] = networks.get("bridge").unwrap_or(&unconnected)[name].clone();
        }
        if runs {
            all["Ports"] = ports(record, &endpoints);
        }
        if let Some(endpoint) = endpoints.first() {
            all["SandboxID"] = json!(record.id);
            all["SandboxKey"] = json!(endpoint.namespace);
        }
        all["Networks"] = Value::Object(networks);
        Ok(all)
    }

    fn shown_networks(
        &self,
        record: &Record,
        endpoints: &[Endpoint],
    ) -> Result<Map<String, Value>> {
        let mut networks = Map::new();
        let mode = record.host_config.network()?;
        if matches!(mode, NetworkMode::Host | NetworkMode::None) {
            let network = self.networks()?.find(&record.host_config.network_mode)?;
            let own = shown(&Attachment::default(), None, record);
            networks.insert(network.name, own);
        }
        for (name, wanted) in &record.networks {
            let mut own = shown(wanted, None, record);
            // One that was removed while its container did not run is missed at the next start.
            if let Ok(Network { id, .. }) = self.networks()?.find(name) {
                let endpoint = endpoints.iter().find(|endpoint| endpoint.network == id);
                own = shown(wanted, endpoint, record);
                own["NetworkID"] = json!(id);
                if has_names(name) {
                    own["DNSNames"] = json!(dns_names(record, wanted));
                }
            }
            networks.insert(name.clone(), own);
        }
        Ok(networks)
    }
}

/// `EndpointSettings`.
fn shown(wanted: &Attachment, endpoint: Option<&Endpoint>, record: &Record) -> Value {
    let none = Endpoint { container: record.id.clone(), ..Endpoint::default() };
    let mut settings = json!(endpoint.unwrap_or(&none).settings());
    settings["IPAMConfig"] = match &wanted.ipam {
        Some(fixed) => json!(fixed),
        None => Value::Null,
    };
    settings["GwPriority"] = json!(wanted.gw_priority);
    if !wanted.links.is_empty() {
        settings["Links"] = json!(wanted.links);
    }
    if !wanted.driver_opts.is_empty() {
        settings["DriverOpts"] = json!(wanted.driver_opts);
    }
    settings["Aliases"] = match wanted.aliases.as_slice() {
        [] => Value::Null,
        aliases => json!(aliases),
    };
    settings
}

/// The names by which others on a network find it.
fn dns_names(record: &Record, wanted: &Attachment) -> Vec<String> {
    let mut names = vec![record.shown_name().to_owned()];
    names.extend(wanted.aliases.iter().cloned());
    names.push(record.short().to_owned());
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

/// Every port that is exposed, and where on the host those are that are published.
fn ports(record: &Record, endpoints: &[Endpoint]) -> Value {
    let exposed = record.config.exposed_ports.keys();
    let mut ports: Map<String, Value> = exposed.map(|port| (port.clone(), Value::Null)).collect();
    for endpoint in endpoints {
        ports.extend(endpoint.bindings().into_iter().map(|(port, places)| (port, json!(places))));
    }
    Value::Object(ports)
}
