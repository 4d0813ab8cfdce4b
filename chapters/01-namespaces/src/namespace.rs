//! The eight namespaces: their names and flags, which one a process is in, joining one, and
//! keeping one alive without a process.
//!
//! A namespace is a kernel object that lives as long as something refers to it: a process in it,
//! an open descriptor of its file in /proc/PID/ns, or a bind mount of that file. Two processes are
//! in the same namespace exactly when those files have the same device and inode (namespaces(7)).

use std::ffi::CString;
use std::fmt;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::str::FromStr;

use nix::errno::Errno;

use crate::error::{Context, Error, KernelError, Result};
use crate::sys;

// ANCHOR: namespace
/// One of the kinds of namespace that Linux has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Namespace {
    /// User and group ids, and capabilities: user_namespaces(7). First, because it owns the others.
    User,
    /// Mount points: mount_namespaces(7).
    Mount,
    /// Process ids: pid_namespaces(7).
    Pid,
    /// Network devices, addresses, ports, firewall: network_namespaces(7).
    Net,
    /// System V IPC and POSIX message queues: ipc_namespaces(7).
    Ipc,
    /// Host name and NIS domain name: uts_namespaces(7).
    Uts,
    /// What /proc/PID/cgroup shows as the root: cgroup_namespaces(7).
    Cgroup,
    /// Offsets of the monotonic and the boot-time clock: time_namespaces(7).
    Time,
}
// ANCHOR_END: namespace

impl Namespace {
    /// All kinds, in the order in which they have to be joined: the user namespace first, because
    /// it gives the capabilities that joining the others needs.
    pub const ALL: [Namespace; 8] = [
        Namespace::User,
        Namespace::Mount,
        Namespace::Pid,
        Namespace::Net,
        Namespace::Ipc,
        Namespace::Uts,
        Namespace::Cgroup,
        Namespace::Time,
    ];

    /// The flag of clone3(2), unshare(2) and setns(2).
    pub const fn flag(self) -> u64 {
        let flag = match self {
            Namespace::User => libc::CLONE_NEWUSER,
            Namespace::Mount => libc::CLONE_NEWNS,
            Namespace::Pid => libc::CLONE_NEWPID,
            Namespace::Net => libc::CLONE_NEWNET,
            Namespace::Ipc => libc::CLONE_NEWIPC,
            Namespace::Uts => libc::CLONE_NEWUTS,
            Namespace::Cgroup => libc::CLONE_NEWCGROUP,
            // linux/sched.h: clone3 and unshare only; in clone(2) this bit belongs to the signal.
            Namespace::Time => 0x80,
        };
        flag as u64
    }

    /// The name of its file in /proc/PID/ns.
    pub const fn file(self) -> &'static str {
        match self {
            Namespace::User => "user",
            Namespace::Mount => "mnt",
            Namespace::Pid => "pid",
            Namespace::Net => "net",
            Namespace::Ipc => "ipc",
            Namespace::Uts => "uts",
            Namespace::Cgroup => "cgroup",
            Namespace::Time => "time",
        }
    }

    /// Opens the namespace that the process `pid` is in.
    ///
    /// # Errors
    /// `ENOENT` where there is no such process, `EACCES` without the right to trace it (ptrace(2)).
    pub fn open(self, pid: libc::pid_t) -> Result<File> {
        let path = format!("/proc/{pid}/ns/{}", self.file());
        File::open(&path).on("open namespace", &path)
    }

    /// Which namespace of this kind the process `pid` is in.
    ///
    /// # Errors
    /// As [`Namespace::open`].
    pub fn of(self, pid: libc::pid_t) -> Result<Identity> {
        let path = format!("/proc/{pid}/ns/{}", self.file());
        let metadata = std::fs::metadata(&path).on("stat namespace", &path)?;
        Ok(Identity { device: metadata.dev(), inode: metadata.ino() })
    }

    // ANCHOR: join
    /// Moves the calling thread into the namespace behind `fd`; setns(2) checks that it is one of
    /// this kind. A pid or time namespace counts for the children only.
    ///
    /// # Errors
    /// `EINVAL` for another kind of namespace, or for a user or mount namespace in a process with
    /// several threads; `EPERM` without CAP_SYS_ADMIN there.
    pub fn join(self, fd: BorrowedFd<'_>) -> Result<()> {
        // The value is one of the flags above, which all fit.
        sys::setns(fd.as_raw_fd(), self.flag() as i32).on("setns to namespace", self.file())
    }
    // ANCHOR_END: join
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.file())
    }
}

