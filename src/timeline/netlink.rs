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

#[cfg(test)]
mod tests {
    use super::*;

    /// A message of this type with so many bytes behind its header.
    fn message(kind: u16, content: usize) -> Vec<u8> {
        let mut bytes = u32::try_from(16 + content).unwrap().to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.resize((16 + content).next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn messages_follow_one_another_where_four_divides() {
        let batch = [message(16, 5), message(20, 8), message(24, 0)].concat();
        assert_eq!(messages(&batch), [16, 20, 24]);
        let words: Vec<_> = messages(&batch).into_iter().filter_map(route).collect();
        assert_eq!(words, ["a link", "an address", "a route"]);
        assert_eq!(messages(&batch[..30]), [16], "one that is cut off is none");
        assert_eq!(messages(&[0; 64]), [0], "a length of nothing leads nowhere");
        assert_eq!((filter(10 << 8 | 12), filter(12)), (Some("elements of a set"), None));
    }
}
