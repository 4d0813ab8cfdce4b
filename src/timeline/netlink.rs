//! What netlink messages ask for, by their types.

/// The types of the messages in a buffer (netlink(7): `struct nlmsghdr`).
pub(super) fn messages(bytes: &[u8]) -> Vec<u16> {
    let mut kinds = Vec::new();
    let mut rest = bytes;
    while let Some((header, _)) = rest.split_at_checked(16) {
        let length = header.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes));
        let length = usize::try_from(length).unwrap_or(0);
        let kind =
            header.get(4..6).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_ne_bytes);
        kinds.push(kind);
        // Each begins where four divides.
        match rest.get(length.next_multiple_of(4)..) {
            Some(next) if length >= 16 => rest = next,
            _ => break,
        }
    }
    kinds
}

/// rtnetlink(7).
pub(super) fn route(kind: u16) -> Option<&'static str> {
    Some(match kind {
        16 => "a link",
        17 => "a link goes",
        18 => "look at links",
        19 => "a link's settings",
        20 => "an address",
        21 => "an address goes",
        22 => "look at addresses",
        24 => "a route",
        25 => "a route goes",
        26 => "look at routes",
        28 => "a neighbour",
        29 => "a neighbour goes",
        88 => "a namespace's number",
        90 => "look for a namespace's number",
        _ => return None,
    })
}

/// linux/netfilter/nf_tables.h: the low byte, where the high one is nftables' own.
pub(super) fn filter(kind: u16) -> Option<&'static str> {
    if kind >> 8 != 10 {
        return None;
    }
    Some(match kind & 0xff {
        0 => "a table",
        2 => "a table goes",
        3 => "a chain",
        5 => "a chain goes",
        6 => "a rule",
        8 => "a rule goes",
        9 => "a set",
        12 => "elements of a set",
        14 => "elements of a set go",
        1 | 4 | 7 | 10 | 13 | 16 => "look at rules",
        _ => return None,
    })
}
