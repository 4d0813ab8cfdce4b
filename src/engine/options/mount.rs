//! An entry of `Mounts`, which says by names what `-v` says by place.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::api;

/// What is mounted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountType {
    /// A file or directory of the host.
    Bind,
    /// A volume.
    #[default]
    Volume,
    /// A file system in memory.
    Tmpfs,
    /// Of Windows or Swarm, or newer than this program.
    #[serde(untagged)]
    Unknown(String),
}

impl MountType {
    /// Its name in the API.
    pub fn name(&self) -> &str {
        match self {
            MountType::Bind => "bind",
            MountType::Volume => "volume",
            MountType::Tmpfs => "tmpfs",
            MountType::Unknown(other) => other,
        }
    }
}

api! {
    /// `Mounts[]`.
    pub struct Mount {
        /// What.
        #[serde(rename = "Type")]
        pub kind: MountType,
        /// A path of the host, or a volume's name; nothing for a volume without a name.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub source: String,
        /// Where it is seen in the container.
        pub target: String,
        /// Whether it cannot be written to.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        pub read_only: bool,
        /// Of Docker Desktop; accepted.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub consistency: String,
        /// For a bind mount.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub bind_options: Option<BindOptions>,
        /// For a volume.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub volume_options: Option<VolumeOptions>,
        /// For a tmpfs.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub tmpfs_options: Option<TmpfsOptions>,
    }
}

api! {
    /// `BindOptions`.
    pub struct BindOptions {
        /// `rprivate`, `rshared` …
        #[serde(skip_serializing_if = "String::is_empty")]
        pub propagation: String,
        /// Without what is mounted below the source.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        pub non_recursive: bool,
        /// Make the source as a directory where it is missing.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        pub create_mountpoint: bool,
        /// Read-only does not reach what is mounted below the source.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        pub read_only_non_recursive: bool,
        /// Refuse where read-only cannot reach what is mounted below the source.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        pub read_only_force_recursive: bool,
    }
}

api! {
    /// `VolumeOptions`.
    pub struct VolumeOptions {
        /// Leave the volume empty.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        pub no_copy: bool,
        /// Labels of the volume, where it is made now.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub labels: BTreeMap<String, String>,
        /// A directory in the volume instead of the whole.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub subpath: String,
        /// Who makes it.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub driver_config: Option<Driver>,
    }
}

api! {
    /// `DriverConfig`.
    pub struct Driver {
        /// `local`.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub name: String,
        /// The driver's options.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub options: BTreeMap<String, String>,
    }
}

api! {
    /// `TmpfsOptions`.
    pub struct TmpfsOptions {
        /// How much it may hold; half of the memory where 0.
        #[serde(skip_serializing_if = "is_zero")]
        pub size_bytes: i64,
        /// Its mode; 1777 where 0.
        #[serde(skip_serializing_if = "is_zero_mode")]
        pub mode: u32,
        /// `[["exec"]]`, and nothing else.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub options: Vec<Vec<String>>,
    }
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

fn is_zero_mode(value: &u32) -> bool {
    *value == 0
}
