//! What a user lacks to be root in namespaces of its own, and who can give it.

use std::fs;
use std::path::Path;

use nix::errno::Errno;

use super::carrier::{Carrier, on_path};
use crate::idmap;
use crate::sys;

/// Grants ranges of user ids: subuid(5).
pub const SUBUID: &str = "/etc/subuid";
/// Grants ranges of group ids: subgid(5).
pub const SUBGID: &str = "/etc/subgid";

/// Ids below which images of ordinary distributions cannot be unpacked: their `nobody` is 65534.
const ENOUGH: u64 = 65536;

/// One thing that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// What it is.
    pub what: String,
    /// Who can give it, and how.
    pub remedy: String,
    fatal: bool,
}

impl Lack {
    /// Whether nothing works without it.
    pub fn is_fatal(&self) -> bool {
        self.fatal
    }
}

/// What there is, as [`lacks`] judges it.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Whether a process could be put into a new user namespace: its errno.
    pub refused: Option<Errno>,
    /// Whether /proc/sys/kernel/unprivileged_userns_clone is there and 0 (Debian 10, Arch's hardened).
    pub debian_forbids: bool,
    /// Whether AppArmor lets no program without a profile have one (Ubuntu 24.04).
    pub apparmor_forbids: bool,
    /// Which of newuidmap and newgidmap are missing.
    pub helpers_missing: Vec<&'static str>,
    /// The user's name, and how many ids are granted in /etc/subuid and /etc/subgid.
    pub user: String,
    /// Of users and of groups.
    pub granted: (u64, u64),
    /// Whether pasta or slirp4netns is here.
    pub carrier: bool,
    /// Whether the device for it can be opened.
    pub tun: bool,
}

// ANCHOR: lacks
/// What is missing, the worst first.
pub fn lacks(facts: &Facts) -> Vec<Lack> {
    let mut lacks = Vec::new();
    let mut add = |fatal, what: String, remedy: String| lacks.push(Lack { what, remedy, fatal });
    if let Some(errno) = facts.refused {
        let remedy = if facts.debian_forbids {
            "as root: sysctl kernel.unprivileged_userns_clone=1"
        } else if facts.apparmor_forbids {
            "as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for corten \
             that says `userns,`"
        } else if errno == Errno::ENOSPC {
            "as root: sysctl user.max_user_namespaces=65536"
        } else {
            "ask the administrator, or use the lab VM: ./x lab shell"
        };
        add(true, format!("this kernel gives you no user namespace ({errno:?})"), remedy.into());
    }
    if !facts.helpers_missing.is_empty() {
        let what = format!("{} cannot be found", facts.helpers_missing.join(" and "));
        add(true, what, "as root: apt install uidmap (shadow-utils elsewhere)".into());
    }
    let (uids, gids) = facts.granted;
    for (file, count, option) in [(SUBUID, uids, "uids"), (SUBGID, gids, "gids")] {
        if count < ENOUGH {
            let user = &facts.user;
            let what = format!("{file} grants {user} {count} ids, and images need {ENOUGH}");
            let remedy = format!(
                "as root: usermod --add-sub{option} 100000-165535 {user} (a range that nobody else has)"
            );
            add(count == 0, what, remedy);
        }
    }
    if !facts.carrier {
        let what = "neither pasta nor slirp4netns is here: containers reach each other only".into();
        add(false, what, "as root: apt install passt".into());
    } else if !facts.tun {
        let what = "/dev/net/tun cannot be opened: containers reach each other only".into();
        add(false, what, "as root: modprobe tun; chmod 666 /dev/net/tun".into());
    }
    lacks
}
// ANCHOR_END: lacks

