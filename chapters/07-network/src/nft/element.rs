//! What sets and maps hold of a network and of a container.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::Family;
use super::expression::Verdict;
use crate::mac::Mac;
use crate::ports::Published;

/// What an element of a map leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Nothing,
    Verdict(Verdict),
    Bytes(Vec<u8>),
}

/// An element of a set or map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Element {
    pub family: Family,
    pub set: &'static str,
    pub key: Vec<u8>,
    /// The last key, where it is a range.
    pub end: Option<Vec<u8>>,
    pub value: Value,
    /// As nft would write it.
    pub text: String,
}

/// The name of a link as it stands in a key.
fn link(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// In a row each part begins at a multiple of four.
fn row(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(part);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

fn inet(set: &'static str, key: Vec<u8>, text: String) -> Element {
    Element { family: Family::Inet, set, key, end: None, value: Value::Nothing, text }
}

fn mapped(set: &'static str, bridge: &str, chain: &'static str) -> Element {
    let value = Value::Verdict(Verdict::Jump(chain));
    Element { value, ..inet(set, link(bridge), format!("{bridge} : jump {chain}")) }
}

/// What is known of a bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BridgeRules<'a> {
    pub name: &'a str,
    pub subnets: &'a [IpNet],
    /// Whether nothing leaves it.
    pub internal: bool,
    /// Whether what leaves has the host's address.
    pub masquerade: bool,
}

// ANCHOR: network
/// The elements of a network.
pub(crate) fn of_bridge(bridge: &BridgeRules<'_>) -> Vec<Element> {
    let name = bridge.name;
    let (from, to, local) = match bridge.internal {
        true => ("from_internal", "to_internal", "local_internal"),
        false => ("from_open", "to_open", "spoofed"),
    };
    let mut elements = vec![inet("bridges", link(name), name.to_owned())];
    if bridge.masquerade && !bridge.internal {
        elements.push(inet("outgoing", link(name), name.to_owned()));
    }
    elements.push(inet("same", row(&[link(name), link(name)]), format!("{name} . {name}")));
    let mut subnets = bridge.subnets.to_vec();
    if subnets.iter().any(|subnet| subnet.addr().is_ipv6()) {
        // Neighbours find one another by addresses of the link alone, and ask before they have one.
        let link_local = IpNet::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0).into(), 10).ok();
        // A subnet may be one of those; the kernel takes no range twice.
        subnets.retain(|subnet| !link_local.iter().any(|all| all.contains(subnet)));
        subnets.extend(link_local);
        subnets.extend(IpNet::new(Ipv6Addr::UNSPECIFIED.into(), 128));
    }
    subnets.sort_by_key(|subnet| subnet.addr().is_ipv6());
    elements.extend(subnets.iter().map(|subnet| member(name, *subnet)));
    elements.push(mapped("from", name, from));
    elements.push(mapped("to", name, to));
    elements.push(mapped("local", name, local));
    elements
}
// ANCHOR_END: network

/// Addresses that belong to a bridge: of its subnets, and those of one link that its containers have.
pub(crate) fn member(bridge: &str, subnet: IpNet) -> Element {
    let set = if subnet.addr().is_ipv4() { "members4" } else { "members6" };
    let text = format!("{bridge} . {subnet}");
    let bound = |address| row(&[link(bridge), octets(address)]);
    let end = Some(bound(subnet.broadcast()));
    Element { end, ..inet(set, bound(subnet.network()), text) }
}

/// What a container may be the source of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortRules<'a> {
    /// The bridge's port.
    pub link: &'a str,
    pub mac: Mac,
    pub addresses: &'a [IpAddr],
}

// ANCHOR: container
/// The elements of a container's place at a bridge: its frames have these sources and no others.
pub(crate) fn of_port(port: &PortRules<'_>) -> Vec<Element> {
    let frames = |set, key, text| Element { family: Family::Bridge, ..inet(set, key, text) };
    let mut sources = port.addresses.to_vec();
    // Who asks whether an address is free has none yet.
    sources.push(Ipv4Addr::UNSPECIFIED.into());
    if sources.iter().any(IpAddr::is_ipv6) {
        sources.extend([port.mac.link_local().into(), IpAddr::from(Ipv6Addr::UNSPECIFIED)]);
    }
    sources.sort_by_key(IpAddr::is_ipv6);
    let mut elements = vec![frames("ports", link(port.link), port.link.to_owned())];
    elements.extend(sources.into_iter().map(|source| {
        let set = if source.is_ipv4() { "owners4" } else { "owners6" };
        let key = row(&[link(port.link), port.mac.0.to_vec(), octets(source)]);
        frames(set, key, format!("{} . {} . {source}", port.link, port.mac))
    }));
    elements
}
// ANCHOR_END: container

// ANCHOR: ports
/// The element of a published port.
pub(crate) fn of_published(port: &Published) -> Element {
    let number = |port: u16| port.to_be_bytes().to_vec();
    let protocol = vec![port.protocol.number()];
    let (every, at) = match port.host {
        IpAddr::V4(_) => ("every4", "ports4"),
        IpAddr::V6(_) => ("every6", "ports6"),
    };
    let rest = [protocol, number(port.host_port)];
    let (set, key) = match port.host.is_unspecified() {
        true => (every, row(&rest)),
        false => (at, row(&[vec![octets(port.host)], rest.to_vec()].concat())),
    };
    let value = Value::Bytes(row(&[octets(port.container), number(port.container_port)]));
    Element { value, ..inet(set, key, port.to_string()) }
}
// ANCHOR_END: ports

/// That packets of others are not passed on.
pub(crate) fn no_others(ipv6: bool) -> Element {
    let family = if ipv6 { libc::AF_INET6 } else { libc::AF_INET };
    let text = format!("{} : drop", if ipv6 { "ipv6" } else { "ipv4" });
    let value = Value::Verdict(Verdict::Drop);
    Element { value, ..inet("others", vec![family as u8], text) }
}
