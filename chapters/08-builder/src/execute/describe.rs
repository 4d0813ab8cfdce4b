//! What an image's history says of a step: in the words of Docker's classic builder.

use std::collections::BTreeMap;

use super::staying::Nominal;
use crate::config::Config;
use crate::dockerfile::{Health, Pair};

/// A step that changes the configuration: through the shell, as a comment.
pub fn nop(config: &Config, text: &str) -> String {
    format!("{} #(nop)  {text}", config.shell().join(" "))
}

/// One that makes a directory or copies: with one blank, as Docker has it.
pub fn nop_files(config: &Config, text: &str) -> String {
    format!("{} #(nop) {text}", config.shell().join(" "))
}

/// The command of the container that the classic builder has for a step which runs nothing.
pub(super) fn nop_words(config: &Config, nominal: &Nominal<'_>) -> Vec<String> {
    let more = match nominal {
        Nominal::Configuration(text) => vec!["#(nop) ".to_owned(), (*text).to_owned()],
        Nominal::Directory(text) => vec![format!("#(nop) {text}")],
    };
    [config.shell(), more].concat()
}

/// `NAME=VALUE …`.
pub fn pairs(name: &str, pairs: &[Pair]) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{name} {}", pairs.join(" "))
}

/// Words as Go prints them with `%q`.
pub fn quoted(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| go_quote(word)).collect();
    format!("[{}]", words.join(" "))
}

fn go_quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                out.push_str(&format!("\\x{:02x}", c as u32));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// `HEALTHCHECK`, as Go prints Docker's structure.
pub fn health(health: &Health) -> String {
    let time = |nanoseconds: i64| match nanoseconds {
        0 => "\"0s\"".to_owned(),
        n => format!("\"{}\"", go_duration(n)),
    };
    let retries = u32::try_from(health.retries).ok().and_then(char::from_u32);
    let retries = match retries {
        Some(c) if (c as u32) < 0x20 => match c {
            '\u{7}' => "'\\a'".to_owned(),
            '\u{8}' => "'\\b'".to_owned(),
            '\t' => "'\\t'".to_owned(),
            '\n' => "'\\n'".to_owned(),
            '\u{b}' => "'\\v'".to_owned(),
            '\u{c}' => "'\\f'".to_owned(),
            '\r' => "'\\r'".to_owned(),
            c => format!("'\\x{:02x}'", c as u32),
        },
        Some(c) => format!("'{c}'"),
        None => "'\u{fffd}'".to_owned(),
    };
    format!(
        "HEALTHCHECK &{{{} {} {} {} {retries}}}",
        quoted(&health.test),
        time(health.interval),
        time(health.timeout),
        time(health.start_period),
    )
}

/// A duration as Go prints it: `1m30s`, `1.5s`, `10ms`.
fn go_duration(nanoseconds: i64) -> String {
    let unit = |value: f64, unit: &str| {
        let text = format!("{value:.9}");
        format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
    };
    let n = nanoseconds as f64;
    match nanoseconds {
        n if n < 1_000 => format!("{n}ns"),
        _ if n < 1e6 => unit(n / 1e3, "µs"),
        _ if n < 1e9 => unit(n / 1e6, "ms"),
        _ => {
            let seconds = nanoseconds / 1_000_000_000;
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let rest = (nanoseconds - (hours * 3600 + minutes * 60) * 1_000_000_000) as f64 / 1e9;
            let mut text = String::new();
            if hours > 0 {
                text.push_str(&format!("{hours}h"));
            }
            if hours > 0 || minutes > 0 {
                text.push_str(&format!("{minutes}m"));
            }
            text + &unit(rest, "s")
        }
    }
}

/// The command of `RUN`, with the build arguments that count; `any` is whether it sees some at all.
pub fn run(any: bool, arguments: &BTreeMap<String, String>, words: &[String]) -> String {
    let mut parts = Vec::new();
    if any {
        parts.push(format!("|{}", arguments.len()));
        parts.extend(arguments.iter().map(|(name, value)| format!("{name}={value}")));
    }
    parts.extend(words.iter().cloned());
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_docker_s() {
        let config = Config::default();
        assert_eq!(nop(&config, "ENV A=1"), "/bin/sh -c #(nop)  ENV A=1");
        assert_eq!(quoted(&["a\"b".into(), "c\n".into()]), r#"["a\"b" "c\n"]"#);
        assert_eq!(go_duration(90_000_000_000), "1m30s");
        assert_eq!(go_duration(1_500_000_000), "1.5s");
        assert_eq!(go_duration(10_000_000), "10ms");
        let arguments = [("A".to_owned(), "1".to_owned())].into();
        assert_eq!(run(true, &arguments, &["x".into()]), "|1 A=1 x");
    }
}