impl FromStr for Namespace {
    type Err = Error;

    /// The names of /proc/PID/ns, and the longer ones of the OCI runtime specification.
    fn from_str(name: &str) -> Result<Namespace> {
        let short = match name {
            "mount" => "mnt",
            "network" => "net",
            other => other,
        };
        Namespace::ALL.into_iter().find(|namespace| namespace.file() == short).ok_or_else(|| {
            Error::invalid(
                format!("namespace `{name}`"),
                "is none of user, mnt, pid, net, ipc, uts, cgroup, time",
            )
        })
    }
}

/// What tells one namespace from another: the device and inode of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// The device of nsfs, the same for all namespaces of a kernel.
    pub device: u64,
    /// The number that `ls -l /proc/PID/ns` shows in brackets.
    pub inode: u64,
}

impl Identity {
    /// Of an open namespace file.
    ///
    /// # Errors
    /// None in practice: fstat(2) on an open descriptor.
    pub fn of_fd(fd: BorrowedFd<'_>) -> Result<Identity> {
        let stat = nix::sys::stat::fstat(fd).during("stat namespace")?;
        Ok(Identity { device: stat.st_dev, inode: stat.st_ino })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.inode.to_string())
    }
}

/// A set of kinds of namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NamespaceSet(u64);

impl NamespaceSet {
    /// No namespace.
    pub const EMPTY: NamespaceSet = NamespaceSet(0);

    /// The flags of all members, or-ed.
    pub const fn flags(self) -> u64 {
        self.0
    }

    /// This set with `namespace` in it.
    #[must_use]
    pub const fn with(self, namespace: Namespace) -> NamespaceSet {
        NamespaceSet(self.0 | namespace.flag())
    }

    /// This set without `namespace`.
    #[must_use]
    pub const fn without(self, namespace: Namespace) -> NamespaceSet {
        NamespaceSet(self.0 & !namespace.flag())
    }

    /// Whether `namespace` is in it.
    pub const fn contains(self, namespace: Namespace) -> bool {
        self.0 & namespace.flag() != 0
    }

    /// Whether nothing is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The members, in the order of [`Namespace::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Namespace> {
        Namespace::ALL.into_iter().filter(move |namespace| self.contains(*namespace))
    }
}

impl FromIterator<Namespace> for NamespaceSet {
    fn from_iter<I: IntoIterator<Item = Namespace>>(namespaces: I) -> NamespaceSet {
        namespaces.into_iter().fold(NamespaceSet::EMPTY, NamespaceSet::with)
    }
}

impl fmt::Display for NamespaceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Namespace::file).collect();
        f.write_str(&names.join(","))
    }
}

const TOO_OLD: &str = "a mount namespace can be kept only in one that the kernel counts as older: \
    keep it from where the container was started, or start the container again";

// ANCHOR: persist
/// Keeps the namespace of `pid` alive after its last process: its file is bind-mounted on the new
/// empty file `path`, as `ip netns add` does it. [`release`] undoes it.
///
/// # Errors
/// `EEXIST` where `path` is there; `EINVAL` for a mount namespace on a mount with shared
/// propagation, which would hold itself; `ELOOP` for one that the kernel takes to be older than the
/// one where it is to be mounted (mnt_ns_loop in its fs/namespace.c). It compares numbers that
/// Linux 6.18 gives out in batches to each processor, so it errs where the two were made on
/// different ones. `EPERM` without CAP_SYS_ADMIN. Nothing is left behind.
pub fn persist(namespace: Namespace, pid: libc::pid_t, path: &Path) -> Result<()> {
    let source = format!("/proc/{pid}/ns/{}", namespace.file());
    let c_source = CString::new(source.as_str())
        .map_err(|_| Error::invalid(source.clone(), "holds a NUL byte"))?;
    // An nsfs file is a mount point to be cloned like any other file. Its link in /proc is magic,
    // so it is the opened file that is cloned.
    let mount = sys::mount::clone_tree(libc::AT_FDCWD, &c_source, false)
        .on("clone the mount of", &source)?;
    let mut options = std::fs::OpenOptions::new();
    let target = options.write(true).create_new(true).mode(0o444).open(path).on("create", path)?;
    sys::mount::move_mount(mount.as_fd(), target.as_raw_fd())
        .map_err(|errno| {
            let error = KernelError::new("mount the namespace on", Some(path), errno);
            Error::Kernel(if errno == Errno::ELOOP { error.with_remedy(TOO_OLD) } else { error })
        })
        .inspect_err(|_| {
            let _ = std::fs::remove_file(path);
        })
}
// ANCHOR_END: persist

