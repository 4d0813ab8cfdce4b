//! What a rule is made of.
//!
//! The kernel runs a rule as a list of small instructions on registers: load a part of the packet,
//! compare, look up, decide. There are 16 registers of four bytes; four in a row are also one of 16.
//! What is looked up by several parts together stands in a row of registers.

use super::{Family, LIST_ELEMENT};
use crate::netlink::Message;

// ANCHOR: field
/// A part of a packet, or what the kernel knows about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    /// The link that it came in by.
    InName,
    /// The link that it goes out by.
    OutName,
    /// IPv4 or IPv6, in a table of both.
    Family,
    /// TCP, UDP …
    Protocol,
    /// The type of the frame.
    FrameType,
    /// The type of the frame as its bytes say.
    EtherType,
    EtherSource,
    Source4,
    /// The first byte of the source: the network 127.0.0.0/8 by itself.
    Source4First,
    Target4,
    Target4First,
    Source6,
    Target6,
    /// The port that it goes to, of every protocol that has ports there.
    Port,
    ArpSourceEther,
    ArpSource4,
    Icmp6Type,
    /// The address that a neighbour advertisement is about.
    Icmp6Target,
    ConnectionState,
    ConnectionStatus,
    /// Whether its target is one of the machine's own addresses.
    TargetType,
}
// ANCHOR_END: field

/// Where a field comes from.
enum Origin {
    Meta(u32),
    Connection(u32),
    /// Base (0 link, 1 network, 2 transport) and offset.
    Payload(u32, u32),
    RouteType,
}

impl Field {
    /// Where it is, and how long.
    fn origin(self) -> (Origin, u32) {
        use Origin::{Connection, Meta, Payload, RouteType};
        match self {
            Field::InName => (Meta(6), 16),
            Field::OutName => (Meta(7), 16),
            Field::Family => (Meta(15), 1),
            Field::Protocol => (Meta(16), 1),
            Field::FrameType => (Meta(1), 2),
            Field::EtherType => (Payload(0, 12), 2),
            Field::EtherSource => (Payload(0, 6), 6),
            Field::Source4 => (Payload(1, 12), 4),
            Field::Source4First => (Payload(1, 12), 1),
            Field::Target4 => (Payload(1, 16), 4),
            Field::Target4First => (Payload(1, 16), 1),
            Field::Source6 => (Payload(1, 8), 16),
            Field::Target6 => (Payload(1, 24), 16),
            Field::Port => (Payload(2, 2), 2),
            Field::ArpSourceEther => (Payload(1, 8), 6),
            Field::ArpSource4 => (Payload(1, 14), 4),
            Field::Icmp6Type => (Payload(2, 0), 1),
            Field::Icmp6Target => (Payload(2, 8), 16),
            Field::ConnectionState => (Connection(0), 4),
            Field::ConnectionStatus => (Connection(2), 4),
            Field::TargetType => (RouteType, 4),
        }
    }

    /// Its length, in bytes.
    pub fn length(self) -> u32 {
        self.origin().1
    }
}

