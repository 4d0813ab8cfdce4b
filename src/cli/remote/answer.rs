//! What a daemon answers, as rows need it.

use corten_daemon::backend::Filters;
use corten_registry::Platform;
use corten_supervisor::record::Time;
use serde_json::{Value, json};

use crate::cli::{Error, Result};
use crate::engine::clock;

/// `NAME=VALUE`s of a command line, for a daemon to check.
///
/// # Errors
/// For what has no `=`.
pub(in crate::cli) fn filters(texts: &[String]) -> Result<Filters> {
    let mut filters = Filters::new();
    for text in texts {
        let Some((name, value)) = text.split_once('=') else {
            let why = format!("bad format of filter (expected name=value): {text:?}");
            return Err(Error::refused(why));
        };
        filters.entry(name.to_owned()).or_default().push(value.to_owned());
    }
    Ok(filters)
}

/// Platforms as the API has them: each is JSON.
pub(in crate::cli) fn platforms(wanted: &[Platform]) -> Vec<String> {
    let text = |platform: &Platform| {
        let mut shown = json!({"os": platform.os, "architecture": platform.architecture});
        if let Some(variant) = &platform.variant {
            shown["variant"] = json!(variant);
        }
        shown.to_string()
    };
    wanted.iter().map(text).collect()
}

/// A list that came as text.
///
/// # Errors
/// Where it is none.
pub(in crate::cli) fn array(text: &str) -> Result<Vec<Value>> {
    let list: serde_json::Result<Option<Vec<Value>>> = serde_json::from_str(text);
    let list = list.map_err(|why| Error::invalid("the daemon's answer", why.to_string()))?;
    Ok(list.unwrap_or_default())
}

/// Lines of what has become of images: `titles` for names that were taken off, and for what was deleted.
pub(in crate::cli) fn removed(list: &[Value], titles: [&str; 2]) -> Vec<String> {
    let line = |one: &Value| match (one["Untagged"].as_str(), one["Deleted"].as_str()) {
        (Some(name), _) => format!("{}{name}\n", titles[0]),
        (None, deleted) => format!("{}{}\n", titles[1], deleted.unwrap_or_default()),
    };
    list.iter().map(line).collect()
}

/// A field's text; empty where there is none.
pub(in crate::cli) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// An id without its algorithm, as long as people want to see it.
pub(in crate::cli) fn short(id: &str, full: bool) -> String {
    let hex = id.split_once(':').map_or(id, |(_, hex)| hex);
    match hex.get(..12) {
        Some(short) if !full => short.to_owned(),
        _ => id.to_owned(),
    }
}

/// `a=b,c=d`.
pub(in crate::cli) fn format_labels(labels: &Value) -> String {
    let all = labels.as_object().into_iter().flatten();
    let one = all.map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()));
    one.collect::<Vec<_>>().join(",")
}

/// Seconds since 1970 as RFC 3339.
pub(in crate::cli) fn rfc3339(seconds: &Value) -> String {
    match seconds.as_u64() {
        Some(seconds) => clock::at(seconds.saturating_mul(1_000_000_000)),
        None => "N/A".to_owned(),
    }
}

/// A point in time as daemons read it: seconds with a fraction.
pub(in crate::cli) fn timestamp(time: Time) -> String {
    format!("{}.{:09}", time / 1_000_000_000, time % 1_000_000_000)
}

/// The name of a container in a list: the one that is not a link's.
pub(in crate::cli) fn whole_name(row: &Value) -> String {
    let names = row["Names"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let bare = names.map(|name| name.trim_start_matches('/'));
    bare.min_by_key(|name| name.matches('/').count()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn filters_are_names_and_values() {
        let texts = ["label!=a", "label=b=c", "label=d"].map(str::to_owned);
        let read = filters(&texts).unwrap();
        assert_eq!(read["label!"], ["a"]);
        assert_eq!(read["label"], ["b=c", "d"]);
        assert!(filters(&["dangling".to_owned()]).is_err());
    }

    #[test]
    fn a_container_s_own_name_is_not_a_link_s() {
        assert_eq!(whole_name(&json!({"Names": ["/web/db", "/db"]})), "db");
        assert_eq!(whole_name(&json!({"Names": null})), "");
    }

    #[test]
    fn times_and_ids_are_as_daemons_and_people_read_them() {
        assert_eq!(timestamp(1_500_000_000), "1.500000000");
        assert_eq!(rfc3339(&json!(1)), "1970-01-01T00:00:01Z");
        let id = format!("sha256:{}", "a".repeat(64));
        assert_eq!((short(&id, false).as_str(), short(&id, true)), ("aaaaaaaaaaaa", id.clone()));
        assert_eq!(short("abc", false), "abc");
    }
}
