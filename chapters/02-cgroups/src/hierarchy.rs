//! Where this machine has its control groups: which hierarchies are mounted, which controllers are
//! in which, and where in each of them the caller is.
//!
//! Three layouts are met. *v2*: one hierarchy for everything. *v1*: a hierarchy for each controller
//! or for a few together, and one without controllers that systemd has for itself. *Hybrid*: v1,
//! and beside it a v2 hierarchy with the controllers that v1 does not have.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use crate::controller::{Controller, ControllerSet};
use crate::error::{Context, Error, Result};

/// The two interfaces of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// Since Linux 2.6.24: a hierarchy for each set of controllers (cgroups(7), "cgroups version 1").
    V1,
    /// Since Linux 4.5: one hierarchy, the controllers are switched on group by group.
    V2,
}

/// What is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// v2 only.
    Unified,
    /// v1 only.
    Legacy,
    /// Both.
    Hybrid,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Layout::Unified => "v2",
            Layout::Legacy => "v1",
            Layout::Hybrid => "hybrid",
        })
    }
}

// ANCHOR: mount
/// One hierarchy, where it is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Its interface.
    pub version: Version,
    /// The controllers in it. In v2: those that can be switched on, and the implicit ones.
    pub controllers: ControllerSet,
    /// The name of a v1 hierarchy without controllers: `systemd`.
    pub name: Option<String>,
    /// Where it is mounted.
    pub point: PathBuf,
    /// The caller's group in it, below `point`.
    pub own: PathBuf,
}
// ANCHOR_END: mount

impl Mount {
    /// How /proc/PID/cgroup calls it: `cpu,cpuacct`, `name=systemd`; empty for v2.
    pub fn label(&self) -> String {
        match (&self.name, self.version) {
            (Some(name), _) => format!("name={name}"),
            (None, Version::V1) => self.controllers.to_string(),
            (None, Version::V2) => String::new(),
        }
    }
}

/// Where a group shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// Below the group that the caller is in, hierarchy by hierarchy. In a pure v2 hierarchy it is
    /// beside the caller's group: a group that holds processes cannot give controllers to its
    /// children.
    Below(PathBuf),
    /// At this path from the top of each hierarchy.
    At(PathBuf),
}

impl Placement {
    /// As the OCI runtime specification says of `cgroupsPath`: from the top where it begins with
    /// `/`, otherwise where the runtime likes; without one, a group `name` below the caller's.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the path leads nowhere.
    pub fn parse(path: Option<&Path>, name: &str) -> Result<Placement> {
        let path = path.filter(|path| !path.as_os_str().is_empty());
        let given = path.unwrap_or(Path::new(name));
        let clean = clean(given);
        if clean.as_os_str().is_empty() {
            let what = format!("control group `{}`", given.display());
            return Err(Error::invalid(what, "is the top of the hierarchy, which is nobody's"));
        }
        let at = path.is_some_and(|path| path.has_root());
        Ok(if at { Placement::At(clean) } else { Placement::Below(clean) })
    }
}

/// The path without `.`, `..` and a leading `/`; `..` never leads above the start. Control groups
/// have no symbolic links, so this is exact.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

// ANCHOR: hierarchy
/// The hierarchies of this machine as the calling thread sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    mounts: Vec<Mount>,
}
// ANCHOR_END: hierarchy

impl Hierarchy {
    /// Looks at this machine: reads two files of /proc, and one of the v2 hierarchy. Callers that
    /// make several groups keep the answer.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where no control groups are mounted.
    pub fn detect() -> Result<Hierarchy> {
        let read = |file: &str| std::fs::read_to_string(file).on("read", file);
        let mountinfo = read("/proc/thread-self/mountinfo")?;
        let membership = read("/proc/self/cgroup")?;
        Hierarchy::parse(&mountinfo, &membership, |point| {
            std::fs::read_to_string(point.join("cgroup.controllers")).unwrap_or_default()
        })
    }

    /// Whether the caller may make groups at the top of all hierarchies: root may not in a user namespace to
    /// which none were given.
    pub fn is_writable(&self) -> bool {
        let may = |mount: &Mount| nix::unistd::access(&mount.point, nix::unistd::AccessFlags::W_OK);
        self.mounts.iter().all(|mount| may(mount).is_ok())
    }

