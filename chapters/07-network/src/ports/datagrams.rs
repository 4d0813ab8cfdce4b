//! Datagrams for a port that is published without root: what a client sends is sent on from a socket of that
//! client's own, so that answers find their way back.
//!
//! UDP knows no connections, so nobody says when one is over: who is silent for long is forgotten, as the kernel
//! does that redirects for root.

use std::collections::BTreeMap;
use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use corten_supervisor::poller::{Poller, Registered};
use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrStorage,
    recvmsg, sendmsg, setsockopt, sockopt,
};

use crate::error::{Context, Result};

/// How long a client may be silent, and the container to it: the kernel's
/// `nf_conntrack_udp_timeout_stream`.
const SILENCE: Duration = Duration::from_secs(120);

/// How many clients a port has at once; the one that was silent the longest makes room for another one.
const MOST: usize = 256;

/// How many datagrams are taken from one socket before others have their turn.
const TURN: usize = 64;

/// Who has sent, and to which address of the host's: the answer has to come from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Client {
    from: SocketAddr,
    to: IpAddr,
}

/// A client's socket at the container.
struct Flow {
    inner: Registered<UdpSocket>,
    last: Instant,
}

/// A published port.
struct Port {
    outer: UdpSocket,
    target: SocketAddr,
    /// Of no client: the port itself.
    poller: Poller<Option<Client>>,
    flows: BTreeMap<Client, Flow>,
    buffer: Vec<u8>,
}

/// Asks the kernel to tell with each datagram for which address it came: before the first one, which otherwise
/// comes without.
///
/// # Errors
/// Where the kernel does not.
pub(super) fn ask_for_addresses(outer: impl AsFd, is_ipv4: bool) -> Result<()> {
    match is_ipv4 {
        true => setsockopt(&outer, sockopt::Ipv4PacketInfo, &true),
        false => setsockopt(&outer, sockopt::Ipv6RecvPacketInfo, &true),
    }
    .during("ask for addresses")
}

// ANCHOR: relay
/// Carries datagrams between clients of `outer`, which tells addresses, and `target` for as long as the process
/// lives.
///
/// # Errors
/// Where the kernel has no room for it.
pub(super) fn relay(outer: UdpSocket, target: SocketAddr) -> Result<()> {
    outer.set_nonblocking(true).during("set up a socket")?;
    let mut poller = Poller::new()?;
    let _port = poller.add(outer.as_fd(), None, EpollFlags::EPOLLIN)?;
    let mut port = Port {
        outer,
        target,
        poller,
        flows: BTreeMap::new(),
        buffer: vec![0; usize::from(u16::MAX)],
    };
    loop {
        let deadline = port.flows.values().map(|flow| flow.last + SILENCE).min();
        for (key, _) in port.poller.wait(deadline)? {
            match port.poller.source(key) {
                Some(None) => port.inward(),
                Some(Some(client)) => port.outward(client),
                None => {}
            }
        }
        let now = Instant::now();
        let silent =
            |(client, flow): (&Client, &Flow)| (flow.last + SILENCE <= now).then_some(*client);
        let silent: Vec<Client> = port.flows.iter().filter_map(silent).collect();
        silent.into_iter().for_each(|client| port.forget(client));
    }
}
// ANCHOR_END: relay

