//! What is written about a container: what was decided, and how far it is.

use std::collections::BTreeMap;

use corten_supervisor::settings::{Health, Restart, Stop};
use corten_unionfs::ChainId;
use serde::{Deserialize, Serialize};

use super::clock;
use super::networks::Attachment;
use super::options::{Config, HostConfig, LogConfig};
use super::volumes::MountPoint;

/// `config.json`: what was decided when the container was made, under Docker's names, so that
/// `jq .HostConfig` shows what `docker inspect` would.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Record {
    /// 64 hexadecimal digits, random.
    pub id: String,
    /// The user's name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When it was made.
    pub created: String,
    /// The image's id; its name is in `Config`.
    #[serde(rename = "Image")]
    pub image_id: String,
    /// The layers below it, lowest first.
    pub layers: Vec<ChainId>,
    /// The portable half of what was asked for, over what the image says.
    pub config: Config,
    /// The half that concerns this machine.
    pub host_config: HostConfig,
    /// What is mounted in it beside its root.
    pub mount_points: Vec<MountPoint>,
    /// The networks that it is on, by their names.
    #[serde(default)]
    pub networks: BTreeMap<String, Attachment>,
}

/// What its supervisor is told beside what runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Supervision {
    /// Whether it is started again when it has ended.
    #[serde(default)]
    pub restart: Restart,
    /// How it is stopped.
    #[serde(default)]
    pub stop: Stop,
    /// Where its output goes; `json-file` without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogChoice>,
    /// How it is found out whether it is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

/// A log driver and its options.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogChoice {
    /// `json-file` or `none`.
    pub driver: String,
    /// Docker's.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

impl LogChoice {
    /// What is chosen, or Docker's.
    pub fn of(chosen: &LogConfig) -> LogChoice {
        LogChoice { driver: chosen.driver().to_owned(), options: chosen.config.clone() }
    }
}

impl Record {
    /// The first twelve digits of the id.
    pub fn short(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }

    /// Whether it is removed when it ends.
    pub fn auto_remove(&self) -> bool {
        self.host_config.auto_remove
    }

    /// The name, or the short id.
    pub fn shown_name(&self) -> &str {
        self.name.as_deref().unwrap_or_else(|| self.short())
    }
}

/// `state.json`: how far a container is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "status")]
pub enum State {
    /// Its directory is there; its program does not run yet.
    Created,
    /// Its program runs.
    #[serde(rename_all = "camelCase")]
    Running {
        /// Its first process, as the host counts.
        pid: i32,
        /// The process that supervises it.
        supervisor: i32,
        /// Since when.
        started: String,
        /// When it ended before that, where it has.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ended: Option<String>,
    },
    /// Its program has ended, or was never started.
    #[serde(rename_all = "camelCase")]
    Exited {
        /// As `corten run` passed it on.
        exit_code: u8,
        /// When.
        finished: String,
        /// Why it could not be started, or how it was lost.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
}

impl State {
    /// When it ended last, as far as this says it.
    pub fn ended(&self) -> Option<&str> {
        match self {
            State::Created => None,
            State::Running { ended, .. } => ended.as_deref(),
            State::Exited { finished, .. } => Some(finished),
        }
    }

    /// Ended now.
    pub fn exited(exit_code: u8, error: Option<String>) -> State {
        State::Exited { exit_code, finished: clock::now(), error }
    }
}
