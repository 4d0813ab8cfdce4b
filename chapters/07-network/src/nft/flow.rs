//! Flows that the kernel remembers.
//!
//! Rules see the first packet of a flow; for the others the kernel remembers what came of it
//! (conntrack). A client that goes on sending UDP from one port is one flow for ever: it would still be
//! sent where a port led before, to an address that may be another container's since. TCP needs nothing
//! of that kind: whoever is there now refuses the packets of a connection that it does not know.

use nix::errno::Errno;

use crate::error::Result;
use crate::netlink::{Message, Request, Socket, attribute};
use crate::ports::{Protocol, Published};

/// nfnetlink's number of conntrack, with its kinds of message.
const LIST: u16 = 1 << 8 | 1;
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
/// Forgets the flows of UDP to these ports of the host. The kernel chooses those of a port and lists
/// them; newer ones could also delete them by the same choice (6.1 could not).
///
/// # Errors
/// Where the kernel refuses for another reason than that it keeps no such list.
pub(crate) fn forget(socket: &mut Socket, ports: &[Published]) -> Result<()> {
    for port in ports.iter().filter(|port| port.protocol == Protocol::Udp) {
        let family = if port.host.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        let flows = match socket.dump(&list(port, family)) {
            Err(error) if matches!(error.errno(), Some(Errno::EINVAL | Errno::EOPNOTSUPP)) => break,
            other => other?,
        };
        let tuples = flows.iter().filter_map(|(_, body)| attribute(body.get(4..)?, ORIGINAL));
        let requests: Vec<Request> = tuples.map(|tuple| delete(tuple, family)).collect();
        // Each is an answer, and answers must find room.
        requests.chunks(256).try_for_each(|part| socket.burst(part))?;
    }
    Ok(())
}

fn list(port: &Published, family: i32) -> Request {
    let mut message = Message::new(LIST, 0);
    message.raw(&[family as u8, 0, 0, 0]).nested(ORIGINAL, |tuple| {
        tuple.nested(TUPLE_PROTOCOL, |protocol| {
            protocol.attribute(PROTOCOL_NUMBER, &[port.protocol.number()]);
            protocol.attribute(PROTOCOL_TARGET, &port.host_port.to_be_bytes());
        });
    });
    message.nested(FILTER, |filter| {
        // In the machine's own order, unlike all else here.
        filter.number(FILTER_ORIGINAL, BY_NUMBER_AND_TARGET);
    });
    Request::new(message, "list flows to", &port.place())
}

/// One that has ended meanwhile is no error.
fn delete(tuple: &[u8], family: i32) -> Request {
    let mut message = Message::new(DELETE, 0);
    message.raw(&[family as u8, 0, 0, 0]).nested(ORIGINAL, |original| {
        original.raw(tuple);
    });
    Request::new(message, "forget a flow to", "a published port").unless(Errno::ENOENT)
}
// ANCHOR_END: forget
