//! From Docker's configuration of a container to an OCI one: what dockerd writes for its runtime.
//!
//! [`generate`] is a function of values: the request, the machine, and a way to ask for other
//! containers whose namespaces are shared. Devices of the host are the only thing it looks up. What
//! it gives is compared with what dockerd gave its runtime for the same requests (tests/dockerd).
//!
//! | module | config.json |
//! |---|---|
//! | [`process`] | `process`: command, environment, user, limits, rights |
//! | [`capability`] | `CapAdd`, `CapDrop`, `Privileged` |
//! | [`mounts`] | `mounts`, the root's propagation, hidden paths |
//! | [`namespace`] | `linux.namespaces`, `linux.sysctl` |
//! | [`resource`], [`device`] | `linux.resources`, `linux.devices` |
//! | [`seccomp`] | `linux.seccomp`, from a profile in Docker's format |
//! | [`files`] | not in it, but mounted by it: hosts, hostname, resolv.conf |

pub mod capability;
pub mod device;
pub mod files;
pub mod mounts;
pub mod namespace;
pub mod process;
pub mod resource;
pub mod seccomp;

use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use serde_json::{Value, json};

pub use process::{environment, has_init};

use super::error::{Error, Result};
use super::machine::Machine;
use super::options::security::{Seccomp, Security};
use super::options::{Config, HostConfig, IpcMode, NetworkMode};
use super::user::Accounts;
use super::volumes::MountPoint;

/// Where an init is seen in a container. Docker's is /sbin/docker-init, for which its runtime makes
/// an empty file in the container's root.
pub const INIT: &str = corten_supervisor::init::PATH;

/// All that decides about a container's OCI configuration.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// The container's id.
    pub id: &'a str,
    /// The portable half, merged and checked.
    pub config: &'a Config,
    /// The other half, checked and completed.
    pub host: &'a HostConfig,
    /// The users that the image knows.
    pub accounts: &'a Accounts,
    /// What the user mounts, outer ones first, sources filled in.
    pub mounts: &'a [MountPoint],
    /// Where things are.
    pub place: &'a Place,
    /// What this machine has.
    pub machine: &'a Machine,
    /// The network namespace that was made for it; one is made with it where there is none.
    pub network: Option<&'a Path>,
    /// Other containers.
    pub neighbours: &'a dyn Neighbours,
}

/// Where on the host the parts of a container are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The root file system, as the runtime shall find it.
    pub rootfs: PathBuf,
    /// The container's directory, where [`files`] are.
    pub directory: PathBuf,
    /// The program that is init where `Init` is asked for.
    pub init: PathBuf,
    /// What is /dev/shm where other containers may join; without it the container has its own.
    pub shm: Option<PathBuf>,
}

/// Containers whose namespaces another one uses.
pub trait Neighbours {
    /// The file of the namespace `kind` (`net`, `ipc`, `pid`) of a running container.
    ///
    /// # Errors
    /// Where there is no such container, it does not run, or it may not be joined.
    fn namespace(&self, container: &str, kind: &str) -> Result<PathBuf>;
    /// The container's directory, where [`files`] are.
    ///
    /// # Errors
    /// Where there is no such container.
    fn directory(&self, container: &str) -> Result<PathBuf>;
    /// Its /dev/shm, if it is a directory of the host.
    ///
    /// # Errors
    /// Where there is no such container.
    fn shm(&self, container: &str) -> Result<Option<PathBuf>>;
}

/// The OCI configuration of a container.
///
/// # Errors
/// Where a user, a device, a profile or another container is not to be had.
pub fn generate(wanted: &Wanted<'_>) -> Result<Spec> {
    let security = Security::parse(wanted.host)?;
    let capabilities = capability::tweak(
        &wanted.host.cap_add,
        &wanted.host.cap_drop,
        wanted.host.privileged,
        wanted.machine,
    )?;
    let hostname = hostname(wanted)?;
    let (mounts, propagation) = mounts::all(wanted)?;
    let host_names = wanted.host.host_uts()?;
    let mut spec = json!({
        "ociVersion": corten_runtime::OCI_VERSION,
        "process": process::process(wanted, &security, &capabilities, &hostname)?,
        "root": {"path": wanted.place.rootfs, "readonly": wanted.host.readonly_rootfs},
        "mounts": mounts,
        "linux": linux(wanted, &security, &capabilities, propagation)?,
    });
    if !host_names {
        spec["hostname"] = json!(hostname);
    }
    if !wanted.host.annotations.is_empty() {
        spec["annotations"] = json!(wanted.host.annotations);
    }
    serde_json::from_value(spec).map_err(|why| Error::State {
        path: "config.json".to_owned(),
        why: format!("cannot be written for this container: {why}"),
    })
}

