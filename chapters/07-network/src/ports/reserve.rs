//! From what is asked for to ports that are free.
//!
//! Whether a program of the host has a port is asked of the kernel, by binding a socket to it; whether a
//! container has it, of the claims. The socket is closed again: what keeps the port is the claim, and
//! that the kernel redirects what arrives there before any socket sees it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

use corten_namespaces::error::errno_of;
use corten_namespaces::rootless;
use nix::errno::Errno;
use nix::sys::socket::{SockaddrIn, SockaddrIn6, bind, getsockname, setsockopt, sockopt};

use super::claims::Claims;
use super::{Protocol, Publish, Published, forward, owner};
use crate::error::{Context, Error, Result};
use crate::network::Driver;
use crate::networks::Networks;
use crate::sys;

/// How often another number is tried where any is right.
const TRIES: usize = 64;

/// The container's addresses, of which at least one is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Targets {
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
    /// The host's address where the request names none.
    pub usual_host: Option<IpAddr>,
}

impl Targets {
    /// The host's addresses, each with the container's that it leads to.
    fn pairs(&self, publish: &Publish) -> Result<Vec<(IpAddr, IpAddr)>> {
        let (ipv4, ipv6) = (self.ipv4.map(IpAddr::from), self.ipv6.map(IpAddr::from));
        let pairs: Vec<_> = match publish.host.or(self.usual_host) {
            Some(host) if host.is_ipv4() => ipv4.map(|to| (host, to)).into_iter().collect(),
            Some(host) => ipv6.map(|to| (host, to)).into_iter().collect(),
            None => {
                let every4 = ipv4.map(|to| (Ipv4Addr::UNSPECIFIED.into(), to));
                let every6 = ipv6.map(|to| (Ipv6Addr::UNSPECIFIED.into(), to));
                every4.into_iter().chain(every6).collect()
            }
        };
        if let ([], Some(host)) = (&*pairs, publish.host) {
            let family = if host.is_ipv4() { "IPv4" } else { "IPv6" };
            return Err(Error::invalid(
                format!("port {}/{} at {host}", publish.container_port, publish.protocol),
                format!("the container has no {family} address on this network"),
            ));
        }
        Ok(pairs)
    }
}

impl Networks {
    /// Whether a container that is to be connected to a network could publish these ports now.
    ///
    /// # Errors
    /// [`Error::PortInUse`] names who has one of them.
    pub fn check_ports(&self, network: &str, ports: &[Publish]) -> Result<()> {
        let network = self.find(network)?;
        let Driver::Bridge(bridge) = network.driver()? else { return Ok(()) };
        if network.internal {
            return Ok(());
        }
        // They stand for the addresses that it will have.
        let targets = Targets {
            ipv4: network.pool(false).map(|_| Ipv4Addr::UNSPECIFIED),
            ipv6: network.pool(true).map(|_| Ipv6Addr::UNSPECIFIED),
            usual_host: bridge.host_binding,
        };
        let _ports = self.store.lock_ports()?;
        reserve(ports, &targets, &self.claims()).map(drop)
    }
}

/// Finds a port of the host for each request. The caller holds the lock of all ports, until the claims
/// are written.
///
/// # Errors
/// [`Error::PortInUse`] names who has it.
pub(crate) fn reserve(
    wanted: &[Publish],
    targets: &Targets,
    claims: &Claims,
) -> Result<Vec<Published>> {
    let mut found: Vec<Published> = Vec::new();
    for publish in wanted {
        let pairs = targets.pairs(publish)?;
        let port = match publish.host_ports {
            Some(range) => first_free(publish.protocol, range, &pairs, claims, &found)?,
            None => any(publish.protocol, &pairs, claims, &found)?,
        };
        found.extend(pairs.into_iter().map(|(host, container)| Published {
            protocol: publish.protocol,
            host,
            host_port: port,
            container,
            container_port: publish.container_port,
        }));
    }
    Ok(found)
}

