//! Values as users write them.

use crate::error::{Error, Result};

use super::{Cpu, Max};

/// `64m`, `1.5g`, `max`: bytes, with the suffixes of `docker run --memory`.
///
/// # Errors
/// [`Error::Invalid`] where it is none of these.
pub fn bytes(text: &str) -> Result<Max> {
    let lower = text.trim().to_ascii_lowercase();
    if lower == "max" || lower == "-1" {
        return Ok(Max::Unlimited);
    }
    let bad = || Error::invalid(format!("size `{text}`"), "is not a number with b, k, m, g or t");
    let unsuffixed = lower.strip_suffix("ib").or(lower.strip_suffix('b')).unwrap_or(&lower);
    let split = unsuffixed.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = unsuffixed.split_at(split.unwrap_or(unsuffixed.len()));
    let shift = match unit {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(bad()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(1 << shift).map(Max::At).ok_or_else(bad);
    }
    let fraction: f64 = number.parse().map_err(|_| bad())?;
    let value = fraction * (1u64 << shift) as f64;
    if value.is_finite() && value < u64::MAX as f64 {
        Ok(Max::At(value as u64))
    } else {
        Err(bad())
    }
}

/// `0.5`, `2`: so many processors, as a quota in the default period.
///
/// # Errors
/// [`Error::Invalid`] where it is no number above zero.
pub fn cpus(text: &str) -> Result<Cpu> {
    const PERIOD: u64 = 100_000;
    let bad =
        || Error::invalid(format!("cpus `{text}`"), "is not a number of processors above 0.01");
    let count: f64 = text.parse().map_err(|_| bad())?;
    if !(0.01..=1_000_000.0).contains(&count) {
        return Err(bad());
    }
    let quota = Max::At((count * PERIOD as f64).round() as u64);
    Ok(Cpu { quota: Some(quota), period: Some(PERIOD), ..Cpu::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_docker_s_do() {
        for (text, value) in [("64m", 64 << 20), ("1.5G", 3 << 29), ("10", 10), ("2KiB", 2048)] {
            assert_eq!(bytes(text).unwrap(), Max::At(value), "{text}");
        }
        assert_eq!(bytes("max").unwrap(), Max::Unlimited);
        for bad in ["", "m", "1x", "-5", "99999999999999g", "nan", "1..2"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn half_a_processor_is_half_of_each_period() {
        let cpu = cpus("0.5").unwrap();
        assert_eq!((cpu.quota, cpu.period), (Some(Max::At(50_000)), Some(100_000)));
        for bad in ["0", "-1", "x", "nan", "inf"] {
            assert!(cpus(bad).is_err(), "{bad}");
        }
    }
}
