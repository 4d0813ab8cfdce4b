//! What is done to connect a container and to disconnect it, as data.
//!
//! Both are lists of `Step`s. What a connection will be is written down first, and crossed out last;
//! so whoever finds such a note without its author undoes what it says. Each step of undoing does
//! nothing where there is nothing to undo: it is right after any part of the steps that make.

use std::fmt;
use std::net::IpAddr;

use crate::endpoint::Endpoint;
use crate::error::Result;
use crate::mac::Mac;
use crate::namespace::Namespace;
use crate::netlink::{
    CONF_ARP_NOTIFY, Child, ChildKind, Request, Veth, child, conf, default_route, delete_link,
    hairpin, isolate, new_address, no_link_local, up, veth,
};
use crate::network::{BridgeOptions, Driver, Network};
use crate::nft::element::{Element, PortRules, member, of_port, of_published};
use crate::ports::Protocol;

/// One thing that is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Writes down what is being made or undone.
    Note,
    /// Gives the endpoint an address.
    TakeAddress(IpAddr),
    /// Gives it its ports.
    TakePorts,
    /// Asks the kernel for links on the host.
    Host(Vec<Request>),
    /// Gives the device in the container its addresses and routes, and sets it up.
    Dress(Box<Endpoint>),
    /// Lets the default routes by these devices of the container count less than the endpoint's.
    Demote(Vec<String>),
    /// Sets up the end on the host, last: it then has a carrier from the start, and the bridge looks
    /// through its ports once and not three times. Frames pass it and the bridge when this is done.
    Raise(Request, String),
    /// Lets nothing pass the bridge's port any more.
    Mute,
    /// Removes the device in the container.
    Strip(Vec<Request>),
    /// Adds to the packet filter.
    Allow(Vec<Element>),
    /// Forgets where packets to its ports went before.
    ForgetFlows,
    /// Writes the endpoint down for all to see.
    Record,
    /// Takes from the packet filter what the endpoint has there.
    Forbid(Vec<Element>),
    /// Takes its ports back.
    ReturnPorts,
    /// Takes an address back.
    ReturnAddress(IpAddr),
    /// Removes the endpoint.
    Unrecord,
    /// Crosses the note out.
    Cross,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let requests = |f: &mut fmt::Formatter<'_>, place: &str, requests: &[Request]| {
            writeln!(f, "{place}, in one packet of rtnetlink:")?;
            requests.iter().try_for_each(|r| writeln!(f, "    {} {}", r.operation, r.object))
        };
        let elements = |f: &mut fmt::Formatter<'_>, verb: &str, elements: &[Element]| {
            writeln!(f, "packet filter, in one batch of nfnetlink:")?;
            elements.iter().try_for_each(|e| {
                writeln!(
                    f,
                    "    {verb} element {} corten {} {{ {} }}",
                    e.family.name(),
                    e.set,
                    e.text
                )
            })
        };
        match self {
            Step::Note => writeln!(f, "note what is about to be done"),
            Step::TakeAddress(address) => writeln!(f, "take address {address}"),
            Step::TakePorts => writeln!(f, "take the ports"),
            Step::Host(list) => requests(f, "host", list),
            // Its index, which the kernel gives it, is in no word of these.
            Step::Dress(endpoint) => {
                requests(f, "container", &dress(endpoint, 0))?;
                let link = &endpoint.interface;
                let mut lines = endpoint.sysctls.iter().map(|sysctl| sysctl.describe(link));
                lines.try_for_each(|line| writeln!(f, "    {line}"))
            }
            Step::Demote(names) => {
                writeln!(f, "container: lower the default routes of {}", names.join(", "))
            }
            Step::Raise(request, _) => {
                writeln!(f, "host: take IPv6 off {}", request.object)?;
                writeln!(f, "host: {} {}", request.operation, request.object)
            }
            Step::Mute => writeln!(f, "disable the bridge's port"),
            Step::Strip(list) => requests(f, "container", list),
            Step::Allow(list) => elements(f, "add", list),
            Step::ForgetFlows => writeln!(f, "forget where packets to the ports went before"),
            Step::Record => writeln!(f, "record the endpoint"),
            Step::Forbid(list) => elements(f, "delete", list),
            Step::ReturnPorts => writeln!(f, "return the ports"),
            Step::ReturnAddress(address) => writeln!(f, "return address {address}"),
            Step::Unrecord => writeln!(f, "remove the endpoint's record"),
            Step::Cross => writeln!(f, "cross the note out"),
        }
    }
}

