//! The way of a question from 127.0.0.11:53 to the server's socket.
//!
//! A container may want port 53 for itself, on all addresses. So the server listens on ports that
//! the kernel chose, and packets to 127.0.0.11:53 are sent there by a table in the container's own
//! network namespace. The way back needs no rule: the kernel remembers what it has replaced
//! (connection tracking), and writes 127.0.0.11:53 into the answers as their source.

use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;

use super::station::{ADDRESS, within};
use crate::error::Result;
use crate::netlink::Socket;
use crate::nft::Family;
use crate::nft::batch::replace_with;
use crate::nft::element::{Element, Value};
use crate::nft::expression::{Action, Field, Rule, Test};
use crate::nft::table::{Chain, Leads, Set, Table, Type};

/// The port that names are asked for at (RFC 1035, 4.2).
const DOMAIN: u16 = 53;

// ANCHOR: redirect_table
/// One map: from 127.0.0.11, a protocol and a port to an address and a port.
const SETS: &[Set] = &[Set {
    name: "resolver",
    key: &[ADDRESS4, PROTOCOL, PORT],
    ranges: false,
    leads: Leads::Value(&[ADDRESS4, PORT]),
}];

const ADDRESS4: Type = Type { number: 7, length: 4 };
const PROTOCOL: Type = Type { number: 12, length: 1 };
const PORT: Type = Type { number: 13, length: 2 };

/// And one rule, for what leaves the container's own processes.
fn table() -> Table {
    let fields = vec![Field::Target4, Field::Protocol, Field::Port];
    let is4 = Test::Is(Field::Family, vec![libc::AF_INET as u8]);
    let action = Action::Redirect(Family::Ipv4, fields, SETS[0].name);
    // The hook of packets that leave (3), before a container's own tables (-100).
    let hook = Some(("nat", 3, -101));
    let chain = Chain { name: "asking", hook, rules: vec![Rule { tests: vec![is4], action }] };
    Table { family: Family::Inet, sets: SETS, chains: vec![chain] }
}
// ANCHOR_END: redirect_table

/// Sends what goes to 127.0.0.11:53 in `namespace` to these ports of the same address. A table that
/// led elsewhere is replaced in the same moment.
///
/// # Errors
/// Where the kernel refuses the table.
pub(super) fn redirect_names(
    home: BorrowedFd<'_>,
    namespace: BorrowedFd<'_>,
    udp_port: u16,
    tcp_port: u16,
) -> Result<()> {
    let mut socket = within(home, namespace, Socket::netfilter)?;
    let elements = [(libc::IPPROTO_UDP, udp_port), (libc::IPPROTO_TCP, tcp_port)]
        .map(|(protocol, port)| element(protocol as u8, ADDRESS, port));
    replace_with(&mut socket, &table(), &elements, "of Corten's names")
}

/// From 127.0.0.11:53 to this port.
fn element(protocol: u8, address: Ipv4Addr, port: u16) -> Element {
    let place = |port: u16| [&port.to_be_bytes()[..], &[0; 2]].concat();
    let octets = address.octets();
    Element {
        family: Family::Inet,
        set: SETS[0].name,
        key: [&octets[..], &[protocol, 0, 0, 0], &place(DOMAIN)].concat(),
        end: None,
        value: Value::Bytes([&octets[..], &place(port)].concat()),
        text: format!("{address}:{DOMAIN} : {address}:{port}"),
    }
}
