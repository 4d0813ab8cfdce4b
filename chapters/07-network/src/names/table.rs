//! Who is called what, and who may know it: pure data.
//!
//! A name belongs to a network. A container asks with its own networks in mind, and gets nothing
//! from any other: that is all there is to isolation here, so it stands in one place,
//! [`Table::networks_of`].

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use crate::endpoint::Endpoint;

/// What a name is known for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nobody here is called so. Somebody else may know.
    Unknown,
    /// It is known, and has no address of this family: the answer is empty, and nobody else is
    /// asked. An answer from outside could only be about another machine of the same name.
    Empty,
    /// Its addresses, another one first each time.
    Addresses(Vec<IpAddr>),
}

/// Which addresses are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// A.
    V4,
    /// AAAA.
    V6,
}

/// What is known of a network beside its endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Its name: `web.NAME` is `web` in it.
    pub name: String,
    /// Whether it has no way out.
    pub internal: bool,
}

/// One who bears a name.
#[derive(Debug)]
struct Bearer {
    endpoint: String,
    addresses: Vec<IpAddr>,
}

/// A name and its bearers: several for an alias that several containers share.
#[derive(Debug, Default)]
struct Entry {
    bearers: Vec<Bearer>,
    /// Whose turn it is, for each family: a client that asks for both must not always get the
    /// same half.
    turns: [usize; 2],
}

impl Entry {
    fn addresses(&mut self, family: Family) -> Vec<IpAddr> {
        let (bearers, turn) = (&self.bearers, &mut self.turns[family as usize]);
        let fits = |address: &&IpAddr| address.is_ipv6() == (family == Family::V6);
        let all = bearers.iter().flat_map(|bearer| &bearer.addresses);
        let mut addresses: Vec<IpAddr> = all.filter(fits).copied().collect();
        if !addresses.is_empty() {
            *turn = (*turn + 1) % addresses.len();
            addresses.rotate_left(*turn);
        }
        addresses
    }
}

#[derive(Debug, Default)]
struct Network {
    facts: Facts,
    endpoints: BTreeMap<String, Endpoint>,
    known: HashMap<String, Entry>,
    reverse: HashMap<IpAddr, String>,
}

impl Network {
    /// The addresses of the one whom `container` alone calls so, while that one is there.
    fn linked(&self, container: &str, name: &str) -> Option<Vec<IpAddr>> {
        let mut own = self.endpoints.values().filter(|own| own.container == container);
        let target = own.find_map(|own| own.links.get(name))?;
        // Who is meant may come later than the link, and again under the same name.
        let linked = self.endpoints.values().find(|other| other.is_called(target))?;
        Some(linked.addresses())
    }
}

/// All networks of this machine.
#[derive(Debug, Default)]
pub struct Table {
    networks: BTreeMap<String, Network>,
    /// The networks of each container, in order.
    memberships: HashMap<String, Vec<String>>,
}

impl Table {
    /// Learns of a network, or what has changed of it.
    pub fn set_facts(&mut self, network: &str, facts: Facts) {
        self.networks.entry(network.to_owned()).or_default().facts = facts;
    }

    /// Adds an endpoint, or replaces the one with this id.
    pub fn insert(&mut self, network: &str, id: &str, endpoint: Endpoint) {
        self.remove(network, id);
        let place = self.networks.entry(network.to_owned()).or_default();
        let addresses = endpoint.addresses();
        for name in endpoint.names() {
            let bearer = Bearer { endpoint: id.to_owned(), addresses: addresses.clone() };
            place.known.entry(name).or_default().bearers.push(bearer);
        }
        let named = addresses.into_iter().map(|address| (address, endpoint.name.clone()));
        place.reverse.extend(named);
        let networks = self.memberships.entry(endpoint.container.clone()).or_default();
        if let Err(at) = networks.binary_search_by(|other| other.as_str().cmp(network)) {
            networks.insert(at, network.to_owned());
        }
        place.endpoints.insert(id.to_owned(), endpoint);
    }

    /// Takes an endpoint out; what it was.
    pub fn remove(&mut self, network: &str, id: &str) -> Option<Endpoint> {
        let place = self.networks.get_mut(network)?;
        let endpoint = place.endpoints.remove(id)?;
        for name in endpoint.names() {
            if let Some(entry) = place.known.get_mut(&name) {
                entry.bearers.retain(|bearer| bearer.endpoint != id);
                if entry.bearers.is_empty() {
                    place.known.remove(&name);
                }
            }
        }
        for address in endpoint.addresses() {
            // Not what another endpoint has been given meanwhile.
            if !place.endpoints.values().any(|other| other.addresses().contains(&address)) {
                place.reverse.remove(&address);
            }
        }
        let stays = place.endpoints.values().any(|other| other.container == endpoint.container);
        if !stays && let Some(networks) = self.memberships.get_mut(&endpoint.container) {
            networks.retain(|other| other != network);
            if networks.is_empty() {
                self.memberships.remove(&endpoint.container);
            }
        }
        Some(endpoint)
    }

