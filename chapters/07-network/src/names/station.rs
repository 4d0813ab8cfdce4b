//! Sockets inside a container's network namespace, held by a process outside of it.
//!
//! A socket belongs for ever to the network namespace in which it was made (network_namespaces(7)).
//! So the server goes in for the moment of making two, and comes back: nothing of it runs in there.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, listen, setsockopt, socket,
    sockopt,
};

use crate::error::{Context, Error, Result};

/// Where a container's names are asked for, as in Docker.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// Connections that wait to be accepted.
const BACKLOG: i32 = 16;

/// A container's network namespace, and our sockets in it.
#[derive(Debug)]
pub(super) struct Station {
    pub(super) namespace: File,
    /// The UDP and the TCP port.
    pub(super) ports: (u16, u16),
    pub(super) datagrams: UdpSocket,
    pub(super) listener: TcpListener,
}

impl Station {
    /// Opens the sockets in the namespace that is pinned at `path`; `home` is our own.
    pub(super) fn open(home: BorrowedFd<'_>, path: &Path) -> Result<Station> {
        let namespace = File::open(path).map_err(|error| Error::path("open", path, error))?;
        let opened = within(home, namespace.as_fd(), || {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let datagrams = bound(SockType::Datagram, flags)?;
            let listener = bound(SockType::Stream, flags)?;
            listen(&listener, Backlog::new(BACKLOG).during("listen")?).during("listen")?;
            Ok((datagrams, listener))
        });
        let (datagrams, listener) = opened?;
        let (datagrams, listener) = (UdpSocket::from(datagrams), TcpListener::from(listener));
        let ports = (port(datagrams.local_addr())?, port(listener.local_addr())?);
        Ok(Station { namespace, ports, datagrams, listener })
    }
}

/// Whether `path` still leads to the namespace that `held` is.
pub(super) fn is_at(held: &File, path: &Path) -> bool {
    let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    let there = std::fs::metadata(path).map(identity).ok();
    there.is_some() && held.metadata().map(identity).ok() == there
}

fn port(address: std::io::Result<SocketAddr>) -> Result<u16> {
    address.map(|address| address.port()).during("ask for a port")
}

// ANCHOR: within
/// Does something in another network namespace.
///
/// This changes the calling thread, so the server has one only; and were it not to come back, it
/// would ask its next question of the outside from inside of a container. It ends then.
pub(super) fn within<T>(
    home: BorrowedFd<'_>,
    namespace: BorrowedFd<'_>,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    setns(namespace, CloneFlags::CLONE_NEWNET).during("enter a network namespace")?;
    let done = work();
    if setns(home, CloneFlags::CLONE_NEWNET).is_err() {
        std::process::abort();
    }
    done
}
// ANCHOR_END: within

// ANCHOR: bound
/// A socket on 127.0.0.11 and a port that the kernel chooses.
fn bound(kind: SockType, flags: SockFlag) -> Result<OwnedFd> {
    let made = socket(AddressFamily::Inet, kind, flags, None).during("make a socket")?;
    // To the loopback device, and not only to its address: a container that may change its own
    // settings can have the kernel take packets to 127.0.0.11 from its neighbours
    // (route_localnet). They end here. And an answer to a forged source cannot leave.
    setsockopt(&made, sockopt::BindToDevice, &"lo".into()).during("bind a socket to lo")?;
    // Where the device is still down there is no such address yet.
    setsockopt(&made, sockopt::IpFreebind, &true).during("bind a socket early")?;
    let address = SockaddrIn::from(SocketAddrV4::new(ADDRESS, 0));
    bind(made.as_raw_fd(), &address).during("bind a socket to 127.0.0.11")?;
    Ok(made)
}
// ANCHOR_END: bound

/// Whether a client's address is one that could be answered.
pub(super) fn is_client(address: SocketAddr) -> bool {
    address.port() != 0 && !address.ip().is_unspecified() && !address.ip().is_multicast()
}
