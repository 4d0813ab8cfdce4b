//! What is mounted in a container, as data.
//!
//! Sources on the host are opened while the plan is made, in the caller's namespaces and with the
//! caller's rights, and cloned as detached mounts (open_tree(2)). The child only attaches what it
//! holds by descriptor: no path of the host is walked from inside, and none of the container's from
//! outside.

pub mod options;
mod plan;

use std::ffi::CString;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

pub use options::Options;
pub(crate) use plan::{Surroundings, plan};

use crate::error::{Error, Result};

/// A path in the container, for openat2(2) with RESOLVE_IN_ROOT. Unlike chapter 1's `Target` it may
/// be the root itself, and relative ones count from the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inside(PathBuf);

impl Inside {
    /// Checks `path`.
    ///
    /// # Errors
    /// [`Error::Invalid`] with a NUL byte.
    pub fn new(path: impl Into<PathBuf>) -> Result<Inside> {
        let path: PathBuf = path.into();
        if path.as_os_str().as_encoded_bytes().contains(&0) {
            return Err(Error::invalid(format!("path {path:?}"), "holds a NUL byte"));
        }
        Ok(Inside(Path::new("/").join(path)))
    }

    /// The path, absolute.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl fmt::Display for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

// ANCHOR: mount
/// One mount of a container.
#[derive(Debug)]
pub struct Mount {
    /// Where.
    pub target: Inside,
    /// What.
    pub source: Source,
    /// How.
    pub options: Options,
}

/// What is mounted.
#[derive(Debug)]
pub enum Source {
    /// A new file system: fsopen(2).
    FileSystem {
        /// `proc`, `tmpfs`, … (filesystems(5)).
        kind: CString,
        /// What mount(8) shows before `on`.
        device: CString,
    },
    /// A detached clone of something on the host: what a bind mount attaches.
    Tree {
        /// The clone.
        tree: OwnedFd,
        /// Where it comes from, for messages.
        from: PathBuf,
    },
    /// The control groups of the container, as they are found when the container has joined them.
    Cgroups(Vec<CgroupMount>),
    /// A symbolic link with this content, in the place of a mount (`copy-symlink`).
    Link(PathBuf),
}
// ANCHOR_END: mount

/// One control group hierarchy as it appears in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupMount {
    /// The name of its directory below the mount's target; empty for the target itself, as it is
    /// with cgroup v2 alone.
    pub name: String,
    /// Links to it: `cpu` for `cpu,cpuacct`.
    pub aliases: Vec<String>,
    /// The container's group, on the host.
    pub path: PathBuf,
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::FileSystem { kind, .. } => write!(f, "{}", kind.to_string_lossy())?,
            Source::Tree { from, .. } => write!(f, "bind {}", from.display())?,
            Source::Cgroups(_) => f.write_str("cgroup")?,
            Source::Link(to) => write!(f, "link {}", to.display())?,
        }
        write!(f, " on {}", self.target)
    }
}
