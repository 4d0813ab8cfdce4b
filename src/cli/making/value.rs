//! Values of options that Docker's command line reads, in its spelling.

use std::collections::BTreeMap;
use std::path::PathBuf;

use corten_cgroups::Max;
use corten_namespaces::error::Context;

use crate::cli::{Error, Result};
use crate::engine::clock;
use crate::engine::env::Variable;
use crate::engine::options::host::Ulimit;

/// Bytes: a number with a unit of 1024 (`512m`, `1.5g`); -1 where `unlimited` allows it.
pub(in crate::cli) fn bytes(option: &str, text: &str, unlimited: bool) -> Result<i64> {
    let bad = || Error::invalid(format!("{option} {text}"), "is no size: write it like 512m or 1g");
    match corten_cgroups::limits::bytes(text).map_err(|_| bad())? {
        Max::Unlimited if unlimited => Ok(-1),
        Max::Unlimited => Err(bad()),
        Max::At(bytes) => i64::try_from(bytes).map_err(|_| bad()),
    }
}

/// Environment variables of files and of options; the files' first, because what stands on the command line is
/// meant to win.
pub(in crate::cli) fn variables(files: &[PathBuf], list: &[String]) -> Result<Vec<Variable>> {
    let lookup = |name: &str| std::env::var(name).ok();
    let mut variables = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(path).on("read", path)?;
        variables.extend(Variable::parse_file(&path.display().to_string(), &text, lookup)?);
    }
    for text in list {
        variables.push(Variable::parse(text, lookup)?);
    }
    Ok(variables)
}

/// `NAME=VALUE`, or NAME alone for an empty value.
pub(super) fn pairs(list: &[String]) -> BTreeMap<String, String> {
    let pair = |text: &String| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        (name.to_owned(), value.to_owned())
    };
    list.iter().map(pair).collect()
}

/// `NAME=VALUE`, and nothing else.
pub(in crate::cli) fn strict_pairs(
    option: &str,
    list: &[String],
) -> Result<BTreeMap<String, String>> {
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Error::invalid(format!("{option} {text}"), "must be NAME=VALUE")),
    };
    list.iter().map(pair).collect()
}

/// `NAME=SOFT[:HARD]`; one number is for both.
pub(in crate::cli) fn ulimit(text: &str) -> Result<Ulimit> {
    let bad = |why| Error::invalid(format!("--ulimit {text}"), why);
    let (name, values) = text.split_once('=').ok_or_else(|| bad("must be NAME=SOFT[:HARD]"))?;
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let number = |text: &str| match text {
        "unlimited" => Ok(-1),
        text => text.parse().map_err(|_| bad("has no number after the `=`")),
    };
    let (soft, hard): (i64, i64) = (number(soft)?, number(hard)?);
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(bad("has a soft limit above the hard one"));
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

/// A time as in `1m30s`, in nanoseconds.
pub(super) fn nanoseconds(text: &str) -> Result<i64> {
    let bad = || Error::invalid(format!("time `{text}`"), "must be like 30s, 500ms or 1m30s");
    clock::nanoseconds(text).ok_or_else(bad)
}

/// One line of comma separated fields, of which a quoted one may hold commas (RFC 4180), as
/// `--mount` takes it.
pub(super) fn fields(text: &str) -> Vec<String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                field.push('"');
                letters.next();
            }
            '"' if quoted || field.is_empty() => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            other => field.push(other),
        }
    }
    fields.push(field);
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_of_1024() {
        for (text, size) in [
            ("0", 0),
            ("512", 512),
            ("64m", 64 << 20),
            ("1.5G", 3 << 29),
            ("2kb", 2048),
            ("1KiB", 1024),
        ] {
            assert_eq!(bytes("-m", text, false).unwrap(), size, "{text}");
        }
        assert_eq!(bytes("--memory-swap", "-1", true).unwrap(), -1);
        for bad in ["", "m", "1x", "-1", "1e3", "9999999t"] {
            assert!(bytes("-m", bad, false).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_quoted_field_may_hold_commas() {
        assert_eq!(fields("a=1,b"), ["a=1", "b"]);
        assert_eq!(fields(r#"type=tmpfs,"o=x,y ""z""",e"#), ["type=tmpfs", "o=x,y \"z\"", "e"]);
    }

    #[test]
    fn a_soft_limit_is_not_above_the_hard_one() {
        let both = |text| ulimit(text).map(|limit| (limit.soft, limit.hard));
        assert_eq!(both("nofile=1024").unwrap(), (1024, 1024));
        assert_eq!(both("nofile=1024:2048").unwrap(), (1024, 2048));
        assert_eq!(both("core=-1").unwrap(), (-1, -1));
        for bad in ["nofile", "nofile=x", "nofile=2:1", "nofile=-1:1"] {
            assert!(ulimit(bad).is_err(), "{bad}");
        }
    }
}
