//! Addresses of links.

use std::net::IpAddr;

use ipnet::IpNet;

use super::message::{Message, attribute, word};
use super::socket::{CREATE, EXCLUSIVE, Request, Socket};
use crate::error::Result;

const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
/// linux/if_addr.h.
const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
const BROADCAST: u16 = 4;
/// Usable at once: no second is spent on asking whether somebody has it, since we give them.
const NO_DUPLICATE_DETECTION: u8 = 2;

/// The bytes of an address, in network order.
pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The address in bytes of network order.
pub(super) fn parse(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(four.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

pub(super) fn family(address: IpAddr) -> u8 {
    (if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }) as u8
}

/// Gives the link with this index an address and, by its prefix, a route to its neighbours.
pub(crate) fn new_address(index: u32, name: &str, address: IpNet) -> Request {
    let flags = if address.addr().is_ipv6() { NO_DUPLICATE_DETECTION } else { 0 };
    let mut message = Message::new(NEW_ADDRESS, CREATE | EXCLUSIVE);
    let mut header = vec![family(address.addr()), address.prefix_len(), flags, 0];
    header.extend_from_slice(&index.to_ne_bytes());
    message.raw(&header);
    message.attribute(LOCAL, &octets(address.addr())).attribute(ADDRESS, &octets(address.addr()));
    if let IpNet::V4(net) = address
        && net.prefix_len() < 31
    {
        message.attribute(BROADCAST, &net.broadcast().octets());
    }
    Request::new(message, format!("add address {address} to"), name)
}

/// All addresses of the socket's namespace, with the indexes of their links.
///
/// # Errors
/// Where the kernel refuses.
pub(crate) fn addresses(socket: &mut Socket) -> Result<Vec<(u32, IpNet)>> {
    let mut message = Message::new(GET_ADDRESS, 0);
    message.raw(&[0; 8]);
    let found = socket.dump(&Request::new(message, "list", "addresses"))?;
    let read = |body: &[u8]| {
        let inside = body.get(8..)?;
        let address = attribute(inside, LOCAL).or_else(|| attribute(inside, ADDRESS))?;
        let net = IpNet::new(parse(address)?, *body.get(1)?).ok()?;
        Some((word(body, 4)?, net))
    };
    Ok(found.iter().filter_map(|(_, body)| read(body)).collect())
}
