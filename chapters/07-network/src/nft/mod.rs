//! nftables without `nft`: two tables of our own, loaded once, and elements of their sets and maps.
//!
//! The rules ([`table`]) know no network and no container. What they look up does: sets of bridges and
//! addresses, maps from ports to containers. To start a container is to add a few elements, in one
//! batch, and no rule is ever added; so a packet costs the same whether one container runs or five
//! hundred, and so does a start.
//!
//! | module | what it is about |
//! |---|---|
//! | [`expression`] | what a rule is made of, and its bytes |
//! | [`table`] | the two tables: sets, chains, rules |
//! | [`element`] | what sets and maps hold of a network and of a container |
//! | [`flow`] | what the kernel remembers of packets that have passed |
//! | [`batch`] | several changes that happen at once or not at all |

pub(crate) mod batch;
pub(crate) mod element;
pub(crate) mod expression;
pub(crate) mod flow;
pub(crate) mod table;

/// nfnetlink's number of nf_tables (linux/netfilter/nfnetlink.h).
const SUBSYSTEM: u16 = 10;

/// The kinds of message (linux/netfilter/nf_tables.h).
mod kind {
    pub const NEW_TABLE: u16 = 0;
    pub const GET_TABLE: u16 = 1;
    pub const DELETE_TABLE: u16 = 2;
    pub const NEW_CHAIN: u16 = 3;
    pub const GET_CHAIN: u16 = 4;
    pub const NEW_RULE: u16 = 6;
    pub const NEW_SET: u16 = 9;
    pub const NEW_ELEMENTS: u16 = 12;
    pub const DELETE_ELEMENTS: u16 = 14;
}

/// An element of a list, in all of nf_tables' lists.
const LIST_ELEMENT: u16 = 1;

/// The families of tables that we have, and of chains that we look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    /// IPv4 and IPv6.
    Inet = 1,
    /// IPv4 alone: where iptables has its chains.
    Ipv4 = 2,
    /// Frames that pass a bridge.
    Bridge = 7,
    /// IPv6 alone.
    Ipv6 = 10,
}

impl Family {
    /// As `nft` writes it.
    pub fn name(self) -> &'static str {
        match self {
            Family::Inet => "inet",
            Family::Ipv4 => "ip",
            Family::Bridge => "bridge",
            Family::Ipv6 => "ip6",
        }
    }
}
