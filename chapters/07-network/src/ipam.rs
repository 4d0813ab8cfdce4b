//! Addresses: subnets that collide with nothing, and addresses that are given once.
//!
//! An address is given exactly when a file of its name is there. It is made with O_EXCL, so two
//! processes cannot both make it, and a process that is killed between two steps leaves it given:
//! [`repair`](crate::Networks::repair) finds it by what the process had written down before.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::error::{At, Error, Result};
use crate::network::{Pool, PoolRequest};
use crate::store;

/// How many addresses are looked at before a pool counts as full: more than any host has containers.
const TRIES: u32 = 1 << 16;

/// The subnets that networks get for which none is named, in Docker's order: 172.17.0.0/16 to
/// 172.31.0.0/16, then 192.168.0.0/20 to 192.168.240.0/20.
fn candidates() -> impl Iterator<Item = Ipv4Net> {
    let wide = (17..32).map(|second| Ipv4Net::new_assert(Ipv4Addr::new(172, second, 0, 0), 16));
    let narrow = (0..16).map(|part| Ipv4Net::new_assert(Ipv4Addr::new(192, 168, part * 16, 0), 20));
    wide.chain(narrow)
}

// ANCHOR: subnet
/// Whether two subnets have an address in common.
pub(crate) fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

/// The first subnet that touches none of `taken`: other networks, and all that the host has a route to.
pub(crate) fn free_ipv4(taken: &[IpNet]) -> Result<IpNet> {
    let free = |subnet: &IpNet| taken.iter().all(|other| !overlap(subnet, other));
    candidates().map(IpNet::from).find(free).ok_or(Error::NoPool)
}

/// A subnet of private addresses (RFC 4193): 40 random bits, so that no two hosts choose the same.
pub(crate) fn free_ipv6(taken: &[IpNet]) -> IpNet {
    loop {
        let mut bytes = [0; 16];
        crate::id::random(&mut bytes[1..6]);
        bytes[0] = 0xfd;
        let subnet = IpNet::from(Ipv6Net::new_assert(Ipv6Addr::from(bytes), 64));
        if taken.iter().all(|other| !overlap(&subnet, other)) {
            return subnet;
        }
    }
}
// ANCHOR_END: subnet

fn parse<T: std::str::FromStr>(what: &str, text: &str) -> Result<T> {
    text.parse().map_err(|_| Error::invalid(format!("{what} {text:?}"), "is none"))
}

/// Reads a pool: everything in it is in its subnet.
///
/// # Errors
/// Where something is not, or malformed.
pub(crate) fn check(request: &PoolRequest, subnet: IpNet) -> Result<Pool> {
    let trunk = subnet.trunc();
    if trunk != subnet {
        return Err(Error::invalid(
            format!("subnet {subnet}"),
            format!("is an address in {trunk}: write that"),
        ));
    }
    let inside = |what: &str, address: IpAddr| match subnet.contains(&address) {
        true => Ok(address),
        false => Err(Error::invalid(format!("{what} {address}"), format!("is not in {subnet}"))),
    };
    let ip_range = match request.ip_range.as_str() {
        "" => None,
        text => Some(parse::<IpNet>("range", text)?.trunc()),
    };
    if let Some(range) = ip_range
        && !subnet.contains(&range)
    {
        return Err(Error::invalid(format!("range {range}"), format!("is not in {subnet}")));
    }
    let gateway = match request.gateway.as_str() {
        "" => None,
        text => Some(inside("gateway", parse("gateway", text)?)?),
    };
    let auxiliary_addresses = request
        .auxiliary_addresses
        .iter()
        .map(|(name, text)| Ok((name.clone(), inside("address", parse("address", text)?)?)))
        .collect::<Result<BTreeMap<_, _>>>()?;
    let mut pool = Pool { subnet, ip_range, gateway, auxiliary_addresses };
    if pool.gateway.is_none() {
        // The first that is nobody else's.
        pool.gateway = walk(&pool.subnet, None).find(|address| pool.is_free(*address));
    }
    Ok(pool)
}

impl Pool {
    /// Whether an address may be a container's.
    fn is_free(&self, address: IpAddr) -> bool {
        self.gateway != Some(address)
            && self.auxiliary_addresses.values().all(|other| *other != address)
    }

    /// What addresses are given from.
    pub(crate) fn range(&self) -> &IpNet {
        self.ip_range.as_ref().unwrap_or(&self.subnet)
    }

    /// An address with the length of the subnet's prefix.
    pub(crate) fn with_prefix(&self, address: IpAddr) -> IpNet {
        IpNet::new(address, self.subnet.prefix_len()).unwrap_or(self.subnet)
    }
}

pub(crate) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// The first and the last address of a range that a machine can have.
pub(crate) fn bounds(range: &IpNet) -> (u128, u128) {
    let (mut low, mut high) = (number(range.network()), number(range.broadcast()));
    if range.max_prefix_len() - range.prefix_len() > 1 {
        low += 1;
        // IPv6 has no broadcast address.
        high -= u128::from(range.addr().is_ipv4());
    }
    (low, high)
}

