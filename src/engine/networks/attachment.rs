//! What is asked of networks: which ones, with which names and addresses, and the ports that are
//! published.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use corten_network::EndpointRequest;
use corten_network::option::EndpointOptions;
use corten_network::ports::{Protocol, Publish, parse};
use serde::{Deserialize, Serialize};

use super::{has_names, is_mode};
use crate::engine::Engine;
use crate::engine::error::{Error, Result};
use crate::engine::options::{Config, HostConfig, NetworkMode};

/// What is asked of one network, under Docker's names (`EndpointSettings`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Attachment {
    /// Other names of the container on this network.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Fixed addresses.
    #[serde(rename = "IPAMConfig", skip_serializing_if = "Option::is_none")]
    pub ipam: Option<Fixed>,
    /// `CONTAINER[:NAME]`: names by which it alone knows others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<String>,
    /// Of several networks the one with the highest leads everywhere else.
    #[serde(skip_serializing_if = "is_usual")]
    pub gw_priority: i64,
    /// For the network's driver ([`EndpointOptions`]).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub driver_opts: BTreeMap<String, String>,
    /// A fixed link layer address; empty for one that is chosen.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac_address: String,
}

fn is_usual(priority: &i64) -> bool {
    *priority == 0
}

/// `IPAMConfig`: addresses that the container always has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fixed {
    /// Empty for one that is chosen.
    #[serde(rename = "IPv4Address", skip_serializing_if = "String::is_empty")]
    pub ipv4: String,
    /// The same for IPv6.
    #[serde(rename = "IPv6Address", skip_serializing_if = "String::is_empty")]
    pub ipv6: String,
    /// Further addresses, of one link alone.
    #[serde(rename = "LinkLocalIPs", skip_serializing_if = "Vec::is_empty")]
    pub link_local: Vec<String>,
}

impl Fixed {
    /// Whether it has an address out of the network's own. Others may be had on any network.
    fn is_chosen(&self) -> bool {
        !(self.ipv4.is_empty() && self.ipv6.is_empty())
    }
}

impl Attachment {
    /// With these fixed addresses, where there are any.
    #[must_use]
    pub fn at(self, ipv4: &str, ipv6: &str) -> Attachment {
        let link_local = self.ipam.map(|fixed| fixed.link_local).unwrap_or_default();
        let fixed = Fixed { ipv4: ipv4.to_owned(), ipv6: ipv6.to_owned(), link_local };
        Attachment { ipam: (fixed != Fixed::default()).then_some(fixed), ..self }
    }

    /// With these addresses of one link alone.
    #[must_use]
    pub fn with_local(mut self, link_local: Vec<String>) -> Attachment {
        if !link_local.is_empty() {
            self.ipam.get_or_insert_default().link_local = link_local;
        }
        self
    }

    /// In chapter 7's types.
    pub(super) fn request(&self) -> Result<EndpointRequest> {
        let fixed = self.ipam.clone().unwrap_or_default();
        let mac = match self.mac_address.as_str() {
            "" => None,
            text => Some(text.parse()?),
        };
        let EndpointOptions { interface, sysctls } = EndpointOptions::parse(&self.driver_opts)?;
        Ok(EndpointRequest {
            interface,
            sysctls,
            gateway_priority: self.gw_priority,
            aliases: self.aliases.clone(),
            ipv4: address(&fixed.ipv4)?,
            ipv6: address(&fixed.ipv6)?,
            link_local: local(&fixed.link_local)?,
            mac,
            namespace: PathBuf::new(),
            ..EndpointRequest::default()
        })
    }
}

/// An address; `None` where the text is empty.
fn address<T: std::str::FromStr>(text: &str) -> Result<Option<T>> {
    let wrong = |_| Error::refused(format!("invalid IP address: {text}"));
    (!text.is_empty()).then(|| text.parse().map_err(wrong)).transpose()
}

