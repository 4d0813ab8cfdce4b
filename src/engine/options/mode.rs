//! Which namespaces a container has for itself, shares, or does without.

use super::host::HostConfig;
use crate::engine::error::{Error, Result};

/// `NetworkMode`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkMode {
    /// A namespace of its own with a loopback interface and nothing else.
    None,
    /// The host's.
    Host,
    /// Another container's.
    Container(String),
    /// A namespace of its own, connected to this network; `bridge` is the default one.
    Network(String),
}

/// `IpcMode`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IpcMode {
    /// A namespace of its own.
    Private,
    /// One that other containers may join.
    Shareable,
    /// A namespace of its own, and no /dev/shm.
    None,
    /// The host's.
    Host,
    /// Another container's.
    Container(String),
}

/// `PidMode`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PidMode {
    /// A namespace of its own.
    Private,
    /// The host's.
    Host,
    /// Another container's.
    Container(String),
}

fn container(mode: &str) -> Option<String> {
    mode.strip_prefix("container:").filter(|name| !name.is_empty()).map(str::to_owned)
}

fn invalid<T>(what: &str, mode: &str) -> Result<T> {
    Err(Error::Refused { message: format!("invalid {what} mode: {mode}") })
}

impl HostConfig {
    /// `NetworkMode`, read.
    ///
    /// # Errors
    /// For `container:` without a name.
    pub fn network(&self) -> Result<NetworkMode> {
        Ok(match self.network_mode.as_str() {
            "" | "default" | "bridge" => NetworkMode::Network("bridge".to_owned()),
            "none" => NetworkMode::None,
            "host" => NetworkMode::Host,
            mode if mode.split(':').next() == Some("container") => match container(mode) {
                Some(name) => NetworkMode::Container(name),
                None => {
                    let message =
                        "invalid network mode: invalid container format container:<name|id>"
                            .to_owned();
                    return Err(Error::Refused { message });
                }
            },
            mode => NetworkMode::Network(mode.to_owned()),
        })
    }

    /// `IpcMode`, read; private where empty.
    ///
    /// # Errors
    /// For what is none of the five.
    pub fn ipc(&self) -> Result<IpcMode> {
        Ok(match self.ipc_mode.as_str() {
            "" | "private" => IpcMode::Private,
            "shareable" => IpcMode::Shareable,
            "none" => IpcMode::None,
            "host" => IpcMode::Host,
            mode => match container(mode) {
                Some(name) => IpcMode::Container(name),
                None => return invalid("IPC", mode),
            },
        })
    }

    /// `PidMode`, read.
    ///
    /// # Errors
    /// For what is none of the three.
    pub fn pid(&self) -> Result<PidMode> {
        Ok(match self.pid_mode.as_str() {
            "" | "private" => PidMode::Private,
            "host" => PidMode::Host,
            mode => match container(mode) {
                Some(name) => PidMode::Container(name),
                None => return invalid("PID", mode),
            },
        })
    }

    /// Whether the host's names are the container's, too.
    ///
    /// # Errors
    /// For what is neither `host` nor empty.
    pub fn host_uts(&self) -> Result<bool> {
        match self.uts_mode.as_str() {
            "" | "private" => Ok(false),
            "host" => Ok(true),
            mode => invalid("UTS", mode),
        }
    }

    /// Whether it sees its own control group as the root of all; `None` where it does not say.
    ///
    /// # Errors
    /// For what is neither `private`, `host` nor empty.
    pub fn private_cgroups(&self) -> Result<Option<bool>> {
        match self.cgroupns_mode.as_str() {
            "" => Ok(None),
            "private" => Ok(Some(true)),
            "host" => Ok(Some(false)),
            mode => invalid("cgroup namespace", mode),
        }
    }
}