    // ANCHOR: parse
    /// From the text of /proc/PID/mountinfo and /proc/PID/cgroup; `controllers` reads
    /// `cgroup.controllers` of a v2 mount.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where no control groups are mounted.
    pub fn parse(
        mountinfo: &str,
        membership: &str,
        controllers: impl Fn(&Path) -> String,
    ) -> Result<Hierarchy> {
        let mut mounts: Vec<Mount> = Vec::new();
        let mut lines: Vec<MountLine> = mountinfo.lines().filter_map(MountLine::parse).collect();
        // One that shows the whole hierarchy before a bind mount of a part of it.
        lines.sort_by_key(|line| line.root != Path::new("/"));
        for seen in lines {
            let set = match seen.version {
                Version::V1 => seen.controllers(),
                Version::V2 => {
                    let listed = ControllerSet::parse_v2(&controllers(&seen.point));
                    listed.union(ControllerSet::IMPLICIT)
                }
            };
            let name = seen.name();
            // A hierarchy may be mounted in several places; all show the same groups.
            let known = mounts.iter().any(|mount| {
                mount.version == seen.version
                    && mount.name == name
                    && (mount.controllers == set || seen.version == Version::V2)
            });
            let useless = seen.version == Version::V1 && set.is_empty() && name.is_none();
            if known || useless {
                continue;
            }
            let own = seen.own(membership, &set, name.as_deref());
            mounts.push(Mount {
                version: seen.version,
                controllers: set,
                name,
                point: seen.point,
                own,
            });
        }
        if mounts.is_empty() {
            return Err(Error::unavailable(
                "control groups",
                "none are mounted: mount -t cgroup2 none /sys/fs/cgroup",
            ));
        }
        // What v1 has, the v2 hierarchy beside it cannot have.
        let in_v1 = mounts
            .iter()
            .filter(|mount| mount.version == Version::V1)
            .fold(ControllerSet::EMPTY, |all, mount| all.union(mount.controllers));
        for mount in mounts.iter_mut().filter(|mount| mount.version == Version::V2) {
            mount.controllers = mount.controllers.without(in_v1);
        }
        Ok(Hierarchy { mounts })
    }
    // ANCHOR_END: parse

    /// What is mounted.
    pub fn mounts(&self) -> &[Mount] {
        &self.mounts
    }

    /// Which of the three layouts this is.
    pub fn layout(&self) -> Layout {
        let has = |version| self.mounts.iter().any(|mount| mount.version == version);
        match (has(Version::V1), has(Version::V2)) {
            (true, true) => Layout::Hybrid,
            (true, false) => Layout::Legacy,
            (false, _) => Layout::Unified,
        }
    }

    /// Leaves to v2 no other controllers than these, and those that every group has.
    pub(crate) fn offer(&mut self, controllers: ControllerSet) {
        let left = controllers.union(ControllerSet::IMPLICIT);
        for mount in self.mounts.iter_mut().filter(|mount| mount.version == Version::V2) {
            mount.controllers = mount.controllers.intersection(left);
        }
    }

    /// The hierarchy that has `controller`.
    pub fn of(&self, controller: Controller) -> Option<&Mount> {
        self.mounts.iter().find(|mount| mount.controllers.contains(controller))
    }

    /// The directory of a group in `mount`.
    pub fn directory(&self, mount: &Mount, placement: &Placement) -> PathBuf {
        match placement {
            Placement::At(path) => mount.point.join(path),
            Placement::Below(path) => {
                let beside = self.layout() == Layout::Unified && mount.own != mount.point;
                let above = mount.own.parent().filter(|_| beside).unwrap_or(&mount.own);
                above.join(path)
            }
        }
    }
}

/// A line of mountinfo that is about control groups (proc_pid_mountinfo(5)).
struct MountLine<'a> {
    version: Version,
    /// What of the hierarchy is mounted: `/`, or a group where it is a bind mount.
    root: PathBuf,
    point: PathBuf,
    /// Options of the file system: v1 has the controllers among them.
    options: &'a str,
}

impl<'a> MountLine<'a> {
    fn parse(line: &'a str) -> Option<MountLine<'a>> {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut words = file_system.split(' ');
        let version = match words.next()? {
            "cgroup" => Version::V1,
            "cgroup2" => Version::V2,
            _ => return None,
        };
        let options = words.nth(1).unwrap_or_default();
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (unescape(fields.next()?), unescape(fields.next()?));
        Some(MountLine { version, root: root.into(), point: point.into(), options })
    }

    fn controllers(&self) -> ControllerSet {
        self.options.split(',').filter_map(Controller::from_v1).collect()
    }

    fn name(&self) -> Option<String> {
        let named = self.options.split(',').find_map(|option| option.strip_prefix("name="));
        named.map(str::to_owned)
    }

    /// Where the caller's group of this hierarchy is below the mount point.
    fn own(&self, membership: &str, set: &ControllerSet, name: Option<&str>) -> PathBuf {
        let ours = |line: &&str| {
            let mut fields = line.splitn(3, ':');
            let (number, list) = (fields.next(), fields.next().unwrap_or_default());
            match self.version {
                Version::V2 => number == Some("0") && list.is_empty(),
                Version::V1 => list.split(',').any(|word| match word.strip_prefix("name=") {
                    Some(word) => name == Some(word),
                    None => Controller::from_v1(word).is_some_and(|c| set.contains(c)),
                }),
            }
        };
        let line = membership.lines().find(ours).unwrap_or_default();
        let path = Path::new(line.splitn(3, ':').nth(2).unwrap_or("/"));
        // Inside a container without a cgroup namespace the mount shows the container's part, and
        // the path is still that of the host.
        let below = path.strip_prefix(&self.root).or_else(|_| path.strip_prefix("/"));
        self.point.join(clean(below.unwrap_or(path)))
    }
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> String {
    let mut pieces = text.split('\\');
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        match piece.split_at_checked(3) {
            Some((digits, rest)) => {
                let code = u8::from_str_radix(digits, 8).unwrap_or(b'?');
                plain.push(code.into());
                plain.push_str(rest);
            }
            None => plain.push_str(piece),
        }
    }
    plain
}

#[cfg(test)]
mod tests;
