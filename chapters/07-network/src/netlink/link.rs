//! Links: pairs of virtual Ethernet devices, bridges, and devices on top of others.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use super::message::{Message, attribute, string, word};
use super::socket::{CREATE, EXCLUSIVE, Request, Socket};
use crate::error::Result;
use crate::mac::Mac;

/// linux/rtnetlink.h.
const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const SET_LINK: u16 = 19;
/// linux/if_link.h.
const ADDRESS: u16 = 1;
const IFNAME: u16 = 3;
const MTU: u16 = 4;
const LINK: u16 = 5;
const MASTER: u16 = 10;
const PROTINFO: u16 = 12;
const LINKINFO: u16 = 18;
const ALIAS: u16 = 20;
const AF_SPEC: u16 = 26;
const NET_NS_FD: u16 = 28;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const INFO_SLAVE_KIND: u16 = 4;
const INFO_SLAVE_DATA: u16 = 5;
const VETH_PEER: u16 = 1;
const BRIDGE_STP: u16 = 5;
const BRIDGE_FORWARD_DELAY: u16 = 1;
const BRIDGE_MULTICAST_SNOOPING: u16 = 23;
const PORT_STATE: u16 = 1;
const PORT_HAIRPIN: u16 = 4;
const PORT_FLUSH: u16 = 24;
const PORT_ISOLATED: u16 = 33;
const INET_CONF: u16 = 1;
const INET6_ADDR_GEN_MODE: u16 = 8;
const ADDR_GEN_MODE_NONE: u8 = 1;
const UP: u32 = libc::IFF_UP as u32;

/// A setting of one link (linux/ip.h): packets to and from 127.0.0.0/8 may pass it.
pub(crate) const CONF_ROUTE_LOCALNET: u16 = 26;
/// A setting of one link: who has an address tells the others when it comes up.
pub(crate) const CONF_ARP_NOTIFY: u16 = 22;

/// `struct ifinfomsg`.
fn info(family: i32, index: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut bytes = vec![family as u8, 0, 0, 0];
    for number in [index, flags, change] {
        bytes.extend_from_slice(&number.to_ne_bytes());
    }
    bytes
}

fn new(up: bool) -> Message {
    let flags = if up { UP } else { 0 };
    let mut message = Message::new(NEW_LINK, CREATE | EXCLUSIVE);
    message.raw(&info(libc::AF_UNSPEC, 0, flags, flags));
    message
}

/// Changes the link of this name.
fn set(name: &str, up: bool) -> Message {
    let flags = if up { UP } else { 0 };
    let mut message = Message::new(SET_LINK, 0);
    message.raw(&info(libc::AF_UNSPEC, 0, flags, flags)).text(IFNAME, name);
    message
}

/// A bridge that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bridge<'a> {
    pub name: &'a str,
    /// Given, so that it does not change with the bridge's ports.
    pub mac: Mac,
    pub mtu: u32,
}

// ANCHOR: bridge
/// Makes a bridge whose ports forward at once. It does not listen to who wants which multicast frames
/// (snooping): without a router that asks for it, it would send those to everybody all the same, and
/// whenever one port comes up it begins anew for all of its ports.
pub(crate) fn bridge(bridge: &Bridge<'_>) -> Request {
    let mut message = new(false);
    message.text(IFNAME, bridge.name).attribute(ADDRESS, &bridge.mac.0).number(MTU, bridge.mtu);
    message.nested(LINKINFO, |info| {
        info.text(INFO_KIND, "bridge").nested(INFO_DATA, |data| {
            data.number(BRIDGE_FORWARD_DELAY, 0).number(BRIDGE_STP, 0);
            data.attribute(BRIDGE_MULTICAST_SNOOPING, &[0]);
        });
    });
    Request::new(message, "create bridge", bridge.name)
}
// ANCHOR_END: bridge

/// A pair of virtual Ethernet devices that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Veth<'a> {
    /// The end that stays here.
    pub host: &'a str,
    /// The end in the container: its name and address there.
    pub name: &'a str,
    pub mac: Mac,
    pub mtu: u32,
    /// The bridge that the host's end is a port of.
    pub bridge: u32,
}

