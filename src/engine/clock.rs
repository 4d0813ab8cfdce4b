//! Points in time, as RFC 3339 has them in files, and as people read them.

use corten_supervisor::record::Time;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::error::{Error, Result};

/// The present, in UTC.
pub fn now() -> String {
    // Fails only beyond the year 9999.
    OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default()
}

/// A supervisor's point in time; the year 1 for never, as Go has it.
pub fn at(time: Time) -> String {
    if time == 0 {
        return "0001-01-01T00:00:00Z".to_owned();
    }
    let time = OffsetDateTime::from_unix_timestamp_nanos(time.into());
    time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}

/// `until` of a filter, written as times in records are, which sort as text.
///
/// # Errors
/// [`Error::Refused`] for what is no point in time.
pub fn until(text: &str) -> Result<String> {
    Ok(at(point(text)?))
}

/// A point in time: RFC 3339, seconds since 1970 with or without a fraction, or a duration before
/// now as in `24h`.
///
/// # Errors
/// [`Error::Refused`] for what is none of these.
pub fn point(text: &str) -> Result<Time> {
    let invalid = || Error::refused(format!("failed to parse value as time or duration: {text:?}"));
    let of =
        |time: OffsetDateTime| Time::try_from(time.unix_timestamp_nanos()).map_err(|_| invalid());
    if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
        return of(time);
    }
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !seconds.is_empty() && digits(seconds) && digits(fraction) && fraction.len() <= 9 {
        let nanos: Time = format!("{fraction:0<9}").parse().map_err(|_| invalid())?;
        let seconds: Time = seconds.parse().map_err(|_| invalid())?;
        return seconds
            .checked_mul(1_000_000_000)
            .and_then(|s| s.checked_add(nanos))
            .ok_or_else(invalid);
    }
    let ago = time::Duration::nanoseconds(nanoseconds(text).ok_or_else(invalid)?);
    of(OffsetDateTime::now_utc().checked_sub(ago).ok_or_else(invalid)?)
}

/// The same in seconds since 1970; 0 for a text that is no time.
pub fn seconds(text: &str) -> i64 {
    point(text).map_or(0, |time| (time / 1_000_000_000).cast_signed())
}

/// As Go's time.ParseDuration reads it: `1m30s`, `500ms`, `1.5h`.
pub fn nanoseconds(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut sum = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit) = rest.split_at(digits);
        let end = unit.find(|c: char| c.is_ascii_digit()).unwrap_or(unit.len());
        let (unit, after) = unit.split_at(end);
        let factor = match unit {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        sum += number.parse::<f64>().ok()? * factor;
        rest = after;
    }
    // As large as Go's can be: 292 years.
    (sum < i64::MAX as f64).then_some(sum as i64)
}

/// How long ago `then` was: `2 weeks ago`; `N/A` where it is no point in time.
pub fn ago(then: &str) -> String {
    match age(then) {
        Some(seconds) => format!("{} ago", duration(seconds)),
        None => "N/A".to_owned(),
    }
}

/// How long a supervisor's point in time is past: `2 weeks`.
pub fn since(then: Time) -> String {
    if then == 0 {
        return ago(&at(then)).trim_end_matches(" ago").to_owned();
    }
    let passed = corten_supervisor::record::now().saturating_sub(then);
    duration((passed / 1_000_000_000).cast_signed())
}

fn age(then: &str) -> Option<i64> {
    let then = OffsetDateTime::parse(then, &Rfc3339).ok()?;
    Some((OffsetDateTime::now_utc() - then).whole_seconds())
}

/// A duration in words, by the rules of docker/go-units.
fn duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match seconds {
        ..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_go_reads_them() {
        assert_eq!(nanoseconds("1m30s"), Some(90_000_000_000));
        assert_eq!(nanoseconds("500ms"), Some(500_000_000));
        assert_eq!(nanoseconds("1.5h"), Some(5_400_000_000_000));
        for bad in ["5", "s", "1x", "-1s", "1..2s", "999999999h"] {
            assert_eq!(nanoseconds(bad), None, "{bad}");
        }
        assert_eq!(point("1.5").unwrap(), 1_500_000_000);
        assert_eq!(until("1").unwrap(), "1970-01-01T00:00:01Z");
        assert_eq!(until("2020-01-02T03:04:05+01:00").unwrap(), "2020-01-02T02:04:05Z");
        assert!(until("1h").unwrap() < now() && until("yesterday").is_err());
    }

    #[test]
    fn durations_read_as_docker_s() {
        for (seconds, words) in [
            (-5, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (61, "About a minute"),
            (150, "2 minutes"),
            (3600, "About an hour"),
            (7200, "2 hours"),
            (86400 * 3, "3 days"),
            (86400 * 20, "2 weeks"),
            (86400 * 90, "3 months"),
            (86400 * 800, "2 years"),
        ] {
            assert_eq!(duration(seconds), words, "{seconds}");
        }
        assert_eq!(ago("yesterday"), "N/A");
        assert_eq!(ago(&now()), "Less than a second ago");
    }
}
