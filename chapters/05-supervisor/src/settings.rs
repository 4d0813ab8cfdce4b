//! What a supervisor is told before it starts: `settings.json` in its directory.
//!
//! It is a file and not an argument so that it can be read (`jq . settings.json`) while the
//! container runs, and so that a supervisor that restarts its container needs nobody.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::journal::Journal;

/// The name of the file.
pub const FILE: &str = "settings.json";

// ANCHOR: settings
/// All that a supervisor knows of its container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// The container's id: the runtime's, too.
    pub id: String,
    /// The directory of config.json.
    pub bundle: PathBuf,
    /// The state directory of chapter 4's runtime.
    pub runtime_root: PathBuf,
    /// Where what must survive a reboot is written: `exit.json`.
    pub record: PathBuf,
    /// How control groups are made.
    #[serde(default)]
    pub cgroups: Cgroups,
    /// The directory of the control group that was given to the user, and the container's is in it. What else
    /// is in it makes room before a start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_group: Option<PathBuf>,
    /// The root file system to mount; without it the bundle's is there already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Root>,
    /// Directories of volumes that are mounted in the place of what config.json has there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subpaths: Vec<Subpath>,
    /// The shared memory of the container whose IPC namespace is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<SharedMemory>,
    /// Whether standard input stays open for clients.
    #[serde(default)]
    pub stdin: bool,
    /// Whether standard input is closed when the first client has closed it.
    #[serde(default)]
    pub stdin_once: bool,
    /// Whether its program is [`crate::init`], whose signals wait until it takes them.
    #[serde(default)]
    pub init: bool,
    /// Whether to restart the container when it has ended.
    #[serde(default)]
    pub restart: Restart,
    /// How to stop it.
    #[serde(default)]
    pub stop: Stop,
    /// How to find out whether it is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Where its output goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Log>,
    /// Where what happens is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<Journal>,
    /// A program that is run when all is over and told, unless somebody has removed the shim's
    /// directory by then: it puts in order what an engine would, had it been there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<PathBuf>,
    /// Whether its exit is forgotten with it: nothing is then made durable.
    #[serde(default)]
    pub auto_remove: bool,
    /// Whether it is killed when nobody is connected any more: it runs for whoever has started it, and
    /// must not outlive him.
    #[serde(default)]
    pub leashed: bool,
    /// How often it was restarted before.
    #[serde(default)]
    pub restarts: u32,
}
// ANCHOR_END: settings

/// How control groups are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cgroups {
    /// By mkdir(2).
    #[default]
    Cgroupfs,
    /// As scopes of systemd.
    Systemd,
    /// Not at all.
    Disabled,
}

/// A root file system that the supervisor mounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Root {
    /// Chapter 3's driver.
    pub driver: String,
    /// The layers, lowest first.
    pub layers: Vec<PathBuf>,
    /// The directory with what the container writes.
    pub writable: PathBuf,
    /// Where to mount it: config.json's `root.path`.
    pub target: PathBuf,
}

/// A part of a volume that a container mounts. It is looked for inside the volume when the container
/// starts, and mounted by the descriptor that was found: others write to the volume, and a path could
/// be made to lead out of it in between (compare CVE-2021-25741).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subpath {
    /// Which mount of config.json.
    pub destination: PathBuf,
    /// The volume's directory.
    pub volume: PathBuf,
    /// Where in it.
    pub path: String,
}

/// Another container's /dev/shm. It is taken out of that container's mount namespace when this one
/// starts, so that it has to be mounted nowhere else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SharedMemory {
    /// The file of the other container's mount namespace: `/proc/PID/ns/mnt`.
    pub namespace: PathBuf,
    /// Where the supervisor mounts it, in its own namespace: the source of config.json's mount.
    pub target: PathBuf,
}

/// Docker's restart policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "name")]
pub enum Restart {
    /// Never.
    #[default]
    No,
    /// Whatever its status, and again when the engine starts.
    Always,
    /// Whatever its status, unless somebody has stopped it.
    UnlessStopped,
    /// Where its status is not 0.
    #[serde(rename_all = "camelCase")]
    OnFailure {
        /// At most so often; 0 for as often as it takes.
        #[serde(default)]
        maximum: u32,
    },
}

/// How to stop a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stop {
    /// The number of the signal that asks it to end.
    pub signal: i32,
    /// Seconds until it is killed; -1 for never.
    pub timeout: i64,
}

impl Default for Stop {
    fn default() -> Stop {
        Stop { signal: libc::SIGTERM, timeout: 10 }
    }
}

/// Docker's health check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// The program that says whether the container is well, by its exit status.
    pub command: Vec<String>,
    /// From the end of one probe to the next.
    #[serde(with = "millis")]
    pub interval: Duration,
    /// The longest that a probe may take.
    #[serde(with = "millis")]
    pub timeout: Duration,
    /// At first, probes that fail do not count.
    #[serde(with = "millis")]
    pub start_period: Duration,
    /// From the end of one probe to the next during the start period.
    #[serde(with = "millis")]
    pub start_interval: Duration,
    /// So many failures in a row make it unhealthy.
    pub retries: u32,
}

/// Durations as milliseconds.
mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

/// Where the output goes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Log {
    /// `json-file`, `local` or `none`.
    pub driver: String,
    /// The file.
    pub path: PathBuf,
    /// Docker's options of the driver.
    #[serde(default)]
    pub options: std::collections::BTreeMap<String, String>,
    /// What these options add to each entry: see [`crate::log::attributes`].
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub attributes: std::collections::BTreeMap<String, String>,
}

impl Settings {
    /// Reads the settings of the supervisor in `directory`.
    ///
    /// # Errors
    /// Where the file cannot be read or understood.
    pub fn read(directory: &Path) -> Result<Settings> {
        let path = directory.join(FILE);
        let text = std::fs::read(&path).map_err(|e| Error::path("read", &path, e))?;
        serde_json::from_slice(&text).map_err(|source| Error::Json { path, source })
    }

    /// Writes them, whole or not at all.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let path = directory.join(FILE);
        let text = serde_json::to_vec_pretty(self)
            .map_err(|source| Error::Json { path: path.clone(), source })?;
        Ok(corten_runtime::state::write_whole(&path, &text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_an_older_engine_are_understood() {
        let text = r#"{"id": "a", "bundle": "/b", "runtimeRoot": "/r", "record": "/c",
            "somethingNew": 1, "restart": {"name": "on-failure", "maximum": 3}}"#;
        let settings: Settings = serde_json::from_str(text).unwrap();
        assert_eq!(settings.restart, Restart::OnFailure { maximum: 3 });
        assert_eq!(settings.stop, Stop { signal: libc::SIGTERM, timeout: 10 });
        let again: Settings =
            serde_json::from_str(&serde_json::to_string(&settings).unwrap()).unwrap();
        assert_eq!(again, settings);
    }
}