/// The addresses of a range that a machine can have, from the one after `last` on, around.
fn walk(range: &IpNet, last: Option<IpAddr>) -> impl Iterator<Item = IpAddr> + use<> {
    let ((low, high), ipv4) = (bounds(range), range.addr().is_ipv4());
    let count = (high - low).saturating_add(1);
    let start = last.map_or(0, |last| number(last).wrapping_sub(low).wrapping_add(1));
    let start = if start < count { start } else { 0 };
    let tries = u128::from(TRIES).min(count);
    (0..tries).map(move |step| {
        let address = low + (start + step) % count;
        match ipv4 {
            true => Ipv4Addr::from(address as u32).into(),
            false => Ipv6Addr::from(address).into(),
        }
    })
}

/// The addresses that a network has given: a directory of files.
#[derive(Debug, Clone)]
pub(crate) struct Ledger<'a> {
    pub network: &'a str,
    pub directory: &'a Path,
}

impl Ledger<'_> {
    fn cursor(&self, ipv6: bool) -> std::path::PathBuf {
        self.directory.with_file_name(if ipv6 { "next6" } else { "next4" })
    }

    // ANCHOR: choose
    /// An address that is free: the one that is asked for, or the next after the last one given, so
    /// that an address rests as long as possible before it is another container's. The caller holds
    /// the network's lock until it is [taken](Ledger::take).
    ///
    /// # Errors
    /// [`Error::AddressInUse`], [`Error::NoAddress`].
    pub fn choose(&self, pool: &Pool, wanted: Option<IpAddr>) -> Result<IpAddr> {
        if let Some(address) = wanted {
            return self.fixed(pool, address);
        }
        let cursor = self.cursor(pool.subnet.addr().is_ipv6());
        let last = fs::read_to_string(&cursor).ok().and_then(|text| text.trim().parse().ok());
        let free = |address: &IpAddr| {
            pool.is_free(*address) && !self.directory.join(address.to_string()).exists()
        };
        walk(pool.range(), last).find(free).ok_or_else(|| Error::NoAddress {
            network: self.network.to_owned(),
            subnet: pool.range().to_string(),
        })
    }
    // ANCHOR_END: choose

    fn fixed(&self, pool: &Pool, address: IpAddr) -> Result<IpAddr> {
        let subnet = &pool.subnet;
        if !subnet.contains(&address) {
            return Err(Error::invalid(
                format!("address {address}"),
                format!("no configured subnet contains IP address {address}: this one is {subnet}"),
            ));
        }
        let edge = subnet.max_prefix_len() - subnet.prefix_len() > 1
            && (address == subnet.network()
                || (address.is_ipv4() && address == subnet.broadcast()));
        let owner = match fs::read_to_string(self.directory.join(address.to_string())) {
            Ok(owner) => format!("of endpoint {}", owner.get(..12).unwrap_or(&owner)),
            Err(_) if pool.gateway == Some(address) => "the gateway".to_owned(),
            Err(_) if !pool.is_free(address) => "reserved".to_owned(),
            Err(_) if edge => "of the subnet itself".to_owned(),
            Err(_) => return Ok(address),
        };
        Err(Error::AddressInUse { address, owner })
    }

    // ANCHOR: take
    /// Gives an address to an endpoint.
    ///
    /// # Errors
    /// [`Error::AddressInUse`] where another process was faster, in spite of the lock.
    pub fn take(&self, address: IpAddr, endpoint: &str) -> Result<()> {
        let path = self.directory.join(address.to_string());
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(mut file) => file.write_all(endpoint.as_bytes()).at("write", &path)?,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let owner = fs::read_to_string(&path).unwrap_or_default();
                return Err(Error::AddressInUse { address, owner: format!("of endpoint {owner}") });
            }
            Err(error) => return Err(error).at("create", &path),
        }
        let cursor = self.cursor(address.is_ipv6());
        fs::write(&cursor, address.to_string()).at("write", &cursor)
    }
    // ANCHOR_END: take

    /// Takes an address back, where it is this endpoint's.
    ///
    /// # Errors
    /// Where the file cannot be removed.
    pub fn give_back(&self, address: IpAddr, endpoint: &str) -> Result<()> {
        let path = self.directory.join(address.to_string());
        match fs::read_to_string(&path) {
            // Empty: its owner was killed before it had written its name.
            Ok(owner) if owner == endpoint || owner.is_empty() => store::remove(&path),
            _ => Ok(()),
        }
    }
}

