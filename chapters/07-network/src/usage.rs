//! How many of a network's addresses are in use, and how many are left.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use crate::error::Result;
use crate::ipam::{bounds, number};
use crate::network::Pool;
use crate::{Network, Networks, store};

/// Of one subnet, under Docker's names. What is more than 64 bits can count is the largest that they can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Addresses that nobody can get: given, the gateway's, reserved, and those of the subnet itself.
    #[serde(rename = "IPsInUse")]
    pub in_use: u64,
    /// Addresses that a container may get which asks for none.
    #[serde(rename = "DynamicIPsAvailable")]
    pub available: u64,
}

impl Networks {
    /// What of each of a network's subnets is in use.
    ///
    /// # Errors
    /// Where the addresses that are given cannot be listed.
    pub fn usage(&self, network: &Network) -> Result<BTreeMap<IpNet, Usage>> {
        let names = store::names(&self.store.addresses(&network.id))?;
        let given: Vec<IpAddr> = names.iter().filter_map(|name| name.parse().ok()).collect();
        let pools = network.ipam.config.iter();
        Ok(pools.map(|pool| (pool.subnet, Usage::of(pool, &given))).collect())
    }
}

impl Usage {
    fn of(pool: &Pool, given: &[IpAddr]) -> Usage {
        let (first, last) = (number(pool.subnet.network()), number(pool.subnet.broadcast()));
        let reserved = pool.gateway.iter().chain(pool.auxiliary_addresses.values());
        let inside = |address: &&IpAddr| pool.subnet.contains(*address);
        let mut taken: BTreeSet<u128> =
            reserved.chain(given).filter(inside).copied().map(number).collect();
        let (low, high) = bounds(&pool.subnet);
        // The subnet's own name, and with IPv4 the address that means everybody.
        taken.extend([first, last].into_iter().filter(|edge| *edge < low || *edge > high));
        let (low, high) = bounds(pool.range());
        let size = (high - low).saturating_add(1);
        let left = size - taken.range(low..=high).count() as u128;
        Usage { in_use: taken.len() as u64, available: left.try_into().unwrap_or(u64::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(pool: serde_json::Value, given: &[&str]) -> (u64, u64) {
        let pool: Pool = serde_json::from_value(pool).unwrap();
        let given: Vec<IpAddr> = given.iter().map(|text| text.parse().unwrap()).collect();
        let Usage { in_use, available } = Usage::of(&pool, &given);
        (in_use, available)
    }

    #[test]
    fn addresses_are_in_use_or_left() {
        let pool = serde_json::json!({"Subnet": "10.1.0.0/24", "Gateway": "10.1.0.1"});
        assert_eq!(usage(pool.clone(), &[]), (3, 253));
        assert_eq!(usage(pool, &["10.1.0.2", "fd00::2"]), (4, 252));
        let part = serde_json::json!({"Subnet": "192.168.0.0/24", "IPRange": "192.168.0.64/31",
            "Gateway": "192.168.0.1",
            "AuxiliaryAddresses": {"a": "192.168.0.65", "b": "192.168.0.128"}});
        assert_eq!(usage(part.clone(), &[]), (5, 1));
        assert_eq!(usage(part, &["192.168.0.64", "192.168.0.129"]), (7, 0));
        let ipv6 = serde_json::json!({"Subnet": "2001:db8::/56", "Gateway": "2001:db8::1"});
        assert_eq!(usage(ipv6, &["2001:db8::2"]), (3, u64::MAX));
        let everything = serde_json::json!({"Subnet": "::/0"});
        assert_eq!(usage(everything, &[]), (1, u64::MAX));
        let link = serde_json::json!({"Subnet": "10.1.0.0/31", "Gateway": "10.1.0.0"});
        assert_eq!(usage(link, &[]), (1, 1));
    }
}
