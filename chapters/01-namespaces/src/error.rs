//! What goes wrong, said so that the reader can mend it.
//!
//! Every error names the operation, what it was applied to, the errno by name and, where there is
//! one, the remedy: `mount proc on /proc: EPERM (needs CAP_SYS_ADMIN: run as root, or in the lab VM
//! with ./x lab shell)`.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that this crate reports.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused a system call.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// What the caller asked for is malformed, before any system call was made.
    #[error("{what}: {why}")]
    Invalid {
        /// The argument or field, as the user wrote it.
        what: String,
        /// What is wrong with it, and what would be right.
        why: String,
    },
    /// The program cannot be found in the container (exit code 127).
    #[error("{command}: command not found in the container{hint}", hint = hint(.searched))]
    CommandNotFound {
        /// `argv[0]` as given.
        command: String,
        /// The `PATH` that was searched, empty where `command` has a slash.
        searched: String,
    },
    /// The program is there, but what should run it is not (exit code 127).
    #[error(
        "{command}: the file is there, but the interpreter that its first line (#!) or its ELF \
         header names is not in the container"
    )]
    InterpreterMissing {
        /// `argv[0]` as given.
        command: String,
    },
    /// The program is there but cannot be executed (exit code 126).
    #[error("{command}: {}: {why}", errno_name(*.errno))]
    CannotExecute {
        /// `argv[0]` as given.
        command: String,
        /// What execve(2) answered.
        errno: Errno,
        /// What that errno means here.
        why: &'static str,
    },
    /// A user without root has no namespaces to be root in.
    #[error("not root, and without root: {why} ({remedy})")]
    Rootless {
        /// What is missing or wrong.
        why: String,
        /// Who can mend it, and how.
        remedy: String,
    },
    /// A helper program (`newuidmap`, `newgidmap`) failed.
    #[error("{program}: {message}")]
    Helper {
        /// The program that was run.
        program: &'static str,
        /// What it printed, or why it could not be started.
        message: String,
    },
}

fn hint(searched: &str) -> String {
    if searched.is_empty() { String::new() } else { format!(" (searched PATH={searched})") }
}

impl Error {
    /// An [`Error::Invalid`].
    pub fn invalid(what: impl Into<String>, why: impl Into<String>) -> Self {
        Error::Invalid { what: what.into(), why: why.into() }
    }

    /// The exit status that Docker and the shell use for this error: 127 when the command is not
    /// there, 126 when it cannot be executed, 125 for everything that is the engine's own.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::CommandNotFound { .. } | Error::InterpreterMissing { .. } => 127,
            Error::CannotExecute { .. } => 126,
            _ => 125,
        }
    }

    /// The errno behind this error, where the kernel gave one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Error::Kernel(error) => Some(error.errno),
            Error::CannotExecute { errno, .. } => Some(*errno),
            _ => None,
        }
    }
}

/// A system call that failed: the operation, the path it was about, and the errno.
#[derive(Debug, Clone)]
pub struct KernelError {
    /// What was tried, beginning with the verb: `mount proc`, `open`, `clone3`.
    pub operation: String,
    /// What it was applied to.
    pub path: Option<PathBuf>,
    /// What the kernel answered.
    pub errno: Errno,
    /// What the reader can do about it; filled from [`remedy`] where the caller knows no better.
    pub remedy: Option<String>,
}

impl KernelError {
    /// The remedy is looked up by errno; [`KernelError::with_remedy`] replaces it.
    pub fn new(operation: impl Into<String>, path: Option<&Path>, errno: Errno) -> Self {
        let operation = operation.into();
        let remedy = remedy(&operation, errno).map(str::to_owned);
        KernelError { operation, path: path.map(Path::to_path_buf), errno, remedy }
    }

    /// Replaces the remedy with one that fits the place better.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.operation)?;
        if let Some(path) = &self.path {
            write!(f, " {}", path.display())?;
        }
        write!(f, ": {}", errno_name(self.errno))?;
        if let Some(remedy) = &self.remedy {
            write!(f, " ({remedy})")?;
        }
        Ok(())
    }
}

impl std::error::Error for KernelError {}

/// `EPERM` for `Errno::EPERM`.
pub fn errno_name(errno: Errno) -> String {
    // nix derives Debug with the kernel's own names.
    format!("{errno:?}")
}

/// The errno's name and, where there is one, the remedy: `ENOSPC (the disk is full: …)`.
pub fn said(operation: &str, errno: Errno) -> String {
    let name = errno_name(errno);
    remedy(operation, errno).map_or(name.clone(), |remedy| format!("{name} ({remedy})"))
}