/// What a rule asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Test {
    /// Whether a field has a value.
    Is(Field, Vec<u8>),
    /// Whether a field has one of these bits.
    Any(Field, u32),
    /// Whether the fields together are in a set.
    In(Vec<Field>, &'static str),
    /// Whether they are not.
    NotIn(Vec<Field>, &'static str),
}

/// What a rule does with a packet that passes its tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    Accept,
    Drop,
    /// Goes through another chain, and comes back.
    Jump(&'static str),
    /// What a map says for the fields.
    Mapped(Vec<Field>, &'static str),
    /// The target becomes the address and port that a map has for the fields.
    Redirect(Family, Vec<Field>, &'static str),
    /// The source becomes the address of the link that it leaves by.
    Masquerade,
}

/// A rule of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub tests: Vec<Test>,
    pub action: Action,
}

/// linux/netfilter/nf_tables.h: what is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Drop,
    Jump(&'static str),
}

/// The register where the bytes from `offset` on are.
fn register(offset: u32) -> u32 {
    if offset.is_multiple_of(16) { 1 + offset / 16 } else { 8 + offset / 4 }
}

/// Numbers of nf_tables are in network order.
pub(super) fn number(message: &mut Message, kind: u16, value: u32) {
    message.attribute(kind, &value.to_be_bytes());
}

/// A value in an attribute of this kind.
pub(super) fn value(message: &mut Message, kind: u16, bytes: &[u8]) {
    message.nested(kind, |data| {
        data.attribute(1, bytes);
    });
}

/// A verdict in an attribute of this kind.
pub(super) fn verdict(message: &mut Message, kind: u16, code: i32, chain: Option<&str>) {
    message.nested(kind, |data| {
        data.nested(2, |verdict| {
            verdict.attribute(1, &code.to_be_bytes());
            if let Some(chain) = chain {
                verdict.text(2, chain);
            }
        });
    });
}

pub(super) const DROP: i32 = 0;
pub(super) const ACCEPT: i32 = 1;
pub(super) const JUMP: i32 = -3;

fn instruction(list: &mut Message, name: &str, inside: impl FnOnce(&mut Message)) {
    list.nested(LIST_ELEMENT, |element| {
        element.text(1, name).nested(2, inside);
    });
}

// ANCHOR: load
fn load(list: &mut Message, field: Field, register: u32) {
    let (origin, length) = field.origin();
    match origin {
        Origin::Meta(key) => instruction(list, "meta", |meta| {
            number(meta, 2, key);
            number(meta, 1, register);
        }),
        Origin::Connection(key) => instruction(list, "ct", |ct| {
            number(ct, 2, key);
            number(ct, 1, register);
        }),
        Origin::Payload(base, offset) => instruction(list, "payload", |payload| {
            for (kind, value) in [(1, register), (2, base), (3, offset), (4, length)] {
                number(payload, kind, value);
            }
        }),
        Origin::RouteType => instruction(list, "fib", |fib| {
            // The type of the address (3) that the packet goes to (2).
            for (kind, value) in [(1, register), (2, 3), (3, 2)] {
                number(fib, kind, value);
            }
        }),
    }
}
// ANCHOR_END: load

/// Loads the fields into a row of registers, each rounded up to four bytes.
fn load_row(list: &mut Message, fields: &[Field]) {
    let mut offset = 0;
    for field in fields {
        load(list, *field, register(offset));
        offset += field.length().next_multiple_of(4);
    }
}

fn compare(list: &mut Message, equal: bool, bytes: &[u8]) {
    instruction(list, "cmp", |cmp| {
        number(cmp, 1, 1);
        number(cmp, 2, u32::from(!equal));
        value(cmp, 3, bytes);
    });
}

fn lookup(list: &mut Message, set: &str, target: Option<u32>, inverted: bool) {
    instruction(list, "lookup", |lookup| {
        lookup.text(1, set);
        number(lookup, 2, 1);
        if let Some(register) = target {
            number(lookup, 3, register);
        }
        if inverted {
            number(lookup, 5, 1);
        }
    });
}

impl Test {
    fn encode(&self, list: &mut Message) {
        match self {
            Test::Is(field, bytes) => {
                load(list, *field, 1);
                compare(list, true, bytes);
            }
            Test::Any(field, bits) => {
                load(list, *field, 1);
                instruction(list, "bitwise", |bitwise| {
                    for (kind, value) in [(1, 1), (2, 1), (3, 4)] {
                        number(bitwise, kind, value);
                    }
                    value(bitwise, 4, &bits.to_ne_bytes());
                    value(bitwise, 5, &[0; 4]);
                });
                compare(list, false, &[0; 4]);
            }
            Test::In(fields, set) => {
                load_row(list, fields);
                lookup(list, set, None, false);
            }
            Test::NotIn(fields, set) => {
                load_row(list, fields);
                lookup(list, set, None, true);
            }
        }
    }
}

impl Action {
    fn encode(&self, list: &mut Message) {
        let mut immediate = |code, chain| {
            instruction(list, "immediate", |immediate| {
                number(immediate, 1, 0);
                verdict(immediate, 2, code, chain);
            });
        };
        match self {
            Action::Accept => immediate(ACCEPT, None),
            Action::Drop => immediate(DROP, None),
            Action::Jump(chain) => immediate(JUMP, Some(chain)),
            Action::Mapped(fields, map) => {
                load_row(list, fields);
                lookup(list, map, Some(0), false);
            }
            Action::Redirect(family, fields, map) => {
                load_row(list, fields);
                lookup(list, map, Some(1), false);
                let address = if *family == Family::Ipv6 { 16 } else { 4 };
                instruction(list, "nat", |nat| {
                    // The target (1); address and port are where the map has put them.
                    let family = *family as u32;
                    let registers = [(1, 1), (2, family), (3, 1), (5, register(address))];
                    for (kind, value) in registers {
                        number(nat, kind, value);
                    }
                });
            }
            Action::Masquerade => instruction(list, "masq", |_| {}),
        }
    }
}

impl Rule {
    /// Its instructions, as attributes.
    pub fn encode(&self, list: &mut Message) {
        for test in &self.tests {
            test.encode(list);
        }
        self.action.encode(list);
    }
}