/// Addresses of one link alone.
fn local(texts: &[String]) -> Result<Vec<IpAddr>> {
    let read = |text: &String| {
        let is_local = |address: &IpAddr| match address {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        let address = text.parse().ok().filter(is_local);
        address.ok_or_else(|| Error::refused(format!("invalid link-local IP address: {text}")))
    };
    texts.iter().map(read).collect()
}

impl Engine {
    // ANCHOR: attachments
    /// What a new container asks of networks: all that it names are there, and the one of its mode is
    /// among them. `late` lets it name what its start will miss.
    pub(in crate::engine) fn attachments(
        &self,
        config: &Config,
        host: &HostConfig,
        asked: &BTreeMap<String, Attachment>,
        late: bool,
    ) -> Result<BTreeMap<String, Attachment>> {
        let NetworkMode::Network(main) = host.network()? else {
            return without(host, asked).map(|()| BTreeMap::new());
        };
        let networks = self.networks()?;
        let main = match networks.find(&main) {
            Err(corten_network::Error::NoSuchNetwork { .. }) if late => main,
            found => found?.name,
        };
        let mut all = BTreeMap::new();
        for (name, wanted) in asked {
            let network = match networks.find(name) {
                Err(corten_network::Error::NoSuchNetwork { .. }) if late => {
                    all.insert(name.clone(), wanted.clone());
                    continue;
                }
                found => found?,
            };
            if is_mode(&network) {
                let text = "conflicting options: cannot attach both user-defined and \
                            non-user-defined network-modes";
                return Err(Error::refused(text));
            }
            let mut wanted = wanted.clone();
            if network.name == main && wanted.mac_address.is_empty() {
                wanted.mac_address.clone_from(&config.mac_address);
            }
            wanted.request()?;
            check(&network.name, &wanted)?;
            all.insert(network.name, wanted);
        }
        let mac_address = config.mac_address.clone();
        all.entry(main).or_insert_with(|| Attachment { mac_address, ..Attachment::default() });
        Ok(all)
    }
    // ANCHOR_END: attachments

    /// Whether the ports of a container that is to be started now are free: what is in the way is told
    /// before anything is made.
    pub(in crate::engine) fn check_ports(&self, config: &Config, host: &HostConfig) -> Result<()> {
        let NetworkMode::Network(main) = host.network()? else { return Ok(()) };
        let ports = published(config, host)?;
        if ports.is_empty() { Ok(()) } else { Ok(self.networks()?.check_ports(&main, &ports)?) }
    }
}

/// A container without networks of its own can be asked nothing of one.
fn without(host: &HostConfig, asked: &BTreeMap<String, Attachment>) -> Result<()> {
    for (name, wanted) in asked {
        if *name != host.network_mode {
            return Err(Error::refused(format!(
                "conflicting options: network {name} and the network mode {}",
                host.network_mode
            )));
        }
        check("none", wanted)?;
    }
    Ok(())
}

/// Names and addresses are chosen on the networks that somebody has made.
fn check(network: &str, wanted: &Attachment) -> Result<()> {
    if has_names(network) {
        return Ok(());
    }
    let what = match () {
        () if wanted.ipam.as_ref().is_some_and(Fixed::is_chosen) => {
            "user specified IP address is supported on user defined networks only"
        }
        () if !wanted.aliases.is_empty() => {
            "network-scoped alias is supported only for containers in user defined networks"
        }
        () => return Ok(()),
    };
    Err(Error::refused(what))
}

// ANCHOR: published
/// The ports that are published: those that are bound, and with `-P` all that are exposed.
pub(super) fn published(config: &Config, host: &HostConfig) -> Result<Vec<Publish>> {
    let mut all = Vec::new();
    for (port, bindings) in &host.port_bindings {
        let (container_port, protocol) = container_port(port)?;
        for binding in bindings {
            let host_ports = match binding.host_port.as_str() {
                "" | "0" => None,
                text => Some(parse::range(text)?),
            };
            let host = address(&binding.host_ip)?;
            all.push(Publish { container_port, protocol, host, host_ports });
        }
    }
    if host.publish_all_ports {
        let exposed = config.exposed_ports.keys();
        for port in exposed.filter(|port| !host.port_bindings.contains_key(*port)) {
            let (container_port, protocol) = container_port(port)?;
            all.push(Publish { container_port, protocol, host: None, host_ports: None });
        }
    }
    Ok(all)
}
// ANCHOR_END: published

/// `80/tcp`.
fn container_port(text: &str) -> Result<(u16, Protocol)> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let wrong = || Error::refused(format!("invalid port specification: {text:?}"));
    Ok((number.parse().map_err(|_| wrong())?, protocol.parse().map_err(|_| wrong())?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ports_that_are_bound_and_with_p_those_that_are_exposed_are_published() {
        let config: Config =
            serde_json::from_value(json!({"ExposedPorts": {"80/tcp": {}, "53/udp": {}}})).unwrap();
        let mut host: HostConfig = serde_json::from_value(json!({"PortBindings": {"80/tcp": [
            {"HostIp": "127.0.0.1", "HostPort": "8000-8010"}, {"HostIp": "", "HostPort": ""}]}}))
        .unwrap();
        let ports = published(&config, &host).unwrap();
        let shown: Vec<_> = ports.iter().map(|port| (port.host, port.host_ports)).collect();
        assert_eq!(shown, [(Some([127, 0, 0, 1].into()), Some((8000, 8010))), (None, None)]);
        host.publish_all_ports = true;
        let all = published(&config, &host).unwrap();
        assert_eq!((all.len(), all[2].container_port, all[2].protocol), (3, 53, Protocol::Udp));
    }

    #[test]
    fn addresses_and_names_are_for_networks_that_somebody_has_made() {
        let fixed = Attachment::default().at("10.0.0.2", "");
        assert!(check("app", &fixed).is_ok());
        assert!(check("bridge", &fixed).unwrap_err().to_string().contains("user defined networks"));
        let alias = Attachment { aliases: vec!["db".into()], ..Attachment::default() };
        assert!(
            check("bridge", &alias).is_err() && check("bridge", &Attachment::default()).is_ok()
        );
        assert!(Attachment::default().at("10.0.0", "").request().is_err());
        let mut local = Attachment::default().at("", "");
        local.ipam = serde_json::from_value(json!({"LinkLocalIPs": ["169.254.8.8"]})).unwrap();
        assert!(check("bridge", &local).is_ok() && local.request().unwrap().link_local.len() == 1);
        local.ipam = serde_json::from_value(json!({"LinkLocalIPs": ["10.0.0.1"]})).unwrap();
        assert!(local.request().is_err(), "that is no address of one link");
        assert!(Attachment::default().at("::1", "").request().is_err(), "that is no IPv4 address");
    }
}
