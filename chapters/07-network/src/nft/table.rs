//! The two tables, as data. `tests/golden/corten.nft` has the same in nft's own language, and a test
//! compares what `nft` lists of both.

use std::net::Ipv6Addr;

use super::Family;
use super::expression::{Action, Field, Rule, Test};

/// The name of both tables.
pub(crate) const NAME: &str = "corten";

/// The type of a part of a set's key or value: nft's number for it (its datatype.h), and its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Type {
    pub number: u32,
    pub length: u32,
}

const fn of_type(number: u32, length: u32) -> Type {
    Type { number, length }
}

const LINK: Type = of_type(41, 16);
const ADDRESS4: Type = of_type(7, 4);
const ADDRESS6: Type = of_type(8, 16);
const ETHER: Type = of_type(9, 6);
const FAMILY: Type = of_type(2, 1);
const PROTOCOL: Type = of_type(12, 1);
const PORT: Type = of_type(13, 2);

/// What a set's elements lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leads {
    /// Nowhere: it is a set.
    No,
    /// To a verdict.
    Verdict,
    /// To a value of these types.
    Value(&'static [Type]),
}

/// A set or map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Set {
    pub name: &'static str,
    pub key: &'static [Type],
    /// Whether elements are ranges.
    pub ranges: bool,
    pub leads: Leads,
}

const fn set(name: &'static str, key: &'static [Type]) -> Set {
    Set { name, key, ranges: false, leads: Leads::No }
}

const fn ranges(name: &'static str, key: &'static [Type]) -> Set {
    Set { name, key, ranges: true, leads: Leads::No }
}

const fn verdicts(name: &'static str, key: &'static [Type]) -> Set {
    Set { name, key, ranges: false, leads: Leads::Verdict }
}

const fn map(name: &'static str, key: &'static [Type], value: &'static [Type]) -> Set {
    Set { name, key, ranges: false, leads: Leads::Value(value) }
}

/// Where a chain is called: type, number of the hook (linux/netfilter.h), priority.
pub(crate) type Hook = (&'static str, u32, i32);

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    pub name: &'static str,
    /// `None` where other chains jump to it.
    pub hook: Option<Hook>,
    pub rules: Vec<Rule>,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub family: Family,
    pub sets: &'static [Set],
    pub chains: Vec<Chain>,
}

// ANCHOR: sets
const INET_SETS: &[Set] = &[
    // Our bridges, and those whose packets leave under the host's address.
    set("bridges", &[LINK]),
    set("outgoing", &[LINK]),
    // A bridge, twice: nft cannot ask whether a packet leaves by the link that it came by.
    set("same", &[LINK, LINK]),
    // The subnets of a bridge.
    ranges("members4", &[LINK, ADDRESS4]),
    ranges("members6", &[LINK, ADDRESS6]),
    // The chains for packets from a bridge, to one, and from one to the host itself.
    verdicts("from", &[LINK]),
    verdicts("to", &[LINK]),
    verdicts("local", &[LINK]),
    // What becomes of packets that are no bridge's of ours: nothing, unless we made this host a router.
    verdicts("others", &[FAMILY]),
    // Published ports, at one address of the host and at every one.
    map("ports4", &[ADDRESS4, PROTOCOL, PORT], &[ADDRESS4, PORT]),
    map("ports6", &[ADDRESS6, PROTOCOL, PORT], &[ADDRESS6, PORT]),
    map("every4", &[PROTOCOL, PORT], &[ADDRESS4, PORT]),
    map("every6", &[PROTOCOL, PORT], &[ADDRESS6, PORT]),
];

const BRIDGE_SETS: &[Set] = &[
    // The ports of our bridges, and what may be the source of a frame there.
    set("ports", &[LINK]),
    set("owners4", &[LINK, ETHER, ADDRESS4]),
    set("owners6", &[LINK, ETHER, ADDRESS6]),
];
// ANCHOR_END: sets

const ESTABLISHED_OR_RELATED: u32 = 2 | 4;
const INVALID: u32 = 1;
/// A target has been replaced.
const REDIRECTED: u32 = 1 << 5;
/// An address of the machine's own (RTN_LOCAL).
const OWN: u32 = 2;
const LOOPBACK: u8 = 127;
const ICMP6: u8 = 58;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;

fn rule<const N: usize>(tests: [Test; N], action: Action) -> Rule {
    Rule { tests: tests.into(), action }
}

fn is4() -> Test {
    Test::Is(Field::Family, vec![libc::AF_INET as u8])
}

fn is6() -> Test {
    Test::Is(Field::Family, vec![libc::AF_INET6 as u8])
}

fn within<const N: usize>(fields: [Field; N], set: &'static str) -> Test {
    Test::In(fields.into(), set)
}

fn outside<const N: usize>(fields: [Field; N], set: &'static str) -> Test {
    Test::NotIn(fields.into(), set)
}

