//! Flows that the kernel remembers.
//!
//! Rules see the first packet of a flow; for the others the kernel remembers what came of it
//! (conntrack). A client that goes on sending UDP from one port is one flow for ever: it would still be
//! sent where a port led before, to an address that may be another container's since. TCP needs nothing
//! of that kind: whoever is there now refuses the packets of a connection that it does not know.

use nix::errno::Errno;

use crate::error::Result;
use crate::netlink::{Message, Request, Socket};
use crate::ports::{Protocol, Published};

/// nfnetlink's number of conntrack, and its kind of message that deletes.
const DELETE: u16 = 1 << 8 | 2;

/// linux/netfilter/nfnetlink_conntrack.h.
const ORIGINAL: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const PROTOCOL_TARGET: u16 = 3;
const FILTER: u16 = 25;
const FILTER_ORIGINAL: u16 = 1;

/// What of the tuple counts (net/netfilter/nf_internals.h): the protocol, and the port it goes to.
const BY_NUMBER_AND_TARGET: u32 = 1 << 3 | 1 << 5;

// ANCHOR: forget
/// Forgets the flows of UDP to these ports of the host.
///
/// # Errors
/// Where the kernel refuses for another reason than that it has nothing to delete, or no way to.
pub(crate) fn forget(socket: &mut Socket, ports: &[Published]) -> Result<()> {
    let udp = ports.iter().filter(|port| port.protocol == Protocol::Udp);
    let requests: Vec<Request> = udp.map(request).collect();
    // One by one: a kernel without this says so to each.
    for request in &requests {
        match socket.burst(std::slice::from_ref(request)) {
            Err(error) if matches!(error.errno(), Some(Errno::EINVAL | Errno::EOPNOTSUPP)) => break,
            other => other?,
        }
    }
    Ok(())
}

fn request(port: &Published) -> Request {
    let family = if port.host.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let mut message = Message::new(DELETE, 0);
    // The version says that the family counts.
    message.raw(&[family as u8, 1, 0, 0]).nested(ORIGINAL, |tuple| {
        tuple.nested(TUPLE_PROTOCOL, |protocol| {
            protocol.attribute(PROTOCOL_NUMBER, &[port.protocol.number()]);
            protocol.attribute(PROTOCOL_TARGET, &port.host_port.to_be_bytes());
        });
    });
    message.nested(FILTER, |filter| {
        // In the machine's own order, unlike all else here.
        filter.number(FILTER_ORIGINAL, BY_NUMBER_AND_TARGET);
    });
    Request::new(message, "forget flows to", &port.place()).unless(Errno::ENOENT)
}
// ANCHOR_END: forget
