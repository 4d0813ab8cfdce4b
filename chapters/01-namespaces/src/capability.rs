//! Capabilities: the pieces into which root's power is cut (capabilities(7)).

use std::fmt;

use crate::error::{Error, Result};

/// The names in the order of their numbers (linux/capability.h).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The names without `CAP_`, in the order of their numbers.
pub fn names() -> &'static [&'static str] {
    &NAMES
}

/// A set of capabilities, as the kernel's bit mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CapabilitySet(u64);

impl CapabilitySet {
    /// The number of the last capability that this crate knows.
    pub const LAST: u32 = NAMES.len() as u32 - 1;

    // ANCHOR: container
    /// What Docker leaves to root in a container: enough to own files, change users and bind low
    /// ports; not enough to mount, to load modules or to trace the host.
    pub const CONTAINER: CapabilitySet = CapabilitySet(
        1 << 0 // CHOWN
            | 1 << 1 // DAC_OVERRIDE
            | 1 << 3 // FOWNER
            | 1 << 4 // FSETID
            | 1 << 5 // KILL
            | 1 << 6 // SETGID
            | 1 << 7 // SETUID
            | 1 << 8 // SETPCAP
            | 1 << 10 // NET_BIND_SERVICE
            | 1 << 13 // NET_RAW
            | 1 << 18 // SYS_CHROOT
            | 1 << 27 // MKNOD
            | 1 << 29 // AUDIT_WRITE
            | 1 << 31, // SETFCAP
    );
    // ANCHOR_END: container

    /// The empty set.
    pub const NONE: CapabilitySet = CapabilitySet(0);

    /// The kernel's bit mask.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether the capability with this number is in the set.
    pub const fn contains(self, number: u32) -> bool {
        number < 64 && self.0 >> number & 1 == 1
    }

    /// From names with or without `CAP_`, in any case.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that the kernel does not have.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<CapabilitySet> {
        let mut bits = 0;
        for name in names {
            let upper = name.to_ascii_uppercase();
            let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
            let number = NAMES.iter().position(|known| *known == bare).ok_or_else(|| {
                Error::invalid(format!("capability {name}"), "is unknown: see capabilities(7)")
            })?;
            bits |= 1 << number;
        }
        Ok(CapabilitySet(bits))
    }
}

impl fmt::Display for CapabilitySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = NAMES
            .iter()
            .zip(0..)
            .filter(|(_, number)| self.contains(*number))
            .map(|(name, _)| format!("CAP_{name}"))
            .collect();
        f.write_str(&names.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_s_default_set_is_these_fourteen() {
        let names = "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP \
                     NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE";
        let set = CapabilitySet::from_names(names.split_whitespace()).unwrap();
        assert_eq!(set, CapabilitySet::CONTAINER);
        assert_eq!(CapabilitySet::from_names(["cap_chown"]).unwrap().to_string(), "CAP_CHOWN");
        assert!(CapabilitySet::from_names(["CAP_FLY"]).is_err());
    }
}