/// The steps, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub(crate) steps: Vec<Step>,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|step| step.fmt(f))
    }
}

/// How the links of an endpoint end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// At once.
    Now,
    /// With the container's namespace, which ends; until then nothing passes them.
    WithNamespace,
}

/// What the kernel has, that the plan refers to by number.
#[derive(Debug)]
pub(crate) struct Ground<'a> {
    /// The index of the bridge, or of the parent.
    pub below: u32,
    /// The container's namespace.
    pub namespace: &'a Namespace,
    /// The longest packet, where it is decided here.
    pub mtu: Option<u32>,
    /// Whether the host's packet filter sees what passes a bridge.
    pub filtered: bool,
    /// The container's devices whose networks have a lower priority, the best first.
    pub lower: Vec<String>,
}

// ANCHOR: connect
/// What connects an endpoint.
pub(crate) fn connect(network: &Network, endpoint: &Endpoint, ground: &Ground<'_>) -> Result<Plan> {
    let mut steps = vec![Step::Note];
    steps.extend(endpoint.addresses().into_iter().map(Step::TakeAddress));
    if !endpoint.ports.is_empty() {
        steps.push(Step::TakePorts);
    }
    let driver = network.driver()?;
    // Before the first frame can come.
    let allowed = elements(&driver, endpoint);
    if !allowed.is_empty() {
        steps.push(Step::Allow(allowed));
    }
    if has_udp(endpoint) {
        steps.push(Step::ForgetFlows);
    }
    steps.push(Step::Host(host(&driver, endpoint, ground)));
    steps.push(Step::Dress(Box::new(endpoint.clone())));
    if !ground.lower.is_empty() {
        steps.push(Step::Demote(ground.lower.clone()));
    }
    if let Driver::Bridge(bridge) = &driver {
        steps.push(Step::Raise(up(&endpoint.link), bridge.name.clone()));
    }
    steps.extend([Step::Record, Step::Cross]);
    Ok(Plan { steps })
}
// ANCHOR_END: connect

// ANCHOR: disconnect
/// What disconnects an endpoint, or undoes any part of its connection. `held` are the elements of
/// ports that it really has.
pub(crate) fn disconnect(network: &Network, endpoint: &Endpoint, end: End) -> Result<Plan> {
    let driver = network.driver()?;
    let mut steps = vec![Step::Note];
    match (&driver, end) {
        (Driver::Bridge(_), End::Now) => steps.push(Step::Host(vec![delete_link(&endpoint.link)])),
        (Driver::Bridge(_), End::WithNamespace) => {
            steps.push(Step::Mute);
        }
        _ => {
            let names = [endpoint.interface.clone(), endpoint.first_name()];
            steps.push(Step::Strip(names.iter().map(|name| delete_link(name)).collect()));
        }
    }
    let forbidden = elements(&driver, endpoint);
    if !forbidden.is_empty() {
        steps.push(Step::Forbid(forbidden));
    }
    if has_udp(endpoint) {
        steps.push(Step::ForgetFlows);
    }
    if !endpoint.ports.is_empty() {
        steps.push(Step::ReturnPorts);
    }
    steps.extend(endpoint.addresses().into_iter().map(Step::ReturnAddress));
    steps.extend([Step::Unrecord, Step::Cross]);
    Ok(Plan { steps })
}
// ANCHOR_END: disconnect

fn has_udp(endpoint: &Endpoint) -> bool {
    endpoint.ports.iter().any(|port| port.protocol == Protocol::Udp)
}

