//! An endpoint: a container's place on a network.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::mac::Mac;
use crate::option::Sysctl;
use crate::ports::{Publish, Published};

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointRequest {
    /// The container's full id.
    pub container: String,
    /// Its name.
    pub name: String,
    /// Other names on this network.
    pub aliases: Vec<String>,
    /// Names by which it alone knows other containers on this network, in small letters, and how those
    /// are called: a name, or the beginning of an id.
    pub links: BTreeMap<String, String>,
    /// Its address; any that is free where there is none.
    pub ipv4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub ipv6: Option<Ipv6Addr>,
    /// Further addresses, of this link alone (RFC 3927): nobody keeps a list of those.
    pub link_local: Vec<IpAddr>,
    /// Its link layer address; the one that belongs to its IPv4 address where there is none.
    pub mac: Option<Mac>,
    /// What the device in the container is called; by its number where there is none.
    pub interface: Option<String>,
    /// Settings of the device.
    pub sysctls: Vec<Sysctl>,
    /// Of several networks the one with the highest leads everywhere else, and of those the first.
    pub gateway_priority: i64,
    /// Where its network namespace is kept, or that of a process in it: `/proc/PID/ns/net`.
    pub namespace: PathBuf,
    /// What is published. Nothing is on an internal network, as with Docker.
    pub ports: Vec<Publish>,
    /// Whom the network's name server asks for it (`--dns`); the host's resolvers where empty.
    pub dns: Vec<IpAddr>,
    /// Options of its resolver (`--dns-option`), by which the name server knows how it looks for names.
    pub dns_options: Vec<String>,
}

/// An endpoint that is there. Docker's names, and what it takes to undo it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Endpoint {
    /// 64 hexadecimal digits.
    #[serde(rename = "EndpointID")]
    pub id: String,
    /// The network's id.
    #[serde(rename = "NetworkID")]
    pub network: String,
    /// The container's full id.
    pub container: String,
    /// Its name.
    pub name: String,
    /// Other names on this network.
    pub aliases: Vec<String>,
    /// Names by which it alone knows other containers on this network, in small letters, and how those
    /// are called: a name, or the beginning of an id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub links: BTreeMap<String, String>,
    /// Its address, with the length of the subnet's prefix; empty where it has none.
    #[serde(rename = "IPv4Address", with = "address")]
    pub ipv4: Option<IpNet>,
    /// The same for IPv6.
    #[serde(rename = "IPv6Address", with = "address")]
    pub ipv6: Option<IpNet>,
    /// Further addresses, of this link alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub link_local: Vec<IpNet>,
    /// Its link layer address; `None` where it has its parent's.
    #[serde(with = "mac")]
    pub mac_address: Option<Mac>,
    /// Its network namespace.
    pub namespace: PathBuf,
    /// By which everything else is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// The same for IPv6.
    #[serde(rename = "IPv6Gateway", default, skip_serializing_if = "Option::is_none")]
    pub ipv6_gateway: Option<IpAddr>,
    /// Of several networks the one with the highest leads everywhere else.
    #[serde(rename = "GwPriority", default)]
    pub gateway_priority: i64,
    /// Of its default route, when it was made: the lowest counts.
    #[serde(default)]
    pub metric: u32,
    /// The device in the container.
    pub interface: String,
    /// Settings of the device.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sysctls: Vec<Sysctl>,
    /// The how manyth of the container's it is, from 0 on.
    pub number: u32,
    /// The device's other end on the host; empty where there is none.
    pub link: String,
    /// What is published.
    pub ports: Vec<Published>,
    /// Whom the network's name server asks for it; the host's resolvers where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<IpAddr>,
    /// Options of its resolver.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns_options: Vec<String>,
}