impl Port {
    /// From clients to the container. What cannot be sent is lost, as datagrams are.
    fn inward(&mut self) {
        for _ in 0..TURN {
            match receive(&self.outer, &mut self.buffer) {
                Ok((length, Some(client))) => {
                    self.know(client);
                    if let Some(flow) = self.flows.get(&client) {
                        let _ = flow.inner.fd.send(&self.buffer[..length]);
                    }
                }
                Ok((_, None)) | Err(Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    }

    /// From the container to a client.
    fn outward(&mut self, client: Client) {
        let Some(flow) = self.flows.get_mut(&client) else { return };
        for _ in 0..TURN {
            // ECONNREFUSED: nobody listens in the container. Clients see that as silence.
            let Ok(length) = flow.inner.fd.recv(&mut self.buffer) else { return };
            flow.last = Instant::now();
            let _ = send(&self.outer, client, &self.buffer[..length]);
        }
    }

    /// Hears of a client; `None` where there is no room for another one.
    fn know(&mut self, client: Client) -> Option<()> {
        if !self.flows.contains_key(&client) {
            if self.flows.len() >= MOST {
                let oldest = self.flows.iter().min_by_key(|(_, flow)| flow.last);
                let oldest = oldest.map(|(client, _)| *client)?;
                self.forget(oldest);
            }
            let any: IpAddr = match self.target {
                SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            let socket = UdpSocket::bind((any, 0)).ok()?;
            socket.set_nonblocking(true).and_then(|()| socket.connect(self.target)).ok()?;
            let interest = EpollFlags::EPOLLIN;
            let inner = Registered::new(&mut self.poller, socket, Some(client), interest).ok()?;
            self.flows.insert(client, Flow { inner, last: Instant::now() });
        }
        self.flows.get_mut(&client)?.last = Instant::now();
        Some(())
    }

    fn forget(&mut self, client: Client) {
        if let Some(flow) = self.flows.remove(&client) {
            flow.inner.end(&mut self.poller);
        }
    }
}

/// A datagram, and whose it is.
fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> nix::Result<(usize, Option<Client>)> {
    let mut space = nix::cmsg_space!(libc::in6_pktinfo);
    let mut vector = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let message =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut vector, Some(&mut space), flags)?;
    let from = message.address.and_then(|address| {
        let v4 = address.as_sockaddr_in().map(|at| SocketAddr::V4((*at).into()));
        v4.or_else(|| address.as_sockaddr_in6().map(|at| SocketAddr::V6((*at).into())))
    });
    let mut to = None;
    for control in message.cmsgs()? {
        match control {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                to = Some(Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()).into());
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                to = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
            }
            _ => {}
        }
    }
    Ok((message.bytes, from.zip(to).map(|(from, to)| Client { from, to })))
}

/// Answers a client from the address that it has sent to.
fn send(socket: &UdpSocket, client: Client, bytes: &[u8]) -> nix::Result<usize> {
    let (vector, flags) = ([IoSlice::new(bytes)], MsgFlags::MSG_DONTWAIT);
    let number = socket.as_raw_fd();
    match (client.from, client.to) {
        (SocketAddr::V4(from), IpAddr::V4(to)) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(to.octets()) },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            let control = [ControlMessage::Ipv4PacketInfo(&info)];
            sendmsg(number, &vector, &control, flags, Some(&SockaddrIn::from(from)))
        }
        (SocketAddr::V6(from), IpAddr::V6(to)) => {
            // A link's own address is none without the link, which the client's address names.
            let link = if to.is_unicast_link_local() { from.scope_id() } else { 0 };
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr { s6_addr: to.octets() },
                ipi6_ifindex: link,
            };
            let control = [ControlMessage::Ipv6PacketInfo(&info)];
            sendmsg(number, &vector, &control, flags, Some(&SockaddrIn6::from(from)))
        }
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_answers_and_from_where_it_asked() {
        let inner = UdpSocket::bind("127.0.0.1:0").unwrap();
        let outer = UdpSocket::bind("0.0.0.0:0").unwrap();
        let (port, target) = (outer.local_addr().unwrap().port(), inner.local_addr().unwrap());
        ask_for_addresses(&outer, true).unwrap();
        std::thread::spawn(move || relay(outer, target));
        // It answers the first one last.
        let server = std::thread::spawn(move || {
            let mut asked = Vec::new();
            for _ in 0..2 {
                let mut buffer = [0; 32];
                let (length, from) = inner.recv_from(&mut buffer).unwrap();
                asked.push((buffer[..length].to_ascii_uppercase(), from));
            }
            for (answer, to) in asked.into_iter().rev() {
                inner.send_to(&answer, to).unwrap();
            }
        });
        // A connected socket hears nothing from another address.
        let client = |at: &str, text: &str| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            socket.connect((at, port)).unwrap();
            socket.send(text.as_bytes()).unwrap();
            socket
        };
        let clients = [(client("127.0.0.1", "one"), "ONE"), (client("127.0.0.2", "two"), "TWO")];
        for (socket, expected) in clients {
            let mut buffer = [0; 32];
            let length = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], expected.as_bytes());
        }
        server.join().unwrap();
    }
}