    /// Forgets a network; who was in it.
    pub fn remove_network(&mut self, network: &str) -> Vec<Endpoint> {
        let Some(place) = self.networks.get(network) else { return Vec::new() };
        let ids: Vec<String> = place.endpoints.keys().cloned().collect();
        let left = ids.iter().filter_map(|id| self.remove(network, id)).collect();
        self.networks.remove(network);
        left
    }

    /// The endpoints of a network.
    pub fn endpoints(&self, network: &str) -> impl Iterator<Item = (&str, &Endpoint)> {
        let place = self.networks.get(network);
        place.into_iter().flat_map(|place| &place.endpoints).map(|(id, e)| (id.as_str(), e))
    }

    // ANCHOR: networks_of
    /// The networks that `container` is in: the only ones that it learns anything of.
    pub fn networks_of(&self, container: &str) -> &[String] {
        self.memberships.get(container).map_or(&[], Vec::as_slice)
    }
    // ANCHOR_END: networks_of

    // ANCHOR: lookup
    /// What `name`, in small letters and without the dot at its end, is for `container`.
    pub fn lookup(&mut self, container: &str, name: &str, family: Family) -> Found {
        let networks = self.memberships.get(container).map_or(&[][..], Vec::as_slice);
        let mut found = Found::Unknown;
        for network in networks {
            let Some(place) = self.networks.get_mut(network) else { continue };
            // `web`, or `web.app` where the network is called app.
            let inner = name.rsplit_once('.').filter(|(_, last)| *last == place.facts.name);
            let inner = inner.map(|(inner, _)| inner);
            for name in [Some(name), inner].into_iter().flatten() {
                if let Some(linked) = place.linked(container, name) {
                    let fits = |address: &IpAddr| address.is_ipv6() == (family == Family::V6);
                    let addresses: Vec<IpAddr> = linked.into_iter().filter(fits).collect();
                    return match addresses.is_empty() {
                        true => Found::Empty,
                        false => Found::Addresses(addresses),
                    };
                }
                if let Some(entry) = place.known.get_mut(name) {
                    let addresses = entry.addresses(family);
                    if !addresses.is_empty() {
                        return Found::Addresses(addresses);
                    }
                    found = Found::Empty;
                }
            }
        }
        found
    }
    // ANCHOR_END: lookup

    /// The name behind an address, as Docker gives it: the container's and the network's.
    pub fn reverse(&self, container: &str, address: IpAddr) -> Option<String> {
        self.networks_of(container).iter().find_map(|network| {
            let place = self.networks.get(network)?;
            let name = place.reverse.get(&address)?;
            Some(format!("{name}.{}", place.facts.name))
        })
    }

