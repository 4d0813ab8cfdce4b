//! The configuration of an image, as Docker has it, and what instructions change in it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::dockerfile::{CommandLine, Health};

/// The shell of instructions in shell form, where the image names none.
pub const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// Where programs are looked for, where the image does not say: Docker's.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `config` of an image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Config {
    /// Who programs run as.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "tolerant")]
    pub user: String,
    /// Ports that programs listen on.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "tolerant")]
    pub exposed_ports: BTreeMap<String, Value>,
    /// `NAME=VALUE`.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "tolerant")]
    pub env: Vec<String>,
    /// What `cmd` are arguments of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// The command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// How to find out whether it works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Value>,
    /// Of Windows; Docker's builder sets it all the same.
    #[serde(skip_serializing_if = "std::ops::Not::not", deserialize_with = "tolerant")]
    pub args_escaped: bool,
    /// Places that are anonymous volumes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "tolerant")]
    pub volumes: BTreeMap<String, Value>,
    /// The working directory.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "tolerant")]
    pub working_dir: String,
    /// What a build does that begins with this image.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "tolerant")]
    pub on_build: Vec<String>,
    /// Names and values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "tolerant")]
    pub labels: BTreeMap<String, String>,
    /// What asks it to end.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "tolerant")]
    pub stop_signal: String,
    /// The shell of instructions in shell form.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "tolerant")]
    pub shell: Vec<String>,
}

/// Null is as good as absent.
fn tolerant<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

impl Config {
    /// The shell of instructions in shell form.
    pub fn shell(&self) -> Vec<String> {
        match self.shell.is_empty() {
            true => SHELL.map(str::to_owned).into(),
            false => self.shell.clone(),
        }
    }

    /// The words of a command: with the shell, where it is in shell form.
    pub fn words(&self, command: &CommandLine) -> Vec<String> {
        match command.exec {
            true => command.words.clone(),
            false => [self.shell(), command.words.clone()].concat(),
        }
    }

    /// Sets a variable, in its place where it is there already.
    pub fn set_env(&mut self, name: &str, value: &str) {
        let new = format!("{name}={value}");
        let same = |old: &&mut String| old.split('=').next() == Some(name);
        match self.env.iter_mut().find(same) {
            Some(old) => *old = new,
            None => self.env.push(new),
        }
    }

    /// The value of a variable.
    pub fn env(&self, name: &str) -> Option<&str> {
        let value = |pair: &'_ String| {
            let (known, value) = pair.split_once('=').unwrap_or((pair, ""));
            (known == name).then(|| pair.len() - value.len())
        };
        self.env.iter().rev().find_map(|pair| value(pair).and_then(|at| pair.get(at..)))
    }

    /// Gives the image a search path, where it has none.
    pub fn with_path(mut self) -> Config {
        if self.env("PATH").is_none() {
            self.env.push(format!("PATH={PATH}"));
        }
        self
    }

    /// The working directory that `path` leads to.
    pub fn directory(&self, path: &str) -> String {
        let joined = match path.starts_with('/') {
            true => path.to_owned(),
            false => format!("{}/{path}", self.working_dir),
        };
        format!("/{}", crate::ignore::clean(&joined))
    }

    /// `HEALTHCHECK`.
    pub fn set_health(&mut self, health: &Health) {
        let mut value = Map::from_iter([("Test".to_owned(), json!(health.test))]);
        for (name, number) in [
            ("Interval", health.interval),
            ("Timeout", health.timeout),
            ("StartPeriod", health.start_period),
            ("StartInterval", health.start_interval),
            ("Retries", health.retries),
        ] {
            if number != 0 {
                value.insert(name.to_owned(), json!(number));
            }
        }
        self.healthcheck = Some(Value::Object(value));
    }
}