impl Endpoint {
    /// Its addresses, without prefixes.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.nets().iter().map(IpNet::addr).collect()
    }

    /// Everything that it is called, in small letters. Its full id is no name: it has 64 digits,
    /// and no part of a name has more than 63 (RFC 1035, 2.3.4).
    pub(crate) fn names(&self) -> Vec<String> {
        let short = self.container.get(..12).unwrap_or(&self.container);
        let own = [self.name.as_str(), short];
        let all = own.into_iter().chain(self.aliases.iter().map(String::as_str));
        let mut names: Vec<String> =
            all.filter(|name| !name.is_empty()).map(str::to_ascii_lowercase).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Whether somebody means it by a name of its own, or by the beginning of its container's id.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.container.starts_with(name) || self.names().contains(&name.to_ascii_lowercase())
    }

    /// Its addresses, with prefixes.
    pub(crate) fn nets(&self) -> Vec<IpNet> {
        [self.ipv4, self.ipv6].into_iter().flatten().collect()
    }

    /// The name with which a device on top of another one is made: older kernels make it on the host
    /// first, where its later name may be taken (6.1 does, 6.18 does not).
    pub(crate) fn first_name(&self) -> String {
        format!("cn-{}", self.id.get(..12).unwrap_or_default())
    }

    /// Whether its link layer address is the one that always belongs to its IPv4 address.
    pub(crate) fn has_usual_mac(&self) -> bool {
        let usual = match self.ipv4.map(|net| net.addr()) {
            Some(IpAddr::V4(address)) => Some(Mac::of(address)),
            _ => None,
        };
        self.mac_address.is_none() || self.mac_address == usual
    }

    /// As `docker network inspect` shows it among a network's containers.
    pub fn member(&self) -> Member {
        Member {
            name: self.name.clone(),
            endpoint: self.id.clone(),
            mac_address: text(self.mac_address),
            ipv4: text(self.ipv4),
            ipv6: text(self.ipv6),
        }
    }

    /// As `docker inspect` shows it among a container's networks. What was asked for is the engine's to
    /// add.
    pub fn settings(&self) -> Settings {
        let address = |net: Option<IpNet>| text(net.map(|net| net.addr()));
        let length = |net: Option<IpNet>| net.map_or(0, |net| net.prefix_len());
        Settings {
            ipam_config: None,
            links: None,
            aliases: (!self.aliases.is_empty()).then(|| self.aliases.clone()),
            mac_address: text(self.mac_address),
            driver_opts: None,
            gateway_priority: self.gateway_priority,
            network: self.network.clone(),
            endpoint: self.id.clone(),
            gateway: text(self.gateway),
            ip_address: address(self.ipv4),
            ip_prefix_len: length(self.ipv4),
            ipv6_gateway: text(self.ipv6_gateway),
            global_ipv6_address: address(self.ipv6),
            global_ipv6_prefix_len: length(self.ipv6),
            dns_names: None,
        }
    }

    /// As `docker inspect` shows the published ports: `80/tcp` and where it is on the host.
    pub fn bindings(&self) -> BTreeMap<String, Vec<Binding>> {
        let mut bindings: BTreeMap<String, Vec<Binding>> = BTreeMap::new();
        for port in &self.ports {
            let key = format!("{}/{}", port.container_port, port.protocol);
            bindings.entry(key).or_default().push(Binding {
                host_ip: port.host.to_string(),
                host_port: port.host_port.to_string(),
            });
        }
        bindings
    }
}

fn text(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// A container on a network, as `docker network inspect` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Member {
    /// The container's name.
    pub name: String,
    /// The endpoint's id.
    #[serde(rename = "EndpointID")]
    pub endpoint: String,
    /// Its link layer address.
    pub mac_address: String,
    /// With a prefix.
    #[serde(rename = "IPv4Address")]
    pub ipv4: String,
    /// With a prefix.
    #[serde(rename = "IPv6Address")]
    pub ipv6: String,
}