/// The network of an address that is for one link alone: 169.254.0.0/16 and fe80::/64, as RFC 3927 and
/// RFC 4291 have them.
pub(crate) fn link_local(address: IpAddr) -> IpNet {
    let length = if address.is_ipv4() { 16 } else { 64 };
    IpNet::new(address, length).unwrap_or_else(|_| address.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(subnet: &str, range: &str, gateway: &str) -> Pool {
        let request = PoolRequest {
            ip_range: range.into(),
            gateway: gateway.into(),
            ..PoolRequest::default()
        };
        check(&request, subnet.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_subnet_touches_no_other_one() {
        let taken: Vec<IpNet> =
            ["172.16.0.0/15", "172.18.3.0/24"].map(|net| net.parse().unwrap()).into();
        assert_eq!(free_ipv4(&taken).unwrap().to_string(), "172.19.0.0/16");
        let all: Vec<IpNet> =
            ["172.16.0.0/12", "192.168.0.0/17"].map(|net| net.parse().unwrap()).into();
        assert_eq!(free_ipv4(&all).unwrap().to_string(), "192.168.128.0/20");
        let whole = ["172.16.0.0/12", "192.168.0.0/16"].map(|net| net.parse().unwrap());
        assert!(matches!(free_ipv4(&whole), Err(Error::NoPool)));
        assert!(free_ipv6(&[]).to_string().starts_with("fd"));
    }

    #[test]
    fn the_gateway_is_the_first_address_that_is_free() {
        assert_eq!(pool("10.1.0.0/24", "", "").gateway, Some("10.1.0.1".parse().unwrap()));
        assert_eq!(pool("fd00::/64", "", "").gateway, Some("fd00::1".parse().unwrap()));
        let mut request = PoolRequest::default();
        request.auxiliary_addresses.insert("router".into(), "10.1.0.1".into());
        let pool = check(&request, "10.1.0.0/24".parse().unwrap()).unwrap();
        assert_eq!(pool.gateway, Some("10.1.0.2".parse().unwrap()));
    }

    #[test]
    fn what_is_outside_of_the_subnet_is_refused() {
        let subnet = "10.1.0.0/24".parse().unwrap();
        let wrong = |range: &str, gateway: &str| {
            let (ip_range, gateway) = (range.into(), gateway.into());
            check(&PoolRequest { ip_range, gateway, ..PoolRequest::default() }, subnet).is_err()
        };
        assert!(wrong("10.2.0.0/25", "") && wrong("10.0.0.0/8", "") && wrong("", "10.2.0.1"));
        assert!(check(&PoolRequest::default(), "10.1.0.5/24".parse().unwrap()).is_err());
    }

    #[test]
    fn every_address_is_given_once_and_then_none() {
        let directory = tempfile::tempdir().unwrap();
        let addresses = directory.path().join("addresses");
        fs::create_dir(&addresses).unwrap();
        let ledger = Ledger { network: "app", directory: &addresses };
        let pool = pool("10.1.0.0/29", "", "");
        let mut given = Vec::new();
        for _ in 0..5 {
            let address = ledger.choose(&pool, None).unwrap();
            ledger.take(address, "e").unwrap();
            given.push(address.to_string());
        }
        assert_eq!(given, ["10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5", "10.1.0.6"]);
        assert!(matches!(ledger.choose(&pool, None), Err(Error::NoAddress { .. })));
        let second = "10.1.0.3".parse().unwrap();
        ledger.give_back(second, "another").unwrap();
        assert!(matches!(ledger.choose(&pool, None), Err(Error::NoAddress { .. })));
        ledger.give_back(second, "e").unwrap();
        assert_eq!(ledger.choose(&pool, None).unwrap(), second);
        for (address, words) in [
            ("10.1.0.1", "the gateway"),
            ("10.1.0.2", "of endpoint e"),
            ("10.1.0.0", "of the subnet itself"),
            ("10.1.0.7", "of the subnet itself"),
        ] {
            let error = ledger.choose(&pool, Some(address.parse().unwrap())).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
        assert!(ledger.choose(&pool, Some("10.2.0.1".parse().unwrap())).is_err());
    }

    #[test]
    fn an_address_rests_before_it_is_given_again() {
        let directory = tempfile::tempdir().unwrap();
        let addresses = directory.path().join("addresses");
        fs::create_dir(&addresses).unwrap();
        let ledger = Ledger { network: "app", directory: &addresses };
        let pool = pool("10.1.0.0/24", "10.1.0.128/25", "");
        let first = ledger.choose(&pool, None).unwrap();
        assert_eq!(first.to_string(), "10.1.0.129");
        ledger.take(first, "e").unwrap();
        ledger.give_back(first, "e").unwrap();
        assert_eq!(ledger.choose(&pool, None).unwrap().to_string(), "10.1.0.130");
    }

    #[test]
    fn the_smallest_and_the_largest_subnets_can_be_walked() {
        let count = |net: &str| walk(&net.parse().unwrap(), None).take(10).count();
        assert_eq!((count("10.0.0.0/32"), count("10.0.0.0/31"), count("10.0.0.0/30")), (1, 2, 2));
        assert_eq!((count("fd00::/128"), count("fd00::/126"), count("::/0")), (1, 3, 10));
        let last = walk(&"10.0.0.0/30".parse().unwrap(), Some("10.0.0.2".parse().unwrap()));
        assert_eq!(last.map(|a| a.to_string()).collect::<Vec<_>>(), ["10.0.0.1", "10.0.0.2"]);
    }
}
