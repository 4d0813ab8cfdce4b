//! A network's own link on the host: a bridge, or the parent of macvlan and ipvlan.

use std::net::IpAddr;

use nix::errno::Errno;

use crate::error::{Error, Result};
use crate::host;
use crate::mac::Mac;
use crate::netlink::{
    Bridge, CONF_ROUTE_LOCALNET, Child, ChildKind, Link, Request, Socket, alias, bridge, child,
    conf, delete_link, dummy, find, loopback_route, new_address, no_link_local, up,
};
use crate::network::{BridgeOptions, Driver, Network, Parent};
use crate::networks::{Kernel, Networks};
use crate::nft::element::{BridgeRules, Element, of_bridge};

/// A network's link, and the longest packet that its containers send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Below {
    pub index: u32,
    pub mtu: Option<u32>,
}

/// What the link of a network says of itself, so that nobody else's is taken for it.
fn description(network: &Network) -> String {
    format!("corten network {}", network.id)
}

/// The elements that a network has in the packet filter.
pub(crate) fn elements(network: &Network, bridge: &BridgeOptions) -> Vec<Element> {
    of_bridge(&BridgeRules {
        name: &bridge.name,
        subnets: &network.subnets(),
        internal: network.internal,
        masquerade: bridge.masquerade,
    })
}

// ANCHOR: ensure
/// The link of a network, made where it is missing: after a reboot no bridge is left.
///
/// # Errors
/// Where a link of its name is somebody else's, or the kernel refuses.
pub(crate) fn ensure(networks: &Networks, network: &Network, kernel: &mut Kernel) -> Result<Below> {
    match network.driver()? {
        Driver::Bridge(options) => {
            if let Some(link) = ours(network, &options.name, &mut kernel.route)? {
                return Ok(Below { index: link.index, mtu: Some(link.mtu) });
            }
            if let Err(error) = make(networks, network, &options, kernel) {
                let _ = kernel.route.burst(&[delete_link(&options.name)]);
                let _ = networks.tables.clear(&mut kernel.filter, &elements(network, &options));
                return Err(error);
            }
            let link = present(&options.name, &mut kernel.route)?;
            Ok(Below { index: link.index, mtu: Some(link.mtu) })
        }
        Driver::Macvlan(below, _) | Driver::Ipvlan(below, ..) => {
            parent(network, &below, &mut kernel.route)
        }
        Driver::Host | Driver::None => Err(Error::invalid(
            format!("network {}", network.name),
            "has no link: a container is started with it, or not connected to it",
        )),
    }
}
// ANCHOR_END: ensure

/// The network's link of this name, where it is there.
fn ours(network: &Network, name: &str, route: &mut Socket) -> Result<Option<Link>> {
    match find(route, name)? {
        Some(link) if link.alias.as_deref() == Some(&description(network)) => Ok(Some(link)),
        Some(_) => Err(Error::invalid(
            format!("link {name}"),
            format!("is there already and does not belong to network {}", network.name),
        )),
        None => Ok(None),
    }
}

fn present(name: &str, route: &mut Socket) -> Result<Link> {
    find(route, name)?
        .ok_or_else(|| crate::error::KernelError::new("look for link", name, Errno::ENODEV).into())
}

// ANCHOR: make
/// Makes a bridge: first what the packet filter says about it, so that no packet ever passes a bridge
/// that has no rules.
fn make(
    networks: &Networks,
    network: &Network,
    options: &BridgeOptions,
    kernel: &mut Kernel,
) -> Result<()> {
    // What is said about a name from a time when it was another network's is not said any more. That is
    // asked for only where it is in the way: the kernel takes its time to abort a batch.
    let (route, tables) = (&mut kernel.route, &networks.tables);
    let elements = elements(network, options);
    match tables.change(&mut kernel.filter, &elements, &[]) {
        Err(error) if error.errno() == Some(Errno::EEXIST) => {
            tables.clear(&mut kernel.filter, &elements)?;
            tables.change(&mut kernel.filter, &elements, &[])?;
        }
        other => other?,
    }
    if !network.internal {
        host::forward(networks, &mut kernel.filter, false)?;
        if network.enable_ipv6 {
            host::forward(networks, &mut kernel.filter, true)?;
        }
    }
    let mtu = match options.mtu {
        Some(mtu) => mtu,
        None => host::mtu(route)?,
    };
    let gateway = network.pool(false).and_then(|pool| pool.gateway);
    let mac = match gateway {
        Some(IpAddr::V4(address)) => Mac::of(address),
        _ => Mac::random(),
    };
    let name = options.name.as_str();
    route.make(&[
        bridge(&Bridge { name, mac, mtu }),
        alias(name, &description(network)),
        // A published port is reached from the host's loopback, too.
        conf(name, CONF_ROUTE_LOCALNET, 1),
    ])?;
    let index = present(name, route)?.index;
    route.burst(&[no_link_local(name), up(name)])?;
    let address = |pool: &crate::network::Pool| {
        pool.gateway.map(|gateway| new_address(index, name, pool.with_prefix(gateway)))
    };
    let mut addresses: Vec<Request> = network.ipam.config.iter().filter_map(address).collect();
    if network.enable_ipv6 {
        addresses.push(new_address(index, name, mac.link_local_net()));
        if !network.internal {
            // From `[::1]`, too.
            addresses.push(loopback_route(index, name));
        }
    }
    route.burst(&addresses)
}
// ANCHOR_END: make

/// Removes a network's link, where it is there and ours, and what the packet filter says about it.
///
/// # Errors
/// Where the kernel refuses.
pub(crate) fn remove(networks: &Networks, network: &Network, kernel: &mut Kernel) -> Result<()> {
    let (route, tables) = (&mut kernel.route, &networks.tables);
    match network.driver()? {
        Driver::Bridge(options) => {
            if matches!(ours(network, &options.name, route), Ok(Some(_))) {
                route.burst(&[delete_link(&options.name)])?;
            }
            tables.clear(&mut kernel.filter, &elements(network, &options))
        }
        Driver::Macvlan(below, _) | Driver::Ipvlan(below, ..) => {
            match ours(network, &below.name, route) {
                Ok(Some(_)) => route.burst(&[delete_link(&below.name)]),
                _ => Ok(()),
            }
        }
        Driver::Host | Driver::None => Ok(()),
    }
}

/// The parent of a macvlan or ipvlan network: a link of the host's, a VLAN of one (`eth0.10`), or a
/// dummy of ours.
fn parent(network: &Network, below: &Parent, route: &mut Socket) -> Result<Below> {
    let known = |link: Link| Below { index: link.index, mtu: below.mtu };
    if let Some(link) = find(route, &below.name)? {
        return Ok(known(link));
    }
    let describe = alias(&below.name, &description(network));
    if below.ours {
        route.make(&[dummy(&below.name), describe])?;
        return Ok(known(present(&below.name, route)?));
    }
    let split = below.name.rsplit_once('.');
    let Some((on, number)) = split.and_then(|(on, number)| Some((on, number.parse().ok()?))) else {
        let why = "there is no such link for macvlan and ipvlan to stand on";
        return Err(Error::invalid(format!("parent {}", below.name), why));
    };
    let on = present(on, route)?;
    let kind = ChildKind::Vlan(number);
    let vlan = Child { kind, parent: on.index, name: &below.name, mac: None, mtu: None };
    route.make(&[child(&vlan, None), describe])?;
    Ok(known(present(&below.name, route)?))
}