/// `EndpointSettings`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Settings {
    /// What was asked for.
    #[serde(rename = "IPAMConfig")]
    pub ipam_config: Option<BTreeMap<String, String>>,
    /// Of old clients.
    pub links: Option<Vec<String>>,
    /// Other names; null where there are none.
    pub aliases: Option<Vec<String>>,
    /// Its link layer address.
    pub mac_address: String,
    /// For the driver.
    pub driver_opts: Option<BTreeMap<String, String>>,
    /// The one with the highest leads everywhere else.
    #[serde(rename = "GwPriority")]
    pub gateway_priority: i64,
    /// The network's id.
    #[serde(rename = "NetworkID")]
    pub network: String,
    /// The endpoint's id.
    #[serde(rename = "EndpointID")]
    pub endpoint: String,
    /// By which everything else is reached.
    pub gateway: String,
    /// Its address.
    #[serde(rename = "IPAddress")]
    pub ip_address: String,
    /// The length of its subnet's prefix.
    #[serde(rename = "IPPrefixLen")]
    pub ip_prefix_len: u8,
    /// The same for IPv6.
    #[serde(rename = "IPv6Gateway")]
    pub ipv6_gateway: String,
    /// The same for IPv6.
    #[serde(rename = "GlobalIPv6Address")]
    pub global_ipv6_address: String,
    /// The same for IPv6.
    #[serde(rename = "GlobalIPv6PrefixLen")]
    pub global_ipv6_prefix_len: u8,
    /// All names by which it is found.
    #[serde(rename = "DNSNames")]
    pub dns_names: Option<Vec<String>>,
}

/// `PortBinding`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Binding {
    /// The host's address.
    pub host_ip: String,
    /// The host's port.
    pub host_port: String,
}

/// An address that is empty where there is none, as Docker writes it.
mod address {
    use ipnet::IpNet;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(net: &Option<IpNet>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::text(*net))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<IpNet>, D::Error> {
        match String::deserialize(from)?.as_str() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(D::Error::custom),
        }
    }
}

/// The same for link layer addresses.
mod mac {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::mac::Mac;

    pub fn serialize<S: Serializer>(mac: &Option<Mac>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::text(*mac))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Mac>, D::Error> {
        match String::deserialize(from)?.as_str() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(D::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_has_dockers_names() {
        let endpoint = Endpoint {
            id: "e".repeat(64),
            network: "a".repeat(64),
            container: "c".repeat(64),
            name: "web".into(),
            aliases: vec!["db".into()],
            links: BTreeMap::new(),
            link_local: Vec::new(),
            ipv4: Some("172.19.0.2/16".parse().unwrap()),
            ipv6: None,
            mac_address: Some(Mac::of(Ipv4Addr::new(172, 19, 0, 2))),
            namespace: "/run/corten/netns/c".into(),
            gateway: Some("172.19.0.1".parse().unwrap()),
            ipv6_gateway: None,
            gateway_priority: -1,
            metric: 3,
            interface: "eth0".into(),
            sysctls: vec![Sysctl::parse("net.ipv4.conf.IFNAME.forwarding=0").unwrap()],
            number: 0,
            link: "veth1234567".into(),
            ports: Vec::new(),
            dns: vec!["9.9.9.9".parse().unwrap()],
            dns_options: vec!["ndots:2".into()],
        };
        let json = serde_json::to_value(&endpoint).unwrap();
        assert_eq!(json["IPv4Address"], "172.19.0.2/16");
        assert_eq!(json["IPv6Address"], "");
        assert_eq!(json["MacAddress"], "02:42:ac:13:00:02");
        assert_eq!(serde_json::from_value::<Endpoint>(json).unwrap(), endpoint);
        let shown = serde_json::to_value(endpoint.settings()).unwrap();
        assert_eq!(shown["IPPrefixLen"], 16);
        assert!(shown["Links"].is_null() && shown["IPAMConfig"].is_null());
    }

    #[test]
    fn its_names_are_small_and_each_is_there_once() {
        let endpoint = Endpoint {
            container: "0123456789abcdef".into(),
            name: "Web".into(),
            aliases: vec!["db".into(), "WEB".into()],
            ..Endpoint::default()
        };
        assert_eq!(endpoint.names(), ["0123456789ab", "db", "web"]);
    }
}