    /// Whether questions of `container` may leave this machine: one network with a way out is
    /// enough, as it is for its other packets.
    pub fn may_ask_outside(&self, container: &str) -> bool {
        let networks = self.networks_of(container).iter();
        networks.filter_map(|network| self.networks.get(network)).any(|it| !it.facts.internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(container: &str, name: &str, aliases: &[&str], last: u8) -> Endpoint {
        Endpoint {
            container: container.repeat(64 / container.len()),
            name: name.into(),
            aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
            ipv4: Some(format!("10.0.0.{last}/16").parse().unwrap()),
            ..Endpoint::default()
        }
    }

    fn v4(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn facts(name: &str, internal: bool) -> Facts {
        Facts { name: name.into(), internal }
    }

    /// Two networks: `app` with web and db, `other` with secret.
    fn table() -> Table {
        let mut table = Table::default();
        table.set_facts("n1", facts("app", false));
        table.set_facts("n2", facts("other", true));
        table.insert("n1", "e1", endpoint("a", "Web", &["service"], 1));
        table.insert("n1", "e2", endpoint("b", "db", &["service"], 2));
        table.insert("n2", "e3", endpoint("c", "secret", &[], 3));
        table
    }

    #[test]
    fn a_container_is_known_by_all_its_names() {
        let mut table = table();
        let a = "a".repeat(64);
        for name in ["db", "db.app", &"b".repeat(12)] {
            let found = table.lookup(&a, name, Family::V4);
            assert_eq!(found, Found::Addresses(vec![v4(2)]), "{name}");
            assert_eq!(table.lookup(&a, name, Family::V6), Found::Empty, "{name}");
        }
        assert_eq!(table.lookup(&a, "web", Family::V4), Found::Addresses(vec![v4(1)]));
        for name in ["d", "db.other", "db.app.app", "bbbbbbbbbbbbb", ""] {
            assert_eq!(table.lookup(&a, name, Family::V4), Found::Unknown, "{name}");
        }
    }

    #[test]
    fn a_link_is_a_name_for_one_container_alone() {
        let mut table = table();
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        let links = [("store", "DB"), ("id", &b[..12]), ("gone", "nobody")];
        let links = links.map(|(name, target)| (name.to_owned(), target.to_owned()));
        let linked = Endpoint { links: links.into(), ..endpoint("a", "Web", &["service"], 1) };
        table.insert("n1", "e1", linked);
        for name in ["store", "store.app", "id"] {
            assert_eq!(table.lookup(&a, name, Family::V4), Found::Addresses(vec![v4(2)]), "{name}");
        }
        assert_eq!(table.lookup(&a, "store", Family::V6), Found::Empty);
        assert_eq!(table.lookup(&b, "store", Family::V4), Found::Unknown, "it is not b's");
        assert_eq!(table.lookup(&a, "gone", Family::V4), Found::Unknown);
        table.insert("n1", "e2", endpoint("b", "db", &[], 7));
        assert_eq!(table.lookup(&a, "store", Family::V4), Found::Addresses(vec![v4(7)]));
    }

    #[test]
    fn an_alias_of_several_takes_turns_in_each_family() {
        let mut table = table();
        let a = "a".repeat(64);
        let mut firsts = Vec::new();
        for _ in 0..4 {
            table.lookup(&a, "service", Family::V6);
            let Found::Addresses(all) = table.lookup(&a, "service", Family::V4) else { panic!() };
            assert_eq!(all.len(), 2);
            firsts.push(all[0]);
        }
        assert_eq!(firsts[0], firsts[2]);
        assert_ne!(firsts[0], firsts[1]);
    }

    #[test]
    fn names_and_addresses_of_another_network_are_unknown() {
        let mut table = table();
        let (a, c) = ("a".repeat(64), "c".repeat(64));
        for name in ["secret", "secret.other", &c[..12]] {
            assert_eq!(table.lookup(&a, name, Family::V4), Found::Unknown, "{name}");
        }
        assert_eq!(table.reverse(&a, v4(3)), None);
        assert_eq!(table.reverse(&c, v4(3)).as_deref(), Some("secret.other"));
        assert_eq!(table.lookup("nobody", "web", Family::V4), Found::Unknown);
        assert!(table.may_ask_outside(&a) && !table.may_ask_outside(&c));
        assert!(!table.may_ask_outside("nobody"));
    }

    #[test]
    fn a_container_of_two_networks_knows_both_and_loses_one() {
        let mut table = table();
        let (a, c) = ("a".repeat(64), "c".repeat(64));
        table.insert("n2", "e4", endpoint("a", "web", &[], 4));
        assert_eq!(table.lookup(&a, "secret", Family::V4), Found::Addresses(vec![v4(3)]));
        assert_eq!(table.lookup(&c, "web", Family::V4), Found::Addresses(vec![v4(4)]));
        assert_eq!(table.lookup(&c, "db", Family::V4), Found::Unknown);
        assert_eq!(table.networks_of(&a), ["n1", "n2"]);
        table.remove("n2", "e4");
        assert_eq!(table.lookup(&a, "secret", Family::V4), Found::Unknown);
        assert_eq!(table.networks_of(&a), ["n1"]);
    }

    #[test]
    fn what_is_replaced_or_removed_leaves_no_name() {
        let mut table = table();
        let b = "b".repeat(64);
        table.insert("n1", "e1", endpoint("a", "www", &[], 9));
        assert_eq!(table.lookup(&b, "web", Family::V4), Found::Unknown);
        assert_eq!(table.lookup(&b, "service", Family::V4), Found::Addresses(vec![v4(2)]));
        assert_eq!(table.reverse(&b, v4(1)), None);
        assert_eq!(table.remove_network("n1").len(), 2);
        assert_eq!(table.lookup(&b, "db", Family::V4), Found::Unknown);
        assert!(table.memberships.keys().all(|container| container.starts_with('c')));
    }

    #[test]
    fn an_address_that_was_given_again_keeps_its_new_name() {
        let mut table = table();
        let b = "b".repeat(64);
        table.insert("n1", "e5", endpoint("d", "new", &[], 1));
        table.remove("n1", "e1");
        assert_eq!(table.reverse(&b, v4(1)).as_deref(), Some("new.app"));
    }
}
