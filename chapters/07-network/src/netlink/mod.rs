//! Links, addresses and routes by rtnetlink(7), without any program in between.
//!
//! A [`Request`] is data: its bytes and what it asks for in words. A [`Socket`] sends several in one
//! packet, which is one system call, and one more for the answers.

mod address;
mod link;
mod message;
mod module;
mod route;
mod socket;

pub(crate) use address::{addresses, new_address};
pub(crate) use link::{
    Bridge, CONF_ARP_NOTIFY, CONF_ROUTE_LOCALNET, Child, ChildKind, Link, Veth, alias, bridge,
    child, conf, delete_link, dummy, find, hairpin, isolate, links, mute, no_link_local, rename,
    up, veth,
};
pub(crate) use message::{Message, attribute, string, word};
pub(crate) use module::once_loaded;
pub(crate) use route::Route;
pub(crate) use route::{default_route, loopback_route, no_default_route, routes};
pub(crate) use socket::{APPEND, CREATE, Request, Socket};
