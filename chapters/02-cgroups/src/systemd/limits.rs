//! Limits as properties of a unit: systemd sets them anew whenever it is reloaded, so it has to
//! know those that it has properties for.

use super::message::Value;
use super::unit::Property;
use crate::convert;
use crate::error::Result;
use crate::hierarchy::Layout;
use crate::limits::{Cpu, Limits, Max};

/// The properties for `limits`; what systemd has none for is set in the delegated group.
///
/// # Errors
/// [`Error::Invalid`](crate::Error::Invalid) where memory and swap together are limited, and memory alone is not.
pub fn properties(limits: &Limits, layout: Layout) -> Result<Vec<Property>> {
    let mut all = Vec::new();
    let mut set = |name: &str, value: u64| all.push(Property::new(name, Value::Uint64(value)));
    let unified = layout == Layout::Unified;
    let memory = &limits.memory;
    if let Some(limit) = memory.limit {
        set(if unified { "MemoryMax" } else { "MemoryLimit" }, number(limit));
    }
    if unified {
        if let Some(low) = memory.reservation {
            set("MemoryLow", number(low));
        }
        if let Some(swap) = convert::swap_alone(memory)? {
            set("MemorySwapMax", number(swap));
        }
    }
    match (limits.cpu.share, unified) {
        (Some(share), true) => set("CPUWeight", share.weight()),
        (Some(share), false) => set("CPUShares", share.shares()),
        (None, _) => {}
    }
    if let Some(quota) = quota(&limits.cpu) {
        set("CPUQuotaPerSecUSec", quota);
        if let Some(period) = limits.cpu.period {
            set("CPUQuotaPeriodUSec", period);
        }
    }
    if let Some(pids) = limits.pids {
        set("TasksMax", number(pids));
    }
    match (limits.io.weight, unified) {
        (Some(weight), true) => set("IOWeight", weight.io().into()),
        (Some(weight), false) => set("BlockIOWeight", weight.blkio().into()),
        (None, _) => {}
    }
    let lists = [("AllowedCPUs", &limits.cpu.cpus), ("AllowedMemoryNodes", &limits.cpu.mems)];
    for (name, list) in lists.into_iter().filter(|_| unified) {
        let bytes = list.as_deref().and_then(bitmap);
        all.extend(bytes.map(|bytes| Property::new(name, Value::Bytes(bytes))));
    }
    Ok(all)
}

fn number(max: Max) -> u64 {
    match max {
        Max::At(value) => value,
        Max::Unlimited => u64::MAX,
    }
}

/// Microseconds in each second, rounded up to hundredths as systemd keeps them.
fn quota(cpu: &Cpu) -> Option<u64> {
    match cpu.quota? {
        Max::Unlimited => Some(u64::MAX),
        Max::At(quota) => {
            let per_second = quota.saturating_mul(1_000_000) / cpu.period.unwrap_or(100_000).max(1);
            Some(per_second.next_multiple_of(10_000))
        }
    }
}

/// `0-2,8` as bits, the lowest first.
fn bitmap(list: &str) -> Option<Vec<u8>> {
    const MOST: usize = 8192;
    let mut bytes = Vec::new();
    for item in list.split(',').filter(|item| !item.trim().is_empty()) {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if last >= MOST {
            return None;
        }
        for bit in first..=last {
            if bytes.len() <= bit / 8 {
                bytes.resize(bit / 8 + 1, 0);
            }
            bytes[bit / 8] |= 1 << (bit % 8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{CpuShare, Memory, cpus};

    #[test]
    fn limits_become_the_properties_of_each_version() {
        let limits = Limits {
            cpu: Cpu {
                share: Some(CpuShare::Shares(1024)),
                cpus: Some("0-1,9".into()),
                ..cpus("0.505").unwrap()
            },
            memory: Memory {
                limit: Some(Max::At(100)),
                swap: Some(Max::At(300)),
                ..Memory::default()
            },
            pids: Some(Max::Unlimited),
            ..Limits::default()
        };
        let text = |layout| -> Vec<String> {
            let all = properties(&limits, layout).unwrap();
            all.iter().map(|p| format!("{}={:?}", p.name, p.value)).collect()
        };
        assert_eq!(
            text(Layout::Unified),
            [
                "MemoryMax=Uint64(100)",
                "MemorySwapMax=Uint64(200)",
                "CPUWeight=Uint64(100)",
                "CPUQuotaPerSecUSec=Uint64(510000)",
                "CPUQuotaPeriodUSec=Uint64(100000)",
                "TasksMax=Uint64(18446744073709551615)",
                "AllowedCPUs=Bytes([3, 2])",
            ]
        );
        assert_eq!(
            text(Layout::Hybrid)[..2],
            ["MemoryLimit=Uint64(100)", "CPUShares=Uint64(1024)"]
        );
    }
}
