//! Values of one version in the scale of the other.

use crate::error::{Error, Result};
use crate::limits::{CpuShare, IoWeight, Max, Memory};

// ANCHOR: shares
/// v2's `cpu.weight` for v1's `cpu.shares`, as runc has it since 1.3.2 and crun since 2025: the least, the
/// default and the greatest value of one scale are those of the other (2, 1024, 262144 and 1, 100,
/// 10000), and between them the exponent is a quadratic function. A straight line, which was used
/// before, gave 39 for the default.
pub fn weight_of_shares(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let l = (shares as f64).log2();
            let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
            10f64.powf(exponent).ceil() as u64
        }
    }
}
// ANCHOR_END: shares

/// v1's `cpu.shares` for v2's `cpu.weight`: the least shares whose weight this is, or else those
/// whose weight comes next.
pub fn shares_of_weight(weight: u64) -> u64 {
    let (mut low, mut high) = (2u64, 262_144u64);
    while low < high {
        let middle = (low + high) / 2;
        if weight_of_shares(middle) < weight { low = middle + 1 } else { high = middle }
    }
    low
}

impl CpuShare {
    /// In v1's scale.
    pub fn shares(self) -> u64 {
        match self {
            CpuShare::Shares(shares) => shares,
            CpuShare::Weight(weight) => shares_of_weight(weight),
        }
    }

    /// In v2's scale.
    pub fn weight(self) -> u64 {
        match self {
            CpuShare::Shares(shares) => weight_of_shares(shares),
            CpuShare::Weight(weight) => weight,
        }
    }
}

impl IoWeight {
    /// In the scale of v1 and of the BFQ scheduler in both versions: 10 to 1000.
    pub fn blkio(self) -> u16 {
        match self {
            IoWeight::Blkio(weight) => weight,
            // At most 10 + 9999 * 990 / 9999.
            IoWeight::Io(weight) => (10 + (u32::from(weight.max(1)) - 1) * 990 / 9999) as u16,
        }
    }

    /// In the scale of v2: 1 to 10000. 10 becomes 1 and 1000 becomes 10000, as in runc and crun.
    pub fn io(self) -> u16 {
        match self {
            IoWeight::Blkio(weight) => (1 + (u32::from(weight.max(10)) - 10) * 9999 / 990) as u16,
            IoWeight::Io(weight) => weight,
        }
    }
}

// ANCHOR: swap
/// v2's `memory.swap.max`: v1 and the OCI runtime specification count memory and swap together, v2
/// counts swap alone.
///
/// # Errors
/// [`Error::Invalid`] where memory and swap together are limited, and memory alone is not.
pub fn swap_alone(memory: &Memory) -> Result<Option<Max>> {
    match (memory.limit, memory.swap) {
        // Whoever takes the limit off memory means swap too, as v1 did it.
        (Some(Max::Unlimited), None) => Ok(Some(Max::Unlimited)),
        (_, None) => Ok(None),
        (_, Some(Max::Unlimited)) => Ok(Some(Max::Unlimited)),
        (Some(Max::At(limit)), Some(Max::At(both))) if both >= limit => {
            Ok(Some(Max::At(both - limit)))
        }
        (_, Some(Max::At(_))) => Err(Error::invalid(
            "memory and swap together",
            "have a limit, so memory alone needs one that is not above it",
        )),
    }
}
// ANCHOR_END: swap

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The values that runc's own test has.
    #[test]
    fn shares_become_runc_s_weights() {
        let pairs =
            [(0, 1), (2, 1), (100, 17), (512, 59), (1024, 100), (2048, 174), (262_144, 10_000)];
        for (shares, weight) in pairs {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
    }

    #[test]
    fn swap_is_what_memory_leaves_of_both() {
        let swap = |limit, swap| swap_alone(&Memory { limit, swap, ..Memory::default() });
        let at = |n| Some(Max::At(n));
        assert_eq!(swap(at(10), at(30)).unwrap(), at(20));
        assert_eq!(swap(at(10), at(10)).unwrap(), at(0));
        assert_eq!(swap(at(10), None).unwrap(), None);
        assert_eq!(swap(Some(Max::Unlimited), None).unwrap(), Some(Max::Unlimited));
        assert_eq!(swap(None, Some(Max::Unlimited)).unwrap(), Some(Max::Unlimited));
        assert!(swap(None, at(10)).is_err());
        assert!(swap(at(20), at(10)).is_err());
    }

    #[test]
    fn io_weights_keep_their_ends() {
        for (blkio, io) in [(10, 1), (500, 4950), (1000, 10_000)] {
            assert_eq!(IoWeight::Blkio(blkio).io(), io);
        }
        assert_eq!((IoWeight::Io(1).blkio(), IoWeight::Io(10_000).blkio()), (10, 1000));
    }

    proptest! {
        #[test]
        fn more_shares_are_never_less_weight(a in 0u64..300_000, b in 0u64..300_000) {
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(weight_of_shares(low) <= weight_of_shares(high));
            prop_assert!((1..=10_000).contains(&weight_of_shares(high)));
        }

        #[test]
        fn a_weight_survives_the_way_there_and_back(weight in 1u64..=10_000) {
            let back = weight_of_shares(shares_of_weight(weight));
            // Small weights have several shares, large ones none exactly.
            prop_assert!(back >= weight && back <= weight + 1 + weight / 50, "{weight} {back}");
        }

        #[test]
        fn an_io_weight_survives_the_way_there_and_back(weight in 10u16..=1000) {
            let back = IoWeight::Io(IoWeight::Blkio(weight).io()).blkio();
            prop_assert!(weight - back <= 1, "{weight} {back}");
        }
    }
}