/// Looks at this machine, for the calling user.
pub fn of_this_machine() -> Vec<Lack> {
    let uid = nix::unistd::geteuid().as_raw();
    let user = user_name(uid);
    let count = |file: &str| -> u64 {
        let ranges = idmap::granted(Path::new(file), &user, uid).unwrap_or_default();
        ranges.into_iter().map(|(_, count)| u64::from(count)).sum()
    };
    let sysctl = |name: &str| {
        let text = fs::read_to_string(Path::new("/proc/sys/kernel").join(name));
        text.map(|text| text.trim().to_owned()).unwrap_or_default()
    };
    let tun = fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun");
    lacks(&Facts {
        refused: refused(),
        debian_forbids: sysctl("unprivileged_userns_clone") == "0",
        apparmor_forbids: sysctl("apparmor_restrict_unprivileged_userns") == "1",
        helpers_missing: ["newuidmap", "newgidmap"]
            .into_iter()
            .filter(|name| !on_path(name))
            .collect(),
        granted: (count(SUBUID), count(SUBGID)),
        carrier: [Carrier::Pasta, Carrier::Slirp4netns].iter().any(|it| on_path(it.program())),
        tun: tun.is_ok(),
        user,
    })
}

/// Puts a child into a new user namespace, and in it into a new mount namespace: AppArmor allows the
/// first and refuses all that it is for.
fn refused() -> Option<Errno> {
    let Ok((reader, writer)) = nix::unistd::pipe() else { return Some(Errno::EMFILE) };
    let spawned = sys::clone3(0, || {
        let tried =
            sys::unshare(libc::CLONE_NEWUSER).and_then(|()| sys::unshare(libc::CLONE_NEWNS));
        let errno = tried.err().map_or(0, |errno| errno as i32);
        let _ = nix::unistd::write(&writer, &errno.to_ne_bytes());
        sys::exit_now(0)
    });
    let (pidfd, _) = match spawned {
        Ok(child) => child,
        Err(errno) => return Some(errno),
    };
    drop(writer);
    let mut bytes = [0; 4];
    let read = nix::unistd::read(&reader, &mut bytes);
    use std::os::fd::AsFd;
    let _ = sys::wait(pidfd.as_fd());
    match read {
        Ok(4) => Some(i32::from_ne_bytes(bytes)).filter(|raw| *raw != 0).map(Errno::from_raw),
        _ => Some(Errno::EPERM),
    }
}

/// The user's name by /etc/passwd; the number where it has none there.
pub(super) fn user_name(uid: u32) -> String {
    let user = nix::unistd::User::from_uid(uid.into());
    user.ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Facts {
        Facts {
            user: "ada".into(),
            granted: (ENOUGH, ENOUGH),
            carrier: true,
            tun: true,
            ..Facts::default()
        }
    }

    #[test]
    fn each_lack_has_its_remedy() {
        assert_eq!(lacks(&good()), []);
        let cases: [(Facts, bool, &str); 8] = [
            (
                Facts { refused: Some(Errno::EPERM), debian_forbids: true, ..good() },
                true,
                "unprivileged_userns_clone=1",
            ),
            (
                Facts { refused: Some(Errno::EACCES), apparmor_forbids: true, ..good() },
                true,
                "apparmor_restrict_unprivileged_userns=0",
            ),
            (Facts { refused: Some(Errno::ENOSPC), ..good() }, true, "user.max_user_namespaces"),
            (Facts { helpers_missing: vec!["newuidmap"], ..good() }, true, "uidmap"),
            (Facts { granted: (0, ENOUGH), ..good() }, true, "--add-subuids 100000-165535 ada"),
            (Facts { granted: (ENOUGH, 10), ..good() }, false, "--add-subgids"),
            (Facts { carrier: false, ..good() }, false, "apt install passt"),
            (Facts { tun: false, ..good() }, false, "/dev/net/tun"),
        ];
        for (facts, fatal, remedy) in cases {
            let found = lacks(&facts);
            assert_eq!(found.len(), 1, "{facts:?}");
            assert!(found[0].is_fatal() == fatal && found[0].remedy.contains(remedy), "{found:?}");
        }
    }
}
