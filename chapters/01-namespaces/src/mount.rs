//! What is mounted in a container, as data: file systems, bind mounts, masks, devices.
//!
//! Nothing here calls the kernel. A [`Mount`] is checked when it is made, holds C strings that the
//! child can use without allocating, and prints itself for `explain`.

use std::ffi::CString;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};

/// `MOUNT_ATTR_*` of mount_setattr(2), under the names of mount(8).
pub mod attribute {
    /// `ro`
    pub const RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;
    /// `nosuid`: set-user-ID bits and file capabilities do not count.
    pub const NOSUID: u64 = libc::MOUNT_ATTR_NOSUID;
    /// `nodev`: device nodes cannot be opened.
    pub const NODEV: u64 = libc::MOUNT_ATTR_NODEV;
    /// `noexec`: nothing can be executed.
    pub const NOEXEC: u64 = libc::MOUNT_ATTR_NOEXEC;

    /// The names of the bits in `set`, as mount(8) prints them.
    pub fn names(set: u64) -> String {
        let known = [(RDONLY, "ro"), (NOSUID, "nosuid"), (NODEV, "nodev"), (NOEXEC, "noexec")];
        let names: Vec<_> = known.iter().filter(|(bit, _)| set & bit != 0).map(|b| b.1).collect();
        names.join(",")
    }
}

/// A checked absolute path in a container, ready for the child: the path itself and each directory
/// above it, so that what is missing can be made without allocating.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    path: PathBuf,
    /// `dev`, `dev/pts`, …: relative to the root; the last one is the target itself.
    prefixes: Vec<(CString, CString)>,
}

impl Target {
    /// Checks `path`.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it is relative, is `/`, or holds `..` or a NUL byte.
    pub fn new(path: impl AsRef<Path>) -> Result<Target> {
        let path = path.as_ref();
        let bad = |why| Error::invalid(format!("path in the container {}", path.display()), why);
        let mut prefixes = Vec::new();
        let mut walked = PathBuf::new();
        let mut components = path.components();
        if components.next() != Some(Component::RootDir) {
            return Err(bad("is not absolute: it must begin with /"));
        }
        for component in components {
            let Component::Normal(name) = component else {
                return Err(bad("holds `..`: say where it leads"));
            };
            walked.push(name);
            let nul = |_| bad("holds a NUL byte");
            prefixes.push((
                CString::new(walked.as_os_str().as_bytes()).map_err(nul)?,
                CString::new(name.as_bytes()).map_err(nul)?,
            ));
        }
        if prefixes.is_empty() {
            return Err(bad("is the root itself"));
        }
        Ok(Target { path: path.to_path_buf(), prefixes })
    }

    /// The path, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Each directory on the way and the target itself: its path relative to the root, and its
    /// name in the directory before.
    pub fn prefixes(&self) -> &[(CString, CString)] {
        &self.prefixes
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

/// What a mount shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file system of its own: fsopen(2), fsconfig(2), fsmount(2).
    FileSystem {
        /// `proc`, `tmpfs`, … (filesystems(5)).
        kind: CString,
        /// Its options; a flag has no value.
        options: Vec<(CString, Option<CString>)>,
    },
    /// What the host has at a path: open_tree(2) with OPEN_TREE_CLONE.
    Bind {
        /// The path on the host, trusted and resolved there.
        source: CString,
        /// With all that is mounted below it.
        recursive: bool,
    },
}

// ANCHOR: mount
/// One mount of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is seen inside. Made where it is missing.
    pub target: Target,
    /// What is seen there.
    pub source: Source,
    /// `MOUNT_ATTR_*` to set; for a recursive bind mount on all mounts below as well.
    pub attributes: u64,
}
// ANCHOR_END: mount

impl Mount {
    /// A file system of kind `kind` with `options` as mount(8) takes them: `mode=755,size=64k`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a bad target or a NUL byte.
    pub fn file_system(
        kind: &str,
        target: impl AsRef<Path>,
        attributes: u64,
        options: &str,
    ) -> Result<Mount> {
        let c = |s: &str| {
            CString::new(s).map_err(|_| Error::invalid(format!("mount {kind}"), "holds a NUL byte"))
        };
        let options = options
            .split(',')
            .filter(|option| !option.is_empty())
            .map(|option| match option.split_once('=') {
                Some((key, value)) => Ok((c(key)?, Some(c(value)?))),
                None => Ok((c(option)?, None)),
            })
            .collect::<Result<_>>()?;
        let source = Source::FileSystem { kind: c(kind)?, options };
        Ok(Mount { target: Target::new(target)?, source, attributes })
    }

