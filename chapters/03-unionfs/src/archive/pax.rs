//! The records of a PAX extended header: `LENGTH KEY=VALUE\n`, where the value may be binary.
//!
//! The tar crate splits them at newlines, which breaks the xattrs of real images: a POSIX ACL for
//! user 10 has the byte 0x0a in it. POSIX.1-2017, pax, "pax Extended Header".

use super::Time;

/// Key and value.
pub(super) type Record = (Vec<u8>, Vec<u8>);

/// Splits an extended header into its records, in their order.
///
/// # Errors
/// The reason, where a record's length does not fit.
pub(super) fn records(mut data: &[u8]) -> Result<Vec<Record>, String> {
    let bad = || "malformed extended (PAX) header".to_owned();
    let mut records = Vec::new();
    // Some writers pad with NUL.
    while data.first().is_some_and(|&byte| byte != 0) {
        let space = data.iter().take(20).position(|&byte| byte == b' ').ok_or_else(bad)?;
        let length = number(&data[..space]).ok_or_else(bad)?;
        let length = usize::try_from(length).ok().filter(|&n| n > space + 1 && n <= data.len());
        let (record, rest) = data.split_at(length.ok_or_else(bad)?);
        let text = record[space + 1..].strip_suffix(b"\n").ok_or_else(bad)?;
        let equals = text.iter().position(|&byte| byte == b'=').ok_or_else(bad)?;
        records.push((text[..equals].to_vec(), text[equals + 1..].to_vec()));
        data = rest;
    }
    Ok(records)
}

/// A decimal number and nothing else.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Seconds with a fraction: `1700000000.123456789`, also negative. Digits beyond nanoseconds are
/// cut off.
pub(super) fn time(text: &[u8]) -> Option<Time> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |&byte| byte == b'.');
    let seconds = i64::try_from(number(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or_default();
    let mut nanoseconds = 0;
    for at in 0..9 {
        let digit = fraction.get(at).copied().unwrap_or(b'0');
        if !digit.is_ascii_digit() {
            return None;
        }
        nanoseconds = nanoseconds * 10 + u32::from(digit - b'0');
    }
    if !negative {
        return Some(Time { seconds, nanoseconds });
    }
    // Nanoseconds count upwards: -1.25 s is two seconds before the epoch and 0.75 s after that.
    Some(match nanoseconds {
        0 => Time { seconds: -seconds, nanoseconds: 0 },
        n => Time { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - n },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_be_binary() {
        let data = b"12 path=a/b\n22 SCHILY.xattr.x=\n=\0\n";
        let found = records(data).unwrap();
        assert_eq!(found[0], (b"path".to_vec(), b"a/b".to_vec()));
        assert_eq!(found[1], (b"SCHILY.xattr.x".to_vec(), b"\n=\0".to_vec()));
    }

    #[test]
    fn a_length_that_does_not_fit_is_refused() {
        for bad in [&b"99 path=a\n"[..], b"2 a=b\n", b"6 a=bc\n", b"-1 a=b\n", b"7 abcd\n", b"x"] {
            assert!(records(bad).is_err(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn a_time_may_have_a_fraction_and_a_sign() {
        let of = |text: &str| time(text.as_bytes()).map(|t| (t.seconds, t.nanoseconds));
        assert_eq!(of("1700000000.5"), Some((1_700_000_000, 500_000_000)));
        assert_eq!(of("12"), Some((12, 0)));
        assert_eq!(of("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(of("1.1234567899"), Some((1, 123_456_789)));
        for bad in ["", ".", "1.x", "--1", "9".repeat(30).as_str()] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
