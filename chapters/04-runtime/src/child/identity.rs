//! Who the program is and what it may.

use corten_namespaces::config::User;
use corten_namespaces::error::Context;
use corten_namespaces::sys::identity;
use nix::errno::Errno;

use crate::capability::Capabilities;
use crate::error::Result;
use crate::sys::process;

/// CAP_SYS_ADMIN.
const SYS_ADMIN: u64 = 1 << 21;

/// Nobody but root of the namespace that it came from may look into the process: not the container,
/// into which it brings what is the host's.
pub(super) fn hide() -> Result<()> {
    Ok(identity::prctl(libc::PR_SET_DUMPABLE, 0, 0).during("make the process undumpable")?)
}

pub(super) fn no_new_privileges() -> Result<()> {
    Ok(identity::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).during("set no_new_privs")?)
}

// ANCHOR: bound
/// Lowers the ceiling, while CAP_SETPCAP is still there. A root without that right has a low one
/// already.
pub(super) fn bound(set: u64) -> Result<()> {
    identity::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64, 0)
        .during("clear the ambient capabilities")?;
    for number in 0..64u32 {
        match process::is_bounded(number) {
            None => break,
            Some(true) if set >> number & 1 == 0 => {
                identity::prctl(libc::PR_CAPBSET_DROP, number.into(), 0)
                    .during("drop a capability from the bounding set")?;
            }
            Some(_) => {}
        }
    }
    Ok(())
}
// ANCHOR_END: bound

// ANCHOR: credentials
/// Takes on the ids. PR_SET_KEEPCAPS keeps the permitted capabilities over the change from root to
/// a user; what is not wanted of them goes in the next step.
pub(super) fn credentials(user: &User) -> Result<()> {
    identity::prctl(libc::PR_SET_KEEPCAPS, 1, 0).during("keep capabilities over setuid")?;
    match identity::setgroups(&user.groups) {
        // Where an unprivileged user has mapped the own group only, groups cannot be changed.
        Err(Errno::EPERM) if user.groups.is_empty() => {}
        other => other.during("set the additional groups")?,
    }
    identity::setgid(user.gid).during(&format!("become group {}", user.gid))?;
    identity::setuid(user.uid).during(&format!("become user {}", user.uid))?;
    Ok(identity::prctl(libc::PR_SET_KEEPCAPS, 0, 0).during("stop keeping capabilities")?)
}
// ANCHOR_END: credentials

// ANCHOR: capabilities
/// Sets the sets, cut to what there is. What is inheritable is what the configuration says and no
/// more: a full set there let programs with file capabilities have them (CVE-2022-29162).
pub(super) fn capabilities(sets: &Capabilities, keep_admin: bool) -> Result<()> {
    let [_, permitted, _] = process::capabilities().during("read the capabilities")?;
    let admin = if keep_admin { SYS_ADMIN } else { 0 };
    let kept = permitted & (sets.permitted | admin);
    let effective = permitted & (sets.effective | admin);
    let inheritable = sets.inheritable;
    match identity::capset(effective, kept, inheritable) {
        // Inheritable ones that are not permitted need CAP_SETPCAP, which is gone in a namespace.
        Err(Errno::EPERM) => identity::capset(effective, kept, inheritable & permitted),
        other => other,
    }
    .during("set the capabilities")?;
    for number in (0..64u32).filter(|number| sets.ambient >> number & 1 == 1) {
        match process::raise_ambient(number) {
            // Not permitted here: nothing that can be given.
            Err(Errno::EPERM) => {}
            other => other.during("raise an ambient capability")?,
        }
    }
    Ok(())
}
// ANCHOR_END: capabilities
