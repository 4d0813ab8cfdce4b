//! What a caller asks for: the description of a container, before any of it is planned.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::capability::CapabilitySet;
use crate::idmap::IdMap;
use crate::mount::Mount;
use crate::namespace::{Namespace, NamespaceSet};

// ANCHOR: config
/// A container to be run.
#[derive(Debug, Default)]
pub struct Config {
    /// The namespaces to be made new.
    pub namespaces: NamespaceSet,
    /// Namespaces of others to be joined, by open descriptors of their files.
    pub join: Vec<(Namespace, OwnedFd)>,
    /// The user ids of a new user namespace.
    pub uid_map: IdMap,
    /// Its group ids.
    pub gid_map: IdMap,
    /// The directory that becomes `/`; without it the host's root stays.
    pub rootfs: Option<Rootfs>,
    /// Mounts after the standard ones, in this order.
    pub mounts: Vec<Mount>,
    /// Makes `/` read-only; the mounts on it stay as they are.
    pub read_only: bool,
    /// Hides and write-protects the parts of /proc and /sys that concern the whole machine.
    pub protect_kernel: bool,
    /// The host name in a new uts namespace.
    pub hostname: Option<String>,
    /// The NIS domain name in a new uts namespace.
    pub domainname: Option<String>,
    /// What is added to the clocks of a new time namespace.
    pub clocks: ClockOffsets,
    /// The program.
    pub process: Process,
    /// Kills the container when the thread that spawned it ends (PR_SET_PDEATHSIG).
    pub die_with_parent: bool,
}
// ANCHOR_END: config

/// The file tree of a container.
#[derive(Debug)]
pub struct Rootfs {
    /// An existing directory: the tree itself or, with `mount`, where it is attached in the
    /// container's mount namespace only.
    pub path: PathBuf,
    /// A detached mount (fsmount(2) or open_tree(2)), which no other process can see, and which is
    /// gone with its last user.
    pub mount: Option<OwnedFd>,
    /// How it becomes `/`.
    pub switch: RootSwitch,
}

/// How a directory becomes `/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RootSwitch {
    /// pivot_root(2), and the old root is unmounted: nothing is left to escape to.
    #[default]
    Pivot,
    /// chroot(2), which a process with CAP_SYS_CHROOT leaves by a second chroot. Only to show that.
    Chroot,
}

/// Seconds to add to the clocks in a new time namespace (time_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClockOffsets {
    /// For CLOCK_MONOTONIC.
    pub monotonic: Option<i64>,
    /// For CLOCK_BOOTTIME, which /proc/uptime shows.
    pub boottime: Option<i64>,
}

/// The program of a container and what it runs with.
#[derive(Debug)]
pub struct Process {
    /// The command and its arguments; the command is searched in the `PATH` of `env`.
    pub args: Vec<String>,
    /// `NAME=value`, and nothing of the caller's own environment.
    pub env: Vec<String>,
    /// The working directory, made where it is missing.
    pub cwd: PathBuf,
    /// Who it runs as.
    pub user: User,
    /// A pseudoterminal of this size (rows, columns) as its controlling terminal.
    pub terminal: Option<(u16, u16)>,
    /// Descriptors for standard input, output and error; `None` inherits the caller's.
    pub stdio: [Option<OwnedFd>; 3],
    /// A pid 1 of ours that forwards signals and collects orphans, as `docker run --init` has.
    pub init: bool,
    /// Gains no rights by execve(2): PR_SET_NO_NEW_PRIVS.
    pub no_new_privileges: bool,
    /// The capabilities that it keeps; `None` for all that the caller has.
    pub capabilities: Option<CapabilitySet>,
    /// Resource limits (getrlimit(2)).
    pub limits: Vec<Limit>,
    /// The file mode creation mask.
    pub umask: Option<u32>,
}

impl Default for Process {
    fn default() -> Self {
        Process {
            args: Vec::new(),
            env: vec![format!("PATH={DEFAULT_PATH}")],
            cwd: PathBuf::from("/"),
            user: User::default(),
            terminal: None,
            stdio: [None, None, None],
            init: false,
            no_new_privileges: false,
            capabilities: None,
            limits: Vec::new(),
            umask: None,
        }
    }
}

/// The search path where none is given: Docker's.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// User and group ids, as they are inside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// The user id.
    pub uid: u32,
    /// The primary group.
    pub gid: u32,
    /// The supplementary groups.
    pub groups: Vec<u32>,
}

/// One resource limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The name without `RLIMIT_`, as prlimit(1) has it.
    pub name: &'static str,
    /// `RLIMIT_*`.
    pub resource: i32,
    /// The limit in force.
    pub soft: u64,
    /// How far the process may raise it.
    pub hard: u64,
}

impl Limit {
    /// `RLIMIT_*` by the names of prlimit(1) and `docker run --ulimit`.
    pub const NAMES: [(&'static str, u32); 16] = [
        ("as", libc::RLIMIT_AS),
        ("core", libc::RLIMIT_CORE),
        ("cpu", libc::RLIMIT_CPU),
        ("data", libc::RLIMIT_DATA),
        ("fsize", libc::RLIMIT_FSIZE),
        ("locks", libc::RLIMIT_LOCKS),
        ("memlock", libc::RLIMIT_MEMLOCK),
        ("msgqueue", libc::RLIMIT_MSGQUEUE),
        ("nice", libc::RLIMIT_NICE),
        ("nofile", libc::RLIMIT_NOFILE),
        ("nproc", libc::RLIMIT_NPROC),
        ("rss", libc::RLIMIT_RSS),
        ("rtprio", libc::RLIMIT_RTPRIO),
        ("rttime", libc::RLIMIT_RTTIME),
        ("sigpending", libc::RLIMIT_SIGPENDING),
        ("stack", libc::RLIMIT_STACK),
    ];
}

impl std::str::FromStr for Limit {
    type Err = crate::Error;

    /// `NAME=SOFT[:HARD]`, as `docker run --ulimit` takes it; -1 is unlimited.
    fn from_str(text: &str) -> crate::Result<Limit> {
        let bad = |why: &str| crate::Error::invalid(format!("limit `{text}`"), why);
        let (name, values) = text
            .split_once('=')
            .ok_or_else(|| bad("is not NAME=SOFT[:HARD], as in nofile=1024"))?;
        let (name, resource) = Limit::NAMES
            .into_iter()
            .find(|(known, _)| *known == name)
            .ok_or_else(|| bad("is of an unknown resource: see prlimit(1)"))?;
        let number = |value: &str| match value.parse::<i64>() {
            Ok(-1) => Ok(u64::MAX),
            Ok(value) if value >= 0 => Ok(value as u64),
            _ => Err(bad("has a value that is neither a number nor -1")),
        };
        let (soft, hard) = values.split_once(':').unwrap_or((values, values));
        let (soft, hard) = (number(soft)?, number(hard)?);
        if soft > hard {
            return Err(bad("has a soft limit above the hard one"));
        }
        // The values of linux/resource.h are 0 to 15.
        Ok(Limit { name, resource: resource as i32, soft, hard })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_read_as_docker_s_do() {
        let limit: Limit = "nofile=1024:2048".parse().unwrap();
        assert_eq!((limit.name, limit.soft, limit.hard), ("nofile", 1024, 2048));
        assert_eq!("core=-1".parse::<Limit>().unwrap().hard, u64::MAX);
        for bad in ["nofile", "files=1", "nofile=x", "nofile=2:1", "nofile=-2"] {
            assert!(bad.parse::<Limit>().is_err(), "{bad}");
        }
    }
}