/// What an endpoint has in the packet filter.
pub(crate) fn elements(driver: &Driver, endpoint: &Endpoint) -> Vec<Element> {
    let Driver::Bridge(bridge) = driver else { return Vec::new() };
    let mut elements = Vec::new();
    if let (true, Some(mac)) = (bridge.guard, endpoint.mac_address) {
        let mut addresses = endpoint.addresses();
        addresses.extend(endpoint.link_local.iter().map(ipnet::IpNet::addr));
        elements = of_port(&PortRules { link: &endpoint.link, mac, addresses: &addresses });
    }
    // With IPv6 all addresses of a link are a bridge's anyway.
    let local = endpoint.link_local.iter().map(ipnet::IpNet::addr).filter(IpAddr::is_ipv4);
    elements.extend(local.map(|address| member(&bridge.name, address.into())));
    let mut ports: Vec<Element> = endpoint.ports.iter().map(of_published).collect();
    ports.sort_by_key(|element| element.set);
    elements.extend(ports);
    elements
}

/// The device, on the host's side.
fn host(driver: &Driver, endpoint: &Endpoint, ground: &Ground<'_>) -> Vec<Request> {
    let first_name = endpoint.first_name();
    let name = first_name.as_str();
    let there = std::os::fd::AsFd::as_fd(ground.namespace);
    let on_top = |kind, mac, mtu| {
        let device = Child { kind, parent: ground.below, name, mac, mtu };
        vec![child(&device, Some(there))]
    };
    match driver {
        Driver::Bridge(bridge) => pair(bridge, endpoint, ground),
        Driver::Macvlan(parent, mode) => {
            on_top(ChildKind::Macvlan(*mode), endpoint.mac_address, parent.mtu)
        }
        Driver::Ipvlan(parent, mode, flags) => {
            on_top(ChildKind::Ipvlan(*mode, *flags), None, parent.mtu)
        }
        Driver::Host | Driver::None => Vec::new(),
    }
}

fn pair(bridge: &BridgeOptions, endpoint: &Endpoint, ground: &Ground<'_>) -> Vec<Request> {
    let link = endpoint.link.as_str();
    let devices = Veth {
        host: link,
        name: &endpoint.interface,
        mac: endpoint.mac_address.unwrap_or_else(Mac::random),
        mtu: ground.mtu.unwrap_or(1500),
        bridge: ground.below,
    };
    let there = std::os::fd::AsFd::as_fd(ground.namespace);
    let mut requests = vec![veth(&devices, there)];
    if !bridge.neighbours {
        requests.push(isolate(link));
    }
    if ground.filtered {
        requests.push(hairpin(link));
    }
    requests
}

// ANCHOR: dress
/// The device's addresses and routes, in the container, where it has this index.
pub(crate) fn dress(endpoint: &Endpoint, index: u32) -> Vec<Request> {
    let name = endpoint.interface.as_str();
    let mut requests = Vec::new();
    // ipvlan's devices have their parent's address in common; the kernel tells theirs apart.
    if endpoint.mac_address.is_some() || endpoint.ipv6.is_none() {
        requests.push(no_link_local(name));
    }
    if !endpoint.has_usual_mac() {
        // Who had this address before may have had another link layer address. To tell it is to send a
        // frame to everybody on the bridge.
        requests.push(conf(name, CONF_ARP_NOTIFY, 1));
    }
    requests.push(up(name));
    let mut nets = endpoint.nets();
    nets.extend(&endpoint.link_local);
    if let (Some(mac), true) = (endpoint.mac_address, endpoint.ipv6.is_some()) {
        nets.push(mac.link_local_net());
    }
    requests.extend(nets.into_iter().map(|net| new_address(index, name, net)));
    // Of several networks the one with the lowest counts, and the next one's when that has gone.
    let metric = endpoint.metric;
    let gateways = [endpoint.gateway, endpoint.ipv6_gateway].into_iter().flatten();
    requests.extend(gateways.map(|gateway| default_route(index, name, gateway, metric)));
    requests
}
// ANCHOR_END: dress