// ANCHOR: veth
/// Makes the pair, the far end at once in the namespace `there`: it is never seen here, and no
/// second message moves it.
pub(crate) fn veth(veth: &Veth<'_>, there: BorrowedFd<'_>) -> Request {
    let mut message = new(false);
    message.text(IFNAME, veth.host).number(MTU, veth.mtu).number(MASTER, veth.bridge);
    message.nested(LINKINFO, |link| {
        link.text(INFO_KIND, "veth").nested(INFO_DATA, |data| {
            data.nested(VETH_PEER, |peer| {
                peer.raw(&info(libc::AF_UNSPEC, 0, 0, 0));
                peer.text(IFNAME, veth.name).number(MTU, veth.mtu);
                peer.attribute(ADDRESS, &veth.mac.0);
                peer.number(NET_NS_FD, there.as_raw_fd() as u32);
            });
        });
    });
    Request::new(message, format!("create veth {} with its peer", veth.host), veth.name)
}
// ANCHOR_END: veth

/// A device on top of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Child<'a> {
    pub kind: ChildKind,
    pub parent: u32,
    pub name: &'a str,
    /// `None` where it has its parent's (ipvlan).
    pub mac: Option<Mac>,
    pub mtu: Option<u32>,
}

/// What kind of device, and its number of mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChildKind {
    /// An address of its own on the parent's wire.
    Macvlan(u32),
    /// The parent's link layer address: a mode, and flags.
    Ipvlan(u16, u16),
    /// Frames of one VLAN of the parent's.
    Vlan(u16),
}

impl ChildKind {
    pub fn name(self) -> &'static str {
        match self {
            ChildKind::Macvlan(_) => "macvlan",
            ChildKind::Ipvlan(..) => "ipvlan",
            ChildKind::Vlan(_) => "vlan",
        }
    }
}

/// Makes a device on top of `child.parent`, which is here; the device is in `there`.
pub(crate) fn child(child: &Child<'_>, there: Option<BorrowedFd<'_>>) -> Request {
    let mut message = new(there.is_none());
    message.text(IFNAME, child.name).number(LINK, child.parent);
    if let Some(mtu) = child.mtu {
        message.number(MTU, mtu);
    }
    if let Some(mac) = child.mac {
        message.attribute(ADDRESS, &mac.0);
    }
    if let Some(there) = there {
        message.number(NET_NS_FD, there.as_raw_fd() as u32);
    }
    message.nested(LINKINFO, |info| {
        info.text(INFO_KIND, child.kind.name()).nested(INFO_DATA, |data| match child.kind {
            ChildKind::Macvlan(mode) => {
                data.number(1, mode);
            }
            ChildKind::Ipvlan(mode, flags) => {
                data.attribute(1, &mode.to_ne_bytes()).attribute(2, &flags.to_ne_bytes());
            }
            ChildKind::Vlan(number) => {
                data.attribute(1, &number.to_ne_bytes());
            }
        });
    });
    Request::new(message, format!("create {}", child.kind.name()), child.name)
}

/// Makes a device that leads nowhere, up: the parent of a network that ends on this machine.
pub(crate) fn dummy(name: &str) -> Request {
    let mut message = new(true);
    message.text(IFNAME, name).nested(LINKINFO, |info| {
        info.text(INFO_KIND, "dummy");
    });
    Request::new(message, "create dummy", name)
}

/// Sets a link up.
pub(crate) fn up(name: &str) -> Request {
    Request::new(set(name, true), "set up", name)
}

/// Gives the link with this index another name; it is down.
pub(crate) fn rename(index: u32, name: &str) -> Request {
    let mut message = Message::new(SET_LINK, 0);
    message.raw(&info(libc::AF_UNSPEC, index, 0, 0)).text(IFNAME, name);
    Request::new(message, "name a device", name)
}

/// Says whom a link belongs to, for `ip link` and for ourselves.
pub(crate) fn alias(name: &str, text: &str) -> Request {
    let mut message = set(name, false);
    message.attribute(ALIAS, text.as_bytes());
    Request::new(message, "describe", name)
}

/// Keeps IPv6 from giving a link an address of its own accord. Where one for the link alone is wanted,
/// we give it: the kernel's would be of no use in its first second, while it asks who else has it.
pub(crate) fn no_link_local(name: &str) -> Request {
    let mut message = set(name, false);
    message.nested(AF_SPEC, |families| {
        families.nested(libc::AF_INET6 as u16, |inet6| {
            inet6.attribute(INET6_ADDR_GEN_MODE, &[ADDR_GEN_MODE_NONE]);
        });
    });
    // Where the kernel has no IPv6, there is nothing to keep from it.
    Request::new(message, "keep IPv6 addresses from", name).unless(Errno::EAFNOSUPPORT)
}