fn byte(field: Field, value: u8) -> Test {
    Test::Is(field, vec![value])
}

fn chain(name: &'static str, rules: Vec<Rule>) -> Chain {
    Chain { name, hook: None, rules }
}

fn based(name: &'static str, hook: Hook, rules: Vec<Rule>) -> Chain {
    Chain { name, hook: Some(hook), rules }
}

/// A message of neighbour discovery that passes.
fn discovery(kind: u8) -> Rule {
    let tests = [is6(), byte(Field::Protocol, ICMP6), byte(Field::Icmp6Type, kind)];
    rule(tests, Action::Accept)
}

fn same_bridge() -> Rule {
    rule([within([Field::InName, Field::OutName], "same")], Action::Accept)
}

fn answers() -> Rule {
    rule([Test::Any(Field::ConnectionState, ESTABLISHED_OR_RELATED)], Action::Accept)
}

// ANCHOR: nat
/// Addresses that are replaced.
fn translation() -> Vec<Chain> {
    use Field::{
        InName, OutName, Port, Protocol, Source4, Source4First, Source6, Target4, Target6,
    };
    let own = Test::Is(Field::TargetType, OWN.to_ne_bytes().to_vec());
    let published = rule([own], Action::Jump("published"));
    let to = |family, fields: Vec<Field>, map| Action::Redirect(family, fields, map);
    let redirected = Test::Any(Field::ConnectionStatus, REDIRECTED);
    let loopback6 = Test::Is(Source6, Ipv6Addr::LOCALHOST.octets().to_vec());
    vec![
        // From elsewhere, and from the host itself.
        based("arriving", ("nat", 0, -100), vec![published.clone()]),
        based("leaving", ("nat", 3, -100), vec![published]),
        chain(
            "published",
            vec![
                rule([is4()], to(Family::Ipv4, vec![Target4, Protocol, Port], "ports4")),
                rule([], to(Family::Ipv4, vec![Protocol, Port], "every4")),
                rule([is6()], to(Family::Ipv6, vec![Target6, Protocol, Port], "ports6")),
                rule([], to(Family::Ipv6, vec![Protocol, Port], "every6")),
            ],
        ),
        based(
            "sources",
            ("nat", 4, 100),
            vec![
                // A container that asks for its own published port, or its neighbour's (hairpin).
                rule(
                    [is4(), within([OutName, Source4], "members4"), redirected.clone()],
                    Action::Masquerade,
                ),
                rule(
                    [is6(), within([OutName, Source6], "members6"), redirected],
                    Action::Masquerade,
                ),
                rule(
                    [within([InName], "outgoing"), outside([OutName], "bridges")],
                    Action::Masquerade,
                ),
                // The host's loopback, to a published port.
                rule(
                    [is4(), byte(Source4First, LOOPBACK), within([OutName], "bridges")],
                    Action::Masquerade,
                ),
                rule([is6(), loopback6, within([OutName], "bridges")], Action::Masquerade),
            ],
        ),
    ]
}
// ANCHOR_END: nat

// ANCHOR: filter
/// What passes between bridges, the world and the host.
fn filter() -> Vec<Chain> {
    use Field::{InName, Source4, Source4First, Source6, Target4First};
    let of_loopback = |field| [is4(), byte(field, LOOPBACK), within([InName], "bridges")];
    let unspoofed = rule([], Action::Jump("spoofed"));
    vec![
        // Bridges let 127.0.0.0/8 pass, for the host's own use: nobody else's (CVE-2020-8558).
        based(
            "loopback",
            ("filter", 0, -300),
            vec![
                rule(of_loopback(Source4First), Action::Drop),
                rule(of_loopback(Target4First), Action::Drop),
            ],
        ),
        chain(
            "spoofed",
            vec![
                rule([is4(), outside([InName, Source4], "members4")], Action::Drop),
                rule([is6(), outside([InName, Source6], "members6")], Action::Drop),
            ],
        ),
        chain(
            "from_open",
            vec![
                unspoofed.clone(),
                // What belongs to no connection would leave under the container's own address.
                rule([Test::Any(Field::ConnectionState, INVALID)], Action::Drop),
            ],
        ),
        chain("from_internal", vec![unspoofed.clone(), same_bridge(), rule([], Action::Drop)]),
        chain(
            "to_open",
            vec![
                same_bridge(),
                rule([Test::Any(Field::ConnectionStatus, REDIRECTED)], Action::Accept),
                rule([], Action::Drop),
            ],
        ),
        chain("to_internal", vec![same_bridge(), rule([], Action::Drop)]),
        chain(
            "local_internal",
            vec![
                unspoofed,
                answers(),
                discovery(NEIGHBOUR_SOLICITATION),
                discovery(NEIGHBOUR_ADVERTISEMENT),
                rule([], Action::Drop),
            ],
        ),
    ]
}