/// The first port of a range that is free at all of the addresses.
fn first_free(
    protocol: Protocol,
    (first, last): (u16, u16),
    pairs: &[(IpAddr, IpAddr)],
    claims: &Claims,
    found: &[Published],
) -> Result<u16> {
    let mut trouble = None;
    for port in first..=last {
        match all_free(protocol, port, pairs, claims, found) {
            Ok(()) => return Ok(port),
            Err(error @ Error::PortInUse { .. }) => trouble = trouble.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    Err(trouble.unwrap_or_else(|| Error::invalid("port", "the range is empty")))
}

/// Any port that is free at all of the addresses, as the kernel chooses it.
fn any(
    protocol: Protocol,
    pairs: &[(IpAddr, IpAddr)],
    claims: &Claims,
    found: &[Published],
) -> Result<u16> {
    let mut trouble = None;
    for _ in 0..TRIES {
        let Some((host, _)) = pairs.first() else { return Ok(0) };
        let port = chosen(protocol, *host)?;
        match all_free(protocol, port, pairs, claims, found) {
            Ok(()) => return Ok(port),
            Err(error) => trouble = Some(error),
        }
    }
    Err(trouble.unwrap_or(Error::NoPool))
}

fn all_free(
    protocol: Protocol,
    port: u16,
    pairs: &[(IpAddr, IpAddr)],
    claims: &Claims,
    found: &[Published],
) -> Result<()> {
    for (host, _) in pairs {
        let place = format!("{}/{protocol}", SocketAddr::new(*host, port));
        forward::check(protocol, &place)?;
        let twice = |other: &Published| {
            (other.protocol, other.host_port) == (protocol, port)
                && other.host.is_ipv4() == host.is_ipv4()
                && (other.host == *host || other.host.is_unspecified() || host.is_unspecified())
        };
        if found.iter().any(twice) {
            return Err(Error::PortInUse { place, owner: "asked for twice".to_owned() });
        }
        if let Some(claim) = claims.holder(protocol, port, *host)? {
            let owner = format!("published by container {}", claim.name);
            return Err(Error::PortInUse { place, owner });
        }
        match outside(protocol, SocketAddr::new(*host, port)) {
            Ok(_) => {}
            Err(Errno::EADDRINUSE) => {
                let owner = owner::describe(protocol, port);
                return Err(Error::PortInUse { place, owner });
            }
            Err(Errno::EADDRNOTAVAIL) => {
                return Err(Error::invalid(place, "this host does not have that address"));
            }
            Err(Errno::EACCES) if forward::is_needed() => {
                return Err(forward::forbidden(place, port));
            }
            Err(errno) => return Err(errno).on("bind to", &place),
        }
    }
    Ok(())
}

/// A port that the kernel chooses.
fn chosen(protocol: Protocol, host: IpAddr) -> Result<u16> {
    let random = || {
        let mut bytes = [0; 2];
        crate::id::random(&mut bytes);
        // Of the dynamic ports (RFC 6335).
        u16::from_ne_bytes(bytes) | 0xc000
    };
    let socket = match outside(protocol, SocketAddr::new(host, 0)) {
        Ok(Some(socket)) => socket,
        Ok(None) => return Ok(random()),
        Err(errno) => return Err(errno).on("bind to", &host.to_string()),
    };
    let port = match host {
        IpAddr::V4(_) => getsockname::<SockaddrIn>(socket.as_raw_fd()).map(|at| at.port()),
        IpAddr::V6(_) => getsockname::<SockaddrIn6>(socket.as_raw_fd()).map(|at| at.port()),
    };
    port.during("ask for the port of a socket")
}

/// The same in the host's network, where this process has left a thread there.
pub(super) fn outside(protocol: Protocol, address: SocketAddr) -> nix::Result<Option<OwnedFd>> {
    let make = move || bound(protocol, address).map_err(std::io::Error::from);
    rootless::outside::outside(make).map_err(|error| errno_of(&error))
}

/// A socket that has the address; `None` where the kernel has no sockets of this protocol, and so no
/// program that could have the port.
fn bound(protocol: Protocol, address: SocketAddr) -> nix::Result<Option<OwnedFd>> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = if protocol == Protocol::Udp { libc::SOCK_DGRAM } else { libc::SOCK_STREAM };
    let opened = sys::socket(family, kind, protocol.number().into());
    let lacking = [Errno::EPROTONOSUPPORT, Errno::ESOCKTNOSUPPORT, Errno::EAFNOSUPPORT];
    let socket = match opened {
        Err(errno) if lacking.contains(&errno) => return Ok(None),
        other => other?,
    };
    // Connections that have ended are no hindrance; another listener is one all the same.
    if protocol != Protocol::Udp {
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    }
    match address {
        SocketAddr::V4(address) => bind(socket.as_raw_fd(), &in4(address))?,
        SocketAddr::V6(address) => {
            setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
            bind(socket.as_raw_fd(), &in6(address))?;
        }
    }
    Ok(Some(socket))
}

fn in4(address: SocketAddrV4) -> SockaddrIn {
    address.into()
}

fn in6(address: SocketAddrV6) -> SockaddrIn6 {
    address.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(text: &str) -> Vec<Publish> {
        super::super::parse::publish(text).unwrap()
    }

    #[test]
    fn ports_are_found_and_those_in_use_name_their_owner() {
        let directory = tempfile::tempdir().unwrap();
        let claims = Claims::new(directory.path());
        let targets = Targets {
            ipv4: Some(Ipv4Addr::new(10, 0, 0, 2)),
            ipv6: None,
            usual_host: Some(Ipv4Addr::LOCALHOST.into()),
        };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = listener.local_addr().unwrap().port();
        let error = reserve(&wanted(&format!("{taken}:80")), &targets, &claims).unwrap_err();
        let expected =
            format!("Bind for 127.0.0.1:{taken}/tcp failed: port is already allocated (held by");
        assert!(error.to_string().starts_with(&expected), "{error}");
        let any = reserve(&wanted("80"), &targets, &claims).unwrap();
        assert!(any.len() == 1 && any[0].host_port > 1023);
        claims.take(&any, "e", "web").unwrap();
        let again = wanted(&format!("{}:80", any[0].host_port));
        let error = reserve(&again, &targets, &claims).unwrap_err().to_string();
        assert!(error.ends_with("(published by container web)"), "{error}");
        let range = wanted(&format!("{taken}-{}:80", taken.saturating_add(9)));
        assert_ne!(reserve(&range, &targets, &claims).unwrap()[0].host_port, taken);
        let twice = [again[0].clone(), again[0].clone()];
        assert!(reserve(&twice, &targets, &claims).is_err());
        let none = reserve(&wanted("192.0.2.254:80:80"), &targets, &claims).unwrap_err();
        assert!(none.to_string().contains("does not have that address"), "{none}");
        let six = reserve(&wanted("[::1]:8080:80"), &targets, &claims).unwrap_err();
        assert!(six.to_string().contains("no IPv6 address"), "{six}");
    }
}