/// Sets one of the IPv4 settings of a link: what /proc/sys/net/ipv4/conf/NAME/… holds.
pub(crate) fn conf(name: &str, setting: u16, value: u32) -> Request {
    let mut message = set(name, false);
    message.nested(AF_SPEC, |families| {
        families.nested(libc::AF_INET as u16, |inet| {
            inet.nested(INET_CONF, |settings| {
                settings.number(setting, value);
            });
        });
    });
    Request::new(message, format!("change IPv4 setting {setting} of"), name)
}

/// Changes what a bridge does with one of its ports.
fn port(name: &str, settings: impl FnOnce(&mut Message)) -> Message {
    let mut message = Message::new(NEW_LINK, 0);
    message.raw(&info(libc::AF_UNSPEC, 0, 0, 0)).text(IFNAME, name).nested(LINKINFO, |info| {
        info.text(INFO_SLAVE_KIND, "bridge").nested(INFO_SLAVE_DATA, settings);
    });
    message
}

/// Lets frames leave by the port that they came by. Needed where bridges' frames pass the packet filter
/// (br_netfilter): it replaces a target before the bridge looks at it, and a container that asks for its
/// own published port is then sent back to where it is.
pub(crate) fn hairpin(name: &str) -> Request {
    let message = port(name, |settings| {
        settings.attribute(PORT_HAIRPIN, &[1]);
    });
    Request::new(message, "let frames return by port", name)
}

/// Lets nothing pass between a port and others that are isolated too.
pub(crate) fn isolate(name: &str) -> Request {
    let message = port(name, |settings| {
        settings.attribute(PORT_ISOLATED, &[1]);
    });
    Request::new(message, "isolate the port", name)
}

// ANCHOR: mute
/// Lets nothing pass a port any more, and forgets whom it led to. Unlike taking the device down or
/// away this waits for nobody; the device goes with its namespace, later. By the bridge's own kind of
/// message: after one of the usual kind the bridge looks at the port's carrier, and enables it again.
pub(crate) fn mute(index: u32, name: &str) -> Request {
    let mut message = Message::new(SET_LINK, 0);
    message.raw(&info(libc::AF_BRIDGE, index, 0, 0)).nested(PROTINFO, |port| {
        port.attribute(PORT_STATE, &[0]).attribute(PORT_FLUSH, &[]);
    });
    Request::new(message, "disable the port", name).unless(Errno::ENODEV)
}
// ANCHOR_END: mute

/// Removes a link; one that is gone is no error.
pub(crate) fn delete_link(name: &str) -> Request {
    let mut message = Message::new(DELETE_LINK, 0);
    message.raw(&info(libc::AF_UNSPEC, 0, 0, 0)).text(IFNAME, name);
    Request::new(message, "delete", name).unless(Errno::ENODEV)
}

/// A link as the kernel tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub index: u32,
    pub name: String,
    pub mtu: u32,
    pub alias: Option<String>,
}

/// All links of the socket's namespace.
///
/// # Errors
/// Where the kernel refuses.
pub(crate) fn links(socket: &mut Socket) -> Result<Vec<Link>> {
    let mut message = Message::new(GET_LINK, 0);
    message.raw(&info(libc::AF_UNSPEC, 0, 0, 0));
    let found = socket.dump(&Request::new(message, "list", "links"))?;
    Ok(found.iter().filter_map(|(_, body)| link(body)).collect())
}

/// The link of this name.
///
/// # Errors
/// Where the kernel refuses.
pub(crate) fn find(socket: &mut Socket, name: &str) -> Result<Option<Link>> {
    let mut message = Message::new(GET_LINK, 0);
    message.raw(&info(libc::AF_UNSPEC, 0, 0, 0)).text(IFNAME, name);
    let request = Request::new(message, "look for link", name).unless(Errno::ENODEV);
    Ok(socket.ask(&request)?.as_deref().and_then(link))
}

fn link(body: &[u8]) -> Option<Link> {
    let inside = body.get(16..)?;
    Some(Link {
        index: word(body, 4)?,
        name: string(attribute(inside, IFNAME)?),
        mtu: attribute(inside, MTU).and_then(|value| word(value, 0)).unwrap_or_default(),
        alias: attribute(inside, ALIAS).map(string),
    })
}