/// Where packets pass by, and where they come in.
fn gates() -> Vec<Chain> {
    use Field::{InName, OutName};
    let mapped = |field, map| Action::Mapped(vec![field], map);
    vec![
        based(
            "forward",
            ("filter", 2, 0),
            vec![
                // Most packets: what was allowed once.
                answers(),
                rule([], mapped(InName, "from")),
                rule([], mapped(OutName, "to")),
                rule(
                    [outside([InName], "bridges"), outside([OutName], "bridges")],
                    mapped(Field::Family, "others"),
                ),
            ],
        ),
        based("input", ("filter", 1, 0), vec![rule([], mapped(InName, "local"))]),
    ]
}
// ANCHOR_END: filter

// ANCHOR: frames
/// Frames that come from a container: only its own addresses are their source, in every layer that
/// names one.
fn frames() -> Vec<Chain> {
    use Field::{ArpSource4, ArpSourceEther, EtherSource, InName, Source4, Source6};
    let of = |kind: u16| Test::Is(Field::FrameType, kind.to_be_bytes().to_vec());
    let ether = |kind: u16| Test::Is(Field::EtherType, kind.to_be_bytes().to_vec());
    let (ip4, arp, ip6) = (0x0800, 0x0806, 0x86dd);
    let icmp = |kind| [ether(ip6), byte(Field::Protocol, ICMP6), byte(Field::Icmp6Type, kind)];
    let [a, b, c] = icmp(NEIGHBOUR_ADVERTISEMENT);
    let about = outside([InName, EtherSource, Field::Icmp6Target], "owners6");
    vec![
        based(
            "prerouting",
            ("filter", 0, -300),
            vec![
                // Most frames.
                rule([of(ip4), within([InName, EtherSource, Source4], "owners4")], Action::Accept),
                rule([within([InName], "ports")], Action::Jump("port")),
            ],
        ),
        chain(
            "port",
            vec![
                rule([of(arp)], Action::Jump("neighbours4")),
                rule([of(ip6)], Action::Jump("port6")),
                rule([], Action::Drop),
            ],
        ),
        chain(
            "neighbours4",
            vec![
                rule(
                    [ether(arp), outside([InName, EtherSource, ArpSource4], "owners4")],
                    Action::Drop,
                ),
                rule(
                    [ether(arp), within([InName, ArpSourceEther, ArpSource4], "owners4")],
                    Action::Accept,
                ),
                rule([], Action::Drop),
            ],
        ),
        chain(
            "port6",
            vec![
                rule(icmp(ROUTER_ADVERTISEMENT), Action::Drop),
                rule(icmp(REDIRECT), Action::Drop),
                rule([a, b, c, about], Action::Drop),
                rule([of(ip6), within([InName, EtherSource, Source6], "owners6")], Action::Accept),
                rule([], Action::Drop),
            ],
        ),
    ]
}
// ANCHOR_END: frames

/// The table for packets.
pub(crate) fn inet() -> Table {
    let mut chains = filter();
    chains.extend(gates());
    chains.extend(translation());
    Table { family: Family::Inet, sets: INET_SETS, chains }
}

/// The table for frames.
pub(crate) fn bridge() -> Table {
    Table { family: Family::Bridge, sets: BRIDGE_SETS, chains: frames() }
}

impl Table {
    /// The set of this name.
    pub fn set(&self, name: &str) -> Option<&'static Set> {
        self.sets.iter().find(|set| set.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sets that a rule looks in, with the length of what it looks for.
    fn lookups(rule: &Rule) -> Vec<(&'static str, Vec<u32>)> {
        let lengths = |fields: &[Field]| fields.iter().map(|field| field.length()).collect();
        let mut found: Vec<(&'static str, Vec<u32>)> = Vec::new();
        for test in &rule.tests {
            if let Test::In(fields, set) | Test::NotIn(fields, set) = test {
                found.push((set, lengths(fields)));
            }
        }
        if let Action::Mapped(fields, map) | Action::Redirect(_, fields, map) = &rule.action {
            found.push((map, lengths(fields)));
        }
        found
    }

    #[test]
    fn every_rule_looks_for_what_its_set_holds_and_jumps_to_what_is_there() {
        for table in [inet(), bridge()] {
            for rule in table.chains.iter().flat_map(|chain| &chain.rules) {
                for (name, lengths) in lookups(rule) {
                    let set = table.set(name).unwrap_or_else(|| panic!("no set {name}"));
                    let key: Vec<u32> = set.key.iter().map(|part| part.length).collect();
                    assert_eq!(key, lengths, "{name}");
                }
                if let Action::Jump(to) = rule.action {
                    assert!(table.chains.iter().any(|chain| chain.name == to), "no chain {to}");
                }
            }
        }
    }
}
