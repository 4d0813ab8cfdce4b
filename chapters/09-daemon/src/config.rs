//! The daemon's configuration file: TOML with the names of its options, or JSON with those of dockerd's
//! daemon.json.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{Error, Result};

/// What the file may say; everything may be left out. Names are daemon.json's. What is of dockerd alone
/// is passed over with a warning, so that an existing file can be used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Config {
    /// Where to listen.
    pub hosts: Vec<String>,
    /// The group of the Unix socket.
    pub group: Option<String>,
    /// Where images, layers and containers are.
    #[serde(alias = "data-root")]
    pub root: Option<PathBuf>,
    /// Where supervisors are.
    #[serde(alias = "exec-root")]
    pub state: Option<PathBuf>,
    /// Whether TCP is with certificates of both sides.
    pub tlsverify: bool,
    /// The authority's certificate.
    pub tlscacert: Option<PathBuf>,
    /// The server's certificate.
    pub tlscert: Option<PathBuf>,
    /// The server's key.
    pub tlskey: Option<PathBuf>,
    /// `debug`, `info`, `warn`, `error`. Read again on SIGHUP.
    pub log_level: Option<String>,
    /// Whether to tell everything. Read again on SIGHUP.
    pub debug: bool,
    /// Labels of the daemon, shown by `info`. Read again on SIGHUP.
    pub labels: Vec<String>,
    /// What nobody here knows.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Unread>,
}

/// A value that nobody reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unread;

impl<'de> Deserialize<'de> for Unread {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Unread, D::Error> {
        serde::de::IgnoredAny::deserialize(from).map(|_| Unread)
    }
}

impl Config {
    /// Reads a file: JSON where its name ends so, TOML otherwise.
    ///
    /// # Errors
    /// Where it cannot be read or understood.
    pub fn read(path: &Path) -> Result<Config> {
        let text = std::fs::read_to_string(path).map_err(Error::path("read", path))?;
        let is_json = path.extension().is_some_and(|extension| extension == "json");
        let read = match is_json {
            true => serde_json::from_str(&text).map_err(|why| why.to_string()),
            false => toml::from_str(&text).map_err(|why| why.to_string()),
        };
        read.map_err(|why| Error::invalid(path.display().to_string(), why.trim_end()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Config> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        Config::read(&path)
    }

    #[test]
    fn both_languages_say_the_same() {
        let toml = "hosts = ['unix:///run/a.sock']\ndata-root = '/a'\nlog-level = 'debug'\n";
        let json = r#"{"hosts":["unix:///run/a.sock"],"data-root":"/a","log-level":"debug"}"#;
        let config = read("corten.toml", toml).unwrap();
        assert_eq!(config, read("daemon.json", json).unwrap());
        assert_eq!(config.root, Some("/a".into()));
    }

    #[test]
    fn what_is_dockerd_s_alone_is_known_to_be_unknown() {
        let config = read("daemon.json", r#"{"live-restore":true,"max-x":{"a":[1]}}"#).unwrap();
        assert_eq!(config.unknown.keys().collect::<Vec<_>>(), ["live-restore", "max-x"]);
        let why = read("daemon.json", r#"{"hosts":1}"#).unwrap_err().to_string();
        assert!(why.contains("daemon.json") && why.contains("invalid type"), "{why}");
    }
}
