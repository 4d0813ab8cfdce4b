//! The few formats that the kernel writes figures in.

use std::collections::BTreeMap;

use crate::limits::Max;

/// Lines of a name and a number: `cpu.stat`, `memory.stat`, `memory.events`. A line that is
/// something else is passed over.
pub(super) fn flat(text: &str) -> BTreeMap<String, u64> {
    let pair = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

/// `max`, or a number. v1 writes a number near 2^63, rounded to pages, where there is no limit.
pub(super) fn max(text: &str) -> Option<Max> {
    const ALMOST: u64 = 1 << 62;
    match text.trim() {
        "max" => Some(Max::Unlimited),
        number => match number.parse::<u64>() {
            Ok(value) if value >= ALMOST => Some(Max::Unlimited),
            Ok(value) => Some(Max::At(value)),
            Err(_) => None,
        },
    }
}

/// `8:0`.
pub(super) fn device(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
