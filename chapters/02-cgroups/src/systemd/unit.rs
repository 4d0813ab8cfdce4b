//! Names of units, and properties as annotations have them.

use std::path::PathBuf;

use super::message::Value;
use crate::error::{Error, Result};

/// A scope: its name and the slice that it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// `system.slice`.
    pub slice: String,
    /// `docker-0123.scope`.
    pub name: String,
}

impl Unit {
    /// From `SLICE:PREFIX:NAME`, the form that `cgroupsPath` has for this driver; an empty slice is
    /// `system.slice`, or `user.slice` for a user's systemd. A name that ends in `.slice` is itself
    /// the unit.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it has another form.
    pub fn parse(text: Option<&str>, id: &str, user: bool) -> Result<Unit> {
        let bad = |why: &str| {
            Error::invalid(format!("systemd's control group `{}`", text.unwrap_or("")), why)
        };
        let (slice, prefix, name) = match text.filter(|text| !text.is_empty()) {
            None => ("", "corten", id),
            Some(text) => {
                let mut parts = text.splitn(3, ':');
                match (parts.next(), parts.next(), parts.next()) {
                    (Some(slice), Some(prefix), Some(name)) => (slice, prefix, name),
                    _ => return Err(bad("is not SLICE:PREFIX:NAME")),
                }
            }
        };
        let slice = match (slice, user) {
            ("", false) => "system.slice",
            ("", true) => "user.slice",
            (slice, _) => slice,
        };
        let stem = slice.strip_suffix(".slice");
        let dashes = |s: &str| s.starts_with('-') || s.ends_with('-') || s.contains("--");
        if slice != "-.slice" && stem.is_none_or(|s| s.is_empty() || dashes(s) || s.contains('/')) {
            return Err(bad("names a slice that is none: it ends in .slice and has single dashes"));
        }
        if name.is_empty() || name.contains('/') {
            return Err(bad("has no name, or one with a slash"));
        }
        let name = match (name.ends_with(".slice"), prefix) {
            (true, _) => name.to_owned(),
            (false, "") => format!("{name}.scope"),
            (false, prefix) => format!("{prefix}-{name}.scope"),
        };
        Ok(Unit { slice: slice.to_owned(), name })
    }

    /// Where its group is from the top of each hierarchy: the slice `a-b.slice` is in `a.slice`.
    pub fn path(&self) -> PathBuf {
        let mut path = PathBuf::from("/");
        let stem = self.slice.strip_suffix(".slice").unwrap_or(&self.slice);
        if stem != "-" {
            let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
            path.extend(ends.map(|end| format!("{}.slice", &stem[..end])));
        }
        path.join(&self.name)
    }

    /// Its object: every byte that is no letter or digit is written in hexadecimal.
    pub(super) fn object(&self) -> String {
        let mut object = String::from("/org/freedesktop/systemd1/unit/");
        for byte in self.name.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => object.push(byte.into()),
                other => object += &format!("_{other:02x}"),
            }
        }
        object
    }
}

/// A property of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// `TasksMax`.
    pub name: String,
    /// Its value.
    pub value: Value,
}

impl Property {
    /// A property.
    pub fn new(name: &str, value: Value) -> Property {
        Property { name: name.to_owned(), value }
    }

    /// From an annotation `org.systemd.property.NAME`, whose value is in GVariant's text format:
    /// `true`, `'text'`, `['a', 'b']`, `uint64 5`, `-3`. A name that ends in `Sec` is in seconds,
    /// and systemd's in microseconds.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the value has another form.
    pub fn parse(name: &str, text: &str) -> Result<Property> {
        let bad =
            || Error::invalid(format!("systemd property `{name}={text}`"), "is of no known form");
        let value = parse(text.trim()).ok_or_else(bad)?;
        let Some(stem) = name.strip_suffix("Sec").filter(|_| !name.ends_with("USec")) else {
            return Ok(Property::new(name, value));
        };
        let seconds = match value {
            Value::Int32(value) => u64::try_from(value).ok(),
            Value::Int64(value) => u64::try_from(value).ok(),
            Value::Uint32(value) => Some(value.into()),
            Value::Uint64(value) => Some(value),
            _ => None,
        };
        let micros = seconds.and_then(|seconds| seconds.checked_mul(1_000_000)).ok_or_else(bad)?;
        Ok(Property::new(&format!("{stem}USec"), Value::Uint64(micros)))
    }
}

fn parse(text: &str) -> Option<Value> {
    let (kind, rest) = text.split_once(' ').unwrap_or(("", text));
    match kind {
        "int32" => return rest.trim().parse().ok().map(Value::Int32),
        "uint32" => return rest.trim().parse().ok().map(Value::Uint32),
        "int64" => return rest.trim().parse().ok().map(Value::Int64),
        "uint64" => return rest.trim().parse().ok().map(Value::Uint64),
        _ => {}
    }
    if let Some(list) = text.strip_prefix('[') {
        let list = list.strip_suffix(']')?.trim();
        let items = list.split(',').filter(|item| !item.trim().is_empty());
        return items.map(|item| quoted(item.trim())).collect::<Option<_>>().map(Value::Texts);
    }
    match text {
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        _ => quoted(text).map(Value::Text).or_else(|| text.parse().ok().map(Value::Int32)),
    }
}

fn quoted(text: &str) -> Option<String> {
    let inner = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
    inner('\'').or_else(|| inner('"')).map(str::to_owned)
}