    /// A recursive bind mount of the host's `source`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a relative source, a bad target or a NUL byte.
    pub fn bind(source: &Path, target: impl AsRef<Path>, attributes: u64) -> Result<Mount> {
        let what = || format!("bind mount of {}", source.display());
        if !source.is_absolute() {
            return Err(Error::invalid(what(), "the source must be an absolute path"));
        }
        let source = CString::new(source.as_os_str().as_bytes())
            .map_err(|_| Error::invalid(what(), "holds a NUL byte"))?;
        let source = Source::Bind { source, recursive: true };
        Ok(Mount { target: Target::new(target)?, source, attributes })
    }
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::FileSystem { kind, .. } => write!(f, "{}", kind.to_string_lossy())?,
            Source::Bind { source, .. } => write!(f, "bind {}", source.to_string_lossy())?,
        }
        write!(f, " on {}", self.target)
    }
}

// ANCHOR: standard
/// The mounts that every container has, as runc's default configuration lists them. `gid_5` says
/// whether group 5 (tty) is mapped: devpts refuses a gid that is not.
///
/// # Errors
/// None: the constants are valid; the type is that of the constructors.
pub fn standard(proc: bool, sysfs: bool, mqueue: bool, gid_5: bool) -> Result<Vec<Mount>> {
    use attribute::{NODEV, NOEXEC, NOSUID, RDONLY};
    let quiet = NOSUID | NOEXEC | NODEV;
    let mut mounts = Vec::with_capacity(6);
    if proc {
        mounts.push(Mount::file_system("proc", "/proc", quiet, "")?);
    }
    mounts.push(Mount::file_system("tmpfs", "/dev", NOSUID, "mode=755,size=65536k")?);
    let devpts = "newinstance,ptmxmode=0666,mode=0620";
    let devpts = if gid_5 { format!("{devpts},gid=5") } else { devpts.to_owned() };
    mounts.push(Mount::file_system("devpts", "/dev/pts", NOSUID | NOEXEC, &devpts)?);
    mounts.push(Mount::file_system("tmpfs", "/dev/shm", quiet, "mode=1777,size=65536k")?);
    if mqueue {
        mounts.push(Mount::file_system("mqueue", "/dev/mqueue", quiet, "")?);
    }
    mounts.push(if sysfs {
        Mount::file_system("sysfs", "/sys", quiet | RDONLY, "")?
    } else {
        // sysfs shows network devices, so a new one may only be mounted by the owner of the network
        // namespace. Without one, the host's is shown, read-only.
        Mount::bind(Path::new("/sys"), "/sys", quiet | RDONLY)?
    });
    Ok(mounts)
}
// ANCHOR_END: standard

/// A device node that every container has: name below /dev, major, minor.
pub type DeviceNumber = (&'static str, u32, u32);

/// The devices without which programs fail, none of which leads out of the container.
pub const DEVICES: [DeviceNumber; 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// The symbolic links in /dev: name and target.
pub const DEVICE_LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

// ANCHOR: masked
/// Parts of /proc and /sys that tell about, or change, the whole machine: hidden, as Docker does.
pub const MASKED: [&str; 10] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
// ANCHOR_END: masked

/// Parts of /proc that may be read, but written by the host only.
pub const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_absolute_and_has_no_dot_dot() {
        let target = Target::new("/dev//pts/").unwrap();
        let prefixes: Vec<_> =
            target.prefixes().iter().map(|(path, _)| path.to_str().unwrap()).collect();
        assert_eq!(prefixes, ["dev", "dev/pts"]);
        for (path, why) in [("dev", "begin with /"), ("/", "root itself"), ("/a/../b", "`..`")] {
            let error = Target::new(path).unwrap_err().to_string();
            assert!(error.contains(why), "{path}: {error}");
        }
    }

    #[test]
    fn options_are_split_as_mount_does() {
        let mount = Mount::file_system("tmpfs", "/tmp", 0, "mode=755,size=1m,noswap").unwrap();
        let Source::FileSystem { options, .. } = mount.source else { panic!("a file system") };
        assert_eq!(options.len(), 3);
        assert_eq!(options[2], (CString::new("noswap").unwrap(), None));
    }
}