/// The ports that a word of `EXPOSE` means: `80`, `80/udp`, `8000-8010`, also with addresses and ports
/// of the host before them, which an image does not keep.
///
/// # Errors
/// In Docker's words.
pub fn ports(word: &str) -> Result<Vec<String>, String> {
    let (range, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
    let protocol = if protocol.is_empty() { "tcp" } else { protocol };
    let lower = protocol.to_ascii_lowercase();
    if !matches!(lower.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("invalid proto: {protocol}"));
    }
    // The container's port comes last.
    let container = range.rsplit(':').next().unwrap_or_default();
    if container.is_empty() {
        return Err(format!("no port specified: {word}<empty>"));
    }
    let bad = || format!("Invalid containerPort: {container}");
    let number = |text: &str| text.parse::<u16>().map_err(|_| bad());
    let (first, last) = match container.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(container)?, number(container)?),
    };
    if last < first {
        return Err(bad());
    }
    Ok((first..=last).map(|port| format!("{port}/{lower}")).collect())
}

/// Whether a word of `STOPSIGNAL` is a signal: its number, or its name with or without `SIG`.
pub fn is_signal(word: &str) -> bool {
    if let Ok(number) = word.parse::<i32>() {
        return (1..=64).contains(&number);
    }
    let upper = word.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |prefix: &str, sign: char| {
        let rest = name.strip_prefix(prefix);
        rest.is_some_and(|rest| {
            let number = rest.strip_prefix(sign).and_then(|digits| digits.parse::<u8>().ok());
            rest.is_empty() || number.is_some_and(|number| number <= 15)
        })
    };
    const NAMES: &str = "ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR \
                         QUIT SEGV STKFLT STOP SYS TERM TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM \
                         WINCH XCPU XFSZ";
    NAMES.split(' ').any(|known| known == name)
        || real_time("RTMIN", '+')
        || real_time("RTMAX", '-')
}

/// One entry of an image's history.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// When, in RFC 3339.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub created: String,
    /// By which command.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// Who made it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// What the builder has to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Whether it made no layer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_keep_their_places() {
        let mut config = Config { env: vec!["A=1".into(), "B=2".into()], ..Config::default() };
        config.set_env("A", "3");
        config.set_env("C", "");
        assert_eq!(config.env, ["A=3", "B=2", "C="]);
        assert_eq!(
            (config.env("A"), config.env("C"), config.env("D")),
            (Some("3"), Some(""), None)
        );
        assert!(config.with_path().env.last().unwrap().starts_with("PATH=/usr/local/sbin"));
    }

    #[test]
    fn directories_are_clean() {
        let config = Config { working_dir: "/a".into(), ..Config::default() };
        for (path, expected) in [("b", "/a/b"), ("/c/", "/c"), ("../..", "/"), ("./x", "/a/x")] {
            assert_eq!(config.directory(path), expected);
        }
    }

    #[test]
    fn ports_are_docker_s() {
        assert_eq!(ports("80").unwrap(), ["80/tcp"]);
        assert_eq!(ports("53/UDP").unwrap(), ["53/udp"]);
        assert_eq!(ports("7-9/sctp").unwrap().len(), 3);
        assert_eq!(ports("127.0.0.1:80:8080").unwrap(), ["8080/tcp"]);
        for (word, why) in [
            ("http", "Invalid containerPort: http"),
            ("80/ipx", "invalid proto: ipx"),
            ("9-7", "Invalid containerPort: 9-7"),
            ("70000", "Invalid containerPort: 70000"),
        ] {
            assert_eq!(ports(word).unwrap_err(), why);
        }
    }

    #[test]
    fn signals_have_names_and_numbers() {
        for good in ["SIGTERM", "term", "9", "SIGRTMIN+3", "RTMAX"] {
            assert!(is_signal(good), "{good}");
        }
        for bad in ["SIGNONE", "0", "65", "", "RTMIN+99"] {
            assert!(!is_signal(bad), "{bad}");
        }
    }

    #[test]
    fn null_is_as_good_as_absent() {
        let text = r#"{"Env": null, "Cmd": null, "Labels": null, "User": null, "Image": "x"}"#;
        assert_eq!(serde_json::from_str::<Config>(text).unwrap(), Config::default());
    }
}