/// What usually lies behind an errno of `operation`, or `None` where only the caller can know.
pub fn remedy(operation: &str, errno: Errno) -> Option<&'static str> {
    let namespace = operation.starts_with("clone3") || operation.starts_with("unshare");
    let process = ["clone3", "fork", "start"].iter().any(|verb| operation.starts_with(verb));
    match errno {
        Errno::EPERM if operation.contains("user namespace") => Some(
            "user namespaces are forbidden here: see `sysctl kernel.apparmor_restrict_unprivileged_userns \
             kernel.unprivileged_userns_clone`, run as root, or use the lab VM: ./x lab shell",
        ),
        Errno::EPERM => Some(
            "needs CAP_SYS_ADMIN: run as root, add --map-root, or use the lab VM: ./x lab shell",
        ),
        Errno::ENOSPC if namespace => Some(
            "a namespace limit is reached: see /proc/sys/user/max_*_namespaces, and at most 32 levels \
             of user and pid namespaces nest",
        ),
        Errno::ENOSPC => {
            Some("the disk is full: `df -h` shows which, `df -i` whether it lacks inodes")
        }
        Errno::EDQUOT => Some("the quota of the disk is used up"),
        Errno::EMFILE => Some("too many open files in this process: see `ulimit -n`"),
        Errno::ENFILE => Some("too many open files on this machine: see /proc/sys/fs/file-max"),
        Errno::EAGAIN if process => Some(
            "no more processes are allowed: see pids.max of this control group, `ulimit -u` and \
             /proc/sys/kernel/pid_max",
        ),
        Errno::ENOMEM => Some("no memory is left, on this machine or in this control group"),
        Errno::ENOTCONN if !operation.contains("socket") => Some(
            "the program that serves this file system (FUSE) has ended: end what uses it and mount it again",
        ),
        Errno::ENODEV => {
            Some("this kernel was built without that file system: see /proc/filesystems")
        }
        Errno::ESRCH => Some("no such process"),
        Errno::ENOENT => Some("no such file or directory"),
        Errno::ENOTDIR => Some("a component of the path is not a directory"),
        Errno::EACCES => Some("permission denied: check the mode of every directory on the path"),
        Errno::ELOOP => Some("too many symbolic links, or a link where none may be"),
        Errno::EROFS => Some("the file system is read-only"),
        Errno::ENOSYS => {
            Some("this kernel lacks the system call: Corten needs Linux 5.15 or newer")
        }
        _ => None,
    }
}

/// Adds the operation and the path to a bare errno.
pub trait Context<T> {
    /// Names the operation and its object.
    ///
    /// # Errors
    /// The same failure, as [`KernelError`].
    fn on(self, operation: &str, path: impl AsRef<OsStr>) -> Result<T>;

    /// Names an operation that has no object.
    ///
    /// # Errors
    /// The same failure, as [`KernelError`].
    fn during(self, operation: &str) -> Result<T>;
}

impl<T> Context<T> for std::result::Result<T, Errno> {
    fn on(self, operation: &str, path: impl AsRef<OsStr>) -> Result<T> {
        self.map_err(|errno| {
            KernelError::new(operation, Some(Path::new(path.as_ref())), errno).into()
        })
    }

    fn during(self, operation: &str) -> Result<T> {
        self.map_err(|errno| KernelError::new(operation, None, errno).into())
    }
}

impl<T> Context<T> for std::io::Result<T> {
    fn on(self, operation: &str, path: impl AsRef<OsStr>) -> Result<T> {
        self.map_err(|e| errno_of(&e)).on(operation, path)
    }

    fn during(self, operation: &str) -> Result<T> {
        self.map_err(|e| errno_of(&e)).during(operation)
    }
}

/// The errno of an I/O error; `EIO` where the kernel gave none.
pub fn errno_of(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_operation_path_errno_and_remedy() {
        let error = Err::<(), _>(Errno::EPERM).on("mount proc on", "/proc").unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("mount proc on /proc: EPERM (needs CAP_SYS_ADMIN"), "{text}");
        assert_eq!(error.exit_code(), 125);
    }

    #[test]
    fn a_missing_command_is_127_and_says_where_it_was_searched() {
        let error = Error::CommandNotFound { command: "nope".into(), searched: "/bin".into() };
        assert_eq!(error.exit_code(), 127);
        assert_eq!(
            error.to_string(),
            "nope: command not found in the container (searched PATH=/bin)"
        );
    }
}