/// Ends what [`persist`] began: unmounts and removes `path`. The namespace goes when nothing else
/// refers to it.
///
/// # Errors
/// `EINVAL` where `path` is no mount point, `ENOENT`.
pub fn release(path: &Path) -> Result<()> {
    let c_path = CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::invalid(path.display().to_string(), "holds a NUL byte"))?;
    sys::mount::umount_detach(&c_path).on("unmount", path)?;
    std::fs::remove_file(path).on("remove", path)
}

/// The namespaces of one process, and its command, as [`list`] finds them.
#[derive(Debug, Clone)]
pub struct Member {
    /// The process.
    pub pid: libc::pid_t,
    /// The first words of its command line, or its name in brackets for a kernel thread.
    pub command: String,
    /// The namespaces that the caller may see, in the order of [`Namespace::ALL`].
    pub namespaces: Vec<(Namespace, Identity)>,
}

/// Every process that the caller may look into, with its namespaces.
///
/// # Errors
/// Where /proc cannot be read at all; processes that end meanwhile, or that the caller may not
/// trace, are passed over.
pub fn list() -> Result<Vec<Member>> {
    let mut members = Vec::new();
    for entry in std::fs::read_dir("/proc").on("read", "/proc")? {
        let Ok(entry) = entry else { continue };
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        members.extend(member(pid));
    }
    members.sort_by_key(|member| member.pid);
    Ok(members)
}

/// One process; `None` where it is gone or may not be looked into.
pub fn member(pid: libc::pid_t) -> Option<Member> {
    let namespaces: Vec<_> = Namespace::ALL
        .into_iter()
        .filter_map(|namespace| Some((namespace, namespace.of(pid).ok()?)))
        .collect();
    if namespaces.is_empty() {
        return None;
    }
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> =
        line.split(|b| *b == 0).filter(|w| !w.is_empty()).map(String::from_utf8_lossy).collect();
    let command = if words.is_empty() {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        format!("[{}]", name.trim_end())
    } else {
        words.join(" ")
    };
    Some(Member { pid, command, namespaces })
}

/// The user namespace that owns the namespace behind `fd` (ioctl_ns(2)).
///
/// # Errors
/// `EPERM` where the owner is not the caller's namespace or below it.
pub fn owner(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    sys::ns::owner(fd.as_raw_fd()).during("ask for the owning user namespace")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_proc_and_of_the_oci_specification() {
        for namespace in Namespace::ALL {
            assert_eq!(namespace.file().parse::<Namespace>().unwrap(), namespace);
        }
        assert_eq!("mount".parse::<Namespace>().unwrap(), Namespace::Mount);
        assert_eq!("network".parse::<Namespace>().unwrap(), Namespace::Net);
        let error = "disk".parse::<Namespace>().unwrap_err().to_string();
        assert!(error.contains("`disk`") && error.contains("cgroup"), "{error}");
    }

    #[test]
    fn a_set_knows_its_members_and_their_flags() {
        let set: NamespaceSet = [Namespace::Time, Namespace::Uts].into_iter().collect();
        assert!(set.contains(Namespace::Uts) && !set.contains(Namespace::Pid));
        assert_eq!(set.to_string(), "uts,time");
        assert_eq!(set.flags(), libc::CLONE_NEWUTS as u64 | 0x80);
        assert!(set.without(Namespace::Time).without(Namespace::Uts).is_empty());
    }

    #[test]
    fn the_kernel_agrees_on_the_kind_of_each_file() {
        let pid = std::process::id() as libc::pid_t;
        for namespace in Namespace::ALL {
            let file = namespace.open(pid).unwrap();
            assert_eq!(sys::ns::kind(file.as_raw_fd()).unwrap() as u64, namespace.flag());
            assert_eq!(Identity::of_fd(file.as_fd()).unwrap(), namespace.of(pid).unwrap());
        }
    }
}
