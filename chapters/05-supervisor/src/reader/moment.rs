//! A time as people write it: `--since 10m`, `--since 2026-11-25T18:00:00Z`, `--since 1795000000.5`.

use crate::error::{Error, Result};
use crate::log::stamp;
use crate::record::Time;

/// Reads a time as `docker logs` does: of RFC 3339, where hour, seconds and zone may be missing;
/// seconds since 1970, with a fraction; or how long ago, as Go writes durations. Without a zone it is
/// UTC: Docker's client takes the zone of whoever asks.
///
/// # Errors
/// Where it is none of these.
pub fn moment(text: &str, now: Time) -> Result<Time> {
    ago(text, now).or_else(|| seconds(text)).or_else(|| date(text)).ok_or_else(|| {
        let why = "must be a time as in 2026-11-25T18:00:00Z, seconds since 1970, or as in 10m";
        Error::invalid(format!("time `{text}`"), why)
    })
}

fn ago(text: &str, now: Time) -> Option<Time> {
    let (future, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let nanos = duration(rest)?;
    Some(if future { now.saturating_add(nanos) } else { now.saturating_sub(nanos) })
}

/// As Go's time.ParseDuration reads it: `1m30s`, `500ms`, `1.5h`; in nanoseconds.
fn duration(text: &str) -> Option<Time> {
    let mut rest = text;
    let mut sum = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit) = rest.split_at(digits);
        let end = unit.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(unit.len());
        let (unit, after) = unit.split_at(end);
        let factor = match unit {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        sum += number.parse::<f64>().ok()? * factor;
        rest = after;
    }
    (!text.is_empty() && sum < u64::MAX as f64).then_some(sum as Time)
}

fn seconds(text: &str) -> Option<Time> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let nanos: Time = format!("{fraction:0<9}").parse().ok()?;
    whole.parse::<Time>().ok()?.checked_mul(stamp::SECOND)?.checked_add(nanos)
}

fn date(text: &str) -> Option<Time> {
    // What is missing, as Docker fills it up.
    let full = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        13 => format!("{text}:00:00Z"),
        16 => format!("{text}:00Z"),
        _ => text.to_owned(),
    };
    stamp::parse(&full).or_else(|| stamp::parse(&format!("{full}Z")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_docker_reads_them() {
        let (now, second) = (2_000 * stamp::SECOND, stamp::SECOND);
        for (text, expected) in [
            ("10m", now - 600 * second),
            ("1m30s", now - 90 * second),
            ("1.5s", now - 3 * second / 2),
            ("-1s", now + second),
            ("10000h", 0),
            ("100", 100 * second),
            ("100.5", 100 * second + second / 2),
            ("100.000000001", 100 * second + 1),
            ("1970-01-01T00:01:00Z", 60 * second),
            ("1970-01-01T01:01:00+01:00", 60 * second),
            ("1970-01-01T00:01:00.25Z", 60 * second + second / 4),
            ("1970-01-01T00:01:00.25", 60 * second + second / 4),
            ("1970-01-01T00:01", 60 * second),
            ("1970-01-01T01", 3600 * second),
            ("1970-01-02", 86400 * second),
        ] {
            assert_eq!(moment(text, now).unwrap(), expected, "{text}");
        }
        for bad in ["", "x", "10", "10 m", "1970-13-01", "1.2.3", "1.0000000001", "5m!"] {
            let found = moment(bad, now);
            assert!(bad == "10" || found.is_err(), "{bad}: {found:?}");
        }
    }
}
