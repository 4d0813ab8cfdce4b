//! What a container may do, and what it shares with others.

use std::path::Path;

use clap::Args;

use super::value::strict_pairs;
use crate::cli::{Error, Result};
use crate::engine::options::HostConfig;

#[derive(Debug, Args)]
#[command(next_help_heading = "Rights and namespaces")]
pub(super) struct RightArgs {
    /// Allow all that this machine allows
    #[arg(long)]
    privileged: bool,
    /// A capability beyond the usual ones, or ALL
    #[arg(long, value_name = "NAME")]
    cap_add: Vec<String>,
    /// A usual capability that it does not get, or ALL
    #[arg(long, value_name = "NAME")]
    cap_drop: Vec<String>,
    /// seccomp=FILE, seccomp=unconfined, no-new-privileges, apparmor=PROFILE, systempaths=unconfined
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
    /// A setting of the kernel that the container has for itself
    #[arg(long, value_name = "NAME=VALUE")]
    sysctl: Vec<String>,
    /// A further group, by name or number
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,
    /// private, shareable, none, host or container:NAME
    #[arg(long, value_name = "MODE", default_value = "", hide_default_value = true)]
    ipc: String,
    /// host or container:NAME; its own otherwise
    #[arg(long, value_name = "MODE", default_value = "", hide_default_value = true)]
    pid: String,
    /// host; its own otherwise
    #[arg(long, value_name = "MODE", default_value = "", hide_default_value = true)]
    uts: String,
    /// host; there is no other here
    #[arg(long, value_name = "MODE", default_value = "", hide_default_value = true)]
    userns: String,
    /// private or host: whether it sees only its own control group
    #[arg(long, value_name = "MODE", default_value = "", hide_default_value = true)]
    cgroupns: String,
    /// An annotation for the runtime
    #[arg(long, value_name = "NAME=VALUE")]
    annotation: Vec<String>,
}

impl RightArgs {
    pub(super) fn fill(&self, host: &mut HostConfig) -> Result<()> {
        host.privileged = self.privileged;
        host.cap_add.clone_from(&self.cap_add);
        host.cap_drop.clone_from(&self.cap_drop);
        host.security_opt =
            self.security_opt.iter().map(|option| security(option)).collect::<Result<_>>()?;
        host.sysctls = strict_pairs("--sysctl", &self.sysctl)?;
        host.group_add.clone_from(&self.group_add);
        host.ipc_mode.clone_from(&self.ipc);
        host.pid_mode.clone_from(&self.pid);
        host.uts_mode.clone_from(&self.uts);
        host.userns_mode.clone_from(&self.userns);
        host.cgroupns_mode.clone_from(&self.cgroupns);
        host.annotations = strict_pairs("--annotation", &self.annotation)?;
        Ok(())
    }
}

/// A profile in a file is read here: the engine is told its content, as with Docker.
fn security(option: &str) -> Result<String> {
    use corten_namespaces::error::Context;
    let file = option.strip_prefix("seccomp=").or(option.strip_prefix("seccomp:"));
    match file {
        None | Some("unconfined" | "builtin") => Ok(option.to_owned()),
        Some(file) => {
            let text =
                std::fs::read_to_string(file).on("read the seccomp profile", Path::new(file))?;
            // One line, as it will stand in the container's configuration.
            let profile: serde_json::Value = serde_json::from_str(&text).map_err(|error| {
                Error::invalid(format!("seccomp profile {file}"), format!("is no JSON: {error}"))
            })?;
            Ok(format!("seccomp={profile}"))
        }
    }
}