/// The host name: the user's, the machine's where names are shared, the id's beginning.
///
/// # Errors
/// Where a mode is none.
pub fn hostname(wanted: &Wanted<'_>) -> Result<String> {
    hostname_of(wanted.config, wanted.host, wanted.id, wanted.machine)
}

/// The same of a container that need not be about to start.
///
/// # Errors
/// Where a mode is none.
pub fn hostname_of(
    config: &Config,
    host: &HostConfig,
    id: &str,
    machine: &Machine,
) -> Result<String> {
    let shares = host.host_uts()? || host.network()? == NetworkMode::Host;
    Ok(match config.hostname.as_str() {
        "" if shares => machine.hostname.clone(),
        "" => id.get(..12).unwrap_or(id).to_owned(),
        own => own.to_owned(),
    })
}

/// The paths that are hidden from a container, and those that are read-only in it.
///
/// # Errors
/// As [`Security::parse`].
pub fn hidden(host: &HostConfig) -> Result<(Vec<String>, Vec<String>)> {
    Ok(mounts::hidden(host, &Security::parse(host)?))
}

fn linux(
    wanted: &Wanted<'_>,
    security: &Security,
    capabilities: &[String],
    propagation: Option<&str>,
) -> Result<Value> {
    let (masked, read_only) = mounts::hidden(wanted.host, security);
    let (devices, rules) = device::all(wanted.host, wanted.machine.rootless)?;
    let mut linux = json!({
        "cgroupsPath": cgroup(wanted),
        "namespaces": namespace::all(wanted)?,
        "sysctl": namespace::sysctls(wanted)?,
        "resources": resource::resources(&wanted.host.resources, rules)?,
        "devices": devices,
        "maskedPaths": masked,
        "readonlyPaths": read_only,
    });
    if let Some(propagation) = propagation {
        linux["rootfsPropagation"] = json!(propagation);
    }
    let profile = match &security.seccomp {
        Seccomp::Unconfined => None,
        Seccomp::Default if wanted.host.privileged => None,
        Seccomp::Default => Some(seccomp::default(capabilities)?),
        Seccomp::Profile(text) => seccomp::resolve(text, capabilities, wanted.machine.kernel)?,
    };
    if let Some(profile) = profile {
        linux["seccomp"] = profile;
    }
    Ok(linux)
}

/// `/corten/ID`, or below the group that the user names. What the user names cannot lead out of
/// the tree of groups.
fn cgroup(wanted: &Wanted<'_>) -> String {
    let parent = match wanted.host.resources.cgroup_parent.as_str() {
        "" => "/corten",
        parent => parent,
    };
    let parent = super::path::lexical(parent.as_ref());
    format!("/{}", wanted.machine.group(&parent.join(wanted.id).to_string_lossy()))
}

/// Whether the container has a network namespace of its own: `None` of its kinds is shared.
pub(crate) fn own_network(host: &HostConfig) -> Result<bool> {
    Ok(matches!(host.network()?, NetworkMode::None | NetworkMode::Network(_)))
}

/// Whether its IPC namespace is one that others may join, by its own configuration.
///
/// # Errors
/// For a mode that is none.
pub fn may_be_joined(host: &HostConfig) -> Result<bool> {
    Ok(host.ipc()? == IpcMode::Shareable)
}

#[cfg(test)]
#[path = "golden_tests.rs"]
mod golden_tests;
#[cfg(test)]
pub(in crate::engine) use golden_tests::machine as golden_machine;
#[cfg(test)]
#[path = "tests.rs"]
mod tests;
