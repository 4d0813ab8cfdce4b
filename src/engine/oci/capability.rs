//! Which capabilities a container gets: moby's oci/caps.

use corten_namespaces::capability;

use crate::engine::error::{Error, Result};
use crate::engine::machine::Machine;

/// What a container gets where nobody says otherwise, in dockerd's order.
pub const DEFAULT: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

const ALL: &str = "ALL";

/// The capabilities of a container. `ALL` among those to add gives all but those to drop; `ALL`
/// among those to drop leaves those to add; otherwise first some are dropped, then others added.
///
/// # Errors
/// For a name that nobody knows, and for a capability that this program cannot give.
pub fn tweak(
    add: &[String],
    drop: &[String],
    privileged: bool,
    machine: &Machine,
) -> Result<Vec<String>> {
    let (add, drop) = (normal(add, machine)?, normal(drop, machine)?);
    let has = |list: &[String], name: &str| list.iter().any(|other| other == name);
    let mut list = if privileged {
        machine.capabilities.clone()
    } else if has(&add, ALL) {
        machine.capabilities.iter().filter(|name| !has(&drop, name)).cloned().collect()
    } else if has(&drop, ALL) {
        add
    } else {
        let kept = DEFAULT.iter().filter(|name| !has(&drop, name));
        kept.map(|&name| name.to_owned()).chain(add).collect()
    };
    let mut seen = std::collections::BTreeSet::new();
    list.retain(|name| seen.insert(name.clone()));
    Ok(list)
}

/// In capitals, with `CAP_`.
fn normal(names: &[String], machine: &Machine) -> Result<Vec<String>> {
    let normalise = |name: &String| {
        let upper = name.to_ascii_uppercase();
        if upper == ALL {
            return Ok(upper);
        }
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let full = format!("CAP_{bare}");
        if !capability::names().contains(&bare) {
            return Err(Error::refused(format!("unknown capability: {full:?}")));
        }
        if !machine.capabilities.contains(&full) {
            return Err(Error::refused(format!(
                "capability not supported by your kernel or not available in the current \
                 environment: {full:?}"
            )));
        }
        Ok(full)
    };
    names.iter().map(normalise).collect()
}
