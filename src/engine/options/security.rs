//! `SecurityOpt`, read.

use crate::engine::error::{Error, Result};

use super::host::HostConfig;

/// What a container's process may do, beside its capabilities.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Security {
    /// Its filter of system calls.
    pub seccomp: Seccomp,
    /// Its AppArmor profile, where the user names one.
    pub apparmor: Option<String>,
    /// Whether no program may gain rights.
    pub no_new_privileges: bool,
    /// Whether nothing in /proc and /sys is hidden or read-only.
    pub all_system_paths: bool,
    /// Options of SELinux's labels, which this engine passes over.
    pub labels: Vec<String>,
}

/// A filter of system calls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Seccomp {
    /// The usual one, which depends on the capabilities.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// This one: the text of a profile in Docker's format.
    Profile(String),
}

impl Security {
    /// Reads the list. A profile is its text: the client has read the file.
    ///
    /// # Errors
    /// For an option that Docker does not have either.
    pub fn parse(host: &HostConfig) -> Result<Security> {
        let mut security = Security::default();
        for option in &host.security_opt {
            security.add(option)?;
        }
        // Clients send these as empty lists, too.
        let empty = |paths: &Option<Vec<String>>| paths.as_ref().is_some_and(Vec::is_empty);
        if empty(&host.masked_paths) && empty(&host.readonly_paths) {
            security.all_system_paths = true;
        }
        Ok(security)
    }

    fn add(&mut self, option: &str) -> Result<()> {
        let bad = |number: u8| {
            Err(Error::refused(format!("invalid --security-opt {number}: {option:?}")))
        };
        match option {
            "no-new-privileges" => {
                self.no_new_privileges = true;
                return Ok(());
            }
            "disable" => {
                self.labels.push("disable".to_owned());
                return Ok(());
            }
            _ => {}
        }
        let Some((name, value)) = option.split_once('=').or_else(|| option.split_once(':')) else {
            return bad(1);
        };
        match (name, value) {
            ("label", value) => self.labels.push(value.to_owned()),
            ("apparmor", profile) => self.apparmor = Some(profile.to_owned()),
            ("seccomp", "unconfined") => self.seccomp = Seccomp::Unconfined,
            ("seccomp", "builtin" | "") => self.seccomp = Seccomp::Default,
            ("seccomp", text) => self.seccomp = Seccomp::Profile(text.to_owned()),
            ("systempaths", "unconfined") => self.all_system_paths = true,
            ("no-new-privileges", value) => match value {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => self.no_new_privileges = true,
                "0" | "f" | "F" | "false" | "FALSE" | "False" => self.no_new_privileges = false,
                _ => return bad(2),
            },
            _ => return bad(2),
        }
        Ok(())
    }
}
