//! Times as Docker's logs have them.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::record::Time;

/// As Go's RFC3339Nano has it: without zeros at the end.
pub(crate) fn rfc3339(time: Time) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(time));
    time.unwrap_or(OffsetDateTime::UNIX_EPOCH).format(&Rfc3339).unwrap_or_default()
}

/// As `docker logs --timestamps` prints it: with nine digits, so that columns stay columns.
pub fn fixed(time: Time) -> String {
    let whole = rfc3339(time - time % SECOND);
    format!("{}.{:09}Z", whole.trim_end_matches('Z'), time % SECOND)
}

/// Back. Times before 1970 are 1970.
pub(crate) fn parse(text: &str) -> Option<Time> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    Some(Time::try_from(time.unix_timestamp_nanos()).unwrap_or(0))
}

/// A second, in nanoseconds.
pub(crate) const SECOND: Time = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_go_s() {
        let whole = 1_795_000_000 * SECOND;
        assert_eq!(rfc3339(whole), "2026-11-18T11:06:40Z");
        assert_eq!(rfc3339(whole + 120_000_000), "2026-11-18T11:06:40.12Z");
        assert_eq!(rfc3339(whole + 1), "2026-11-18T11:06:40.000000001Z");
        assert_eq!(fixed(whole + 120_000_000), "2026-11-18T11:06:40.120000000Z");
        assert_eq!(fixed(whole), "2026-11-18T11:06:40.000000000Z");
        for time in [0, 1, whole, whole + 120_000_000] {
            assert_eq!(parse(&rfc3339(time)), Some(time));
            assert_eq!(parse(&fixed(time)), Some(time));
        }
        assert_eq!(parse("2026-11-18T12:06:40+01:00"), Some(whole));
        assert_eq!(parse("T"), None);
    }
}
