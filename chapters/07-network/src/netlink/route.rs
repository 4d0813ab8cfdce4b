//! Routes.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nix::errno::Errno;

use super::address::{family, octets, parse};
use super::message::{Message, attribute, word};
use super::socket::{APPEND, CREATE, EXCLUSIVE, Request, Socket};
use crate::error::Result;

const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
const GET_ROUTE: u16 = 26;
/// linux/rtnetlink.h.
const DESTINATION: u16 = 1;
const OUT: u16 = 4;
const GATEWAY: u16 = 5;
const PRIORITY: u16 = 6;
const TABLE_MAIN: u8 = 254;
const TABLE_LOCAL: u8 = 255;
const PROTOCOL_STATIC: u8 = 4;
const SCOPE_UNIVERSE: u8 = 0;
const TYPE_UNICAST: u8 = 1;
const TYPE_LOCAL: u8 = 2;
/// What the kernel gives to routes of IPv6 for which none is named.
const METRIC_V6: u32 = 1024;

/// Sends everything else by `gateway`, over the link with this index. The route with the lowest metric
/// counts; where its link goes, the next one does.
pub(crate) fn default_route(index: u32, name: &str, gateway: IpAddr, metric: u32) -> Request {
    let message = Message::new(NEW_ROUTE, CREATE | EXCLUSIVE);
    let message = to_everywhere(message, index, gateway, metric);
    Request::new(message, format!("add the default route by {gateway} to"), name)
}

/// Removes that route; one that is gone is no error.
pub(crate) fn no_default_route(index: u32, name: &str, gateway: IpAddr, metric: u32) -> Request {
    let message = to_everywhere(Message::new(DELETE_ROUTE, 0), index, gateway, metric);
    let operation = format!("remove the default route by {gateway} from");
    Request::new(message, operation, name).unless(Errno::ESRCH)
}

fn to_everywhere(mut message: Message, index: u32, gateway: IpAddr, metric: u32) -> Message {
    let (table, protocol, scope) = (TABLE_MAIN, PROTOCOL_STATIC, SCOPE_UNIVERSE);
    message.raw(&[family(gateway), 0, 0, 0, table, protocol, scope, TYPE_UNICAST, 0, 0, 0, 0]);
    message.attribute(GATEWAY, &octets(gateway)).number(OUT, index);
    message.number(PRIORITY, if gateway.is_ipv6() { METRIC_V6 + metric } else { metric });
    message
}

// ANCHOR: loopback
/// Takes packets for `[::1]` that come by the link with this index. The kernel looks for the way of a
/// loopback address among the routes of the link that the packet came by, and there is one for `lo` alone.
/// Of what the host itself sends there it stays the way, since its metric is 0. Other bridges have routes of
/// the same metric: it is added to those.
pub(crate) fn loopback_route(index: u32, name: &str) -> Request {
    let mut message = Message::new(NEW_ROUTE, CREATE | APPEND);
    let (table, protocol, scope) = (TABLE_LOCAL, PROTOCOL_STATIC, SCOPE_UNIVERSE);
    let family = libc::AF_INET6 as u8;
    message.raw(&[family, 128, 0, 0, table, protocol, scope, TYPE_LOCAL, 0, 0, 0, 0]);
    message.attribute(DESTINATION, &Ipv6Addr::LOCALHOST.octets()).number(OUT, index);
    message.number(PRIORITY, METRIC_V6);
    Request::new(message, "add the route of ::1 to", name)
}
// ANCHOR_END: loopback

/// A route as the kernel tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    /// Where it leads; everywhere for a default route.
    pub to: IpNet,
    /// The link, where it has one.
    pub link: Option<u32>,
    /// By whom, where it is by somebody.
    pub gateway: Option<IpAddr>,
    /// Of several, the lowest counts; as [`default_route`] takes it, for both families.
    pub metric: u32,
}

/// The routes of the socket's namespace, without those to its own addresses.
///
/// # Errors
/// Where the kernel refuses.
pub(crate) fn routes(socket: &mut Socket) -> Result<Vec<Route>> {
    let mut message = Message::new(GET_ROUTE, 0);
    message.raw(&[0; 12]);
    let found = socket.dump(&Request::new(message, "list", "routes"))?;
    Ok(found.iter().filter_map(|(_, body)| route(body)).collect())
}

fn route(body: &[u8]) -> Option<Route> {
    let (family, length, inside) = (*body.first()?, *body.get(1)?, body.get(12..)?);
    if *body.get(4)? == TABLE_LOCAL || *body.get(7)? != TYPE_UNICAST {
        return None;
    }
    let to = match attribute(inside, DESTINATION) {
        Some(address) => IpNet::new(parse(address)?, length).ok()?,
        None if i32::from(family) == libc::AF_INET => Ipv4Net::default().into(),
        None => Ipv6Net::default().into(),
    };
    let number = |kind| attribute(inside, kind).and_then(|value| word(value, 0));
    let metric: u32 = number(PRIORITY).unwrap_or_default();
    let metric = if to.addr().is_ipv6() { metric.saturating_sub(METRIC_V6) } else { metric };
    let gateway = attribute(inside, GATEWAY).and_then(parse);
    Some(Route { to, link: number(OUT), gateway, metric })
}
