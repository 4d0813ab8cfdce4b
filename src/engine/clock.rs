//! Points in time, as RFC 3339 has them in files, and as people read them.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The present, in UTC.
pub fn now() -> String {
    // Fails only beyond the year 9999.
    OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default()
}

/// How long ago `then` was: `2 weeks ago`; `N/A` where it is no point in time.
pub fn ago(then: &str) -> String {
    match age(then) {
        Some(seconds) => format!("{} ago", duration(seconds)),
        None => "N/A".to_owned(),
    }
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
