//! What goes wrong, said so that the reader can mend it: the operation, the path, the errno by name
//! and, where there is one, the remedy.

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
        /// The limit or argument, as the user knows it.
        what: String,
        /// What is wrong with it, and what would be right.
        why: String,
    },
    /// A limit was asked for that this machine cannot set.
    #[error("{limit}: {why}")]
    Unavailable {
        /// The limit.
        limit: String,
        /// What is missing, and what to do about it.
        why: String,
    },
    /// The verifier refused the device program: a bug of ours.
    #[error("load the device program: {} (the kernel's verifier: {log})", errno_name(*.errno))]
    Verifier {
        /// What bpf(2) answered.
        errno: Errno,
        /// The last line of the verifier's log.
        log: String,
    },
    /// A program cannot be found (exit code 127) or executed (126).
    #[error("{command}: {}", errno_name(*.errno))]
    Execute {
        /// `argv[0]` as given.
        command: String,
        /// What execve(2) answered.
        errno: Errno,
    },
    /// systemd refused, or could not be asked.
    #[error("systemd: {operation}: {message}")]
    Systemd {
        /// What was asked of it.
        operation: String,
        /// Its answer.
        message: String,
    },
}

impl Error {
    /// An [`Error::Invalid`].
    pub fn invalid(what: impl Into<String>, why: impl Into<String>) -> Self {
        Error::Invalid { what: what.into(), why: why.into() }
    }

    /// An [`Error::Unavailable`].
    pub fn unavailable(limit: impl Into<String>, why: impl Into<String>) -> Self {
        Error::Unavailable { limit: limit.into(), why: why.into() }
    }

    /// The exit status that Docker and the shell use for this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Execute { errno: Errno::ENOENT, .. } => 127,
            Error::Execute { .. } => 126,
            _ => 125,
        }
    }

    /// The errno behind this error, where the kernel gave one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Error::Kernel(error) => Some(error.errno),
            Error::Verifier { errno, .. } | Error::Execute { errno, .. } => Some(*errno),
            _ => None,
        }
    }
}

/// A system call that failed.
#[derive(Debug, Clone)]
pub struct KernelError {
    /// What was tried, beginning with the verb: `write 64m to`, `mkdir`.
    pub operation: String,
    /// What it was applied to.
    pub path: Option<PathBuf>,
    /// What the kernel answered.
    pub errno: Errno,
    /// What the reader can do about it.
    pub remedy: Option<String>,
}

impl KernelError {
    /// With the remedy that operation, file and errno suggest.
    pub fn new(operation: impl Into<String>, path: Option<&Path>, errno: Errno) -> Self {
        let operation = operation.into();
        let file = path.and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        let remedy = remedy(&operation, &file, errno).map(str::to_owned);
        KernelError { operation, path: path.map(Path::to_path_buf), errno, remedy }
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
    format!("{errno:?}")
}

/// What usually lies behind an errno of `operation` on a control group's `file`.
pub fn remedy(operation: &str, file: &str, errno: Errno) -> Option<&'static str> {
    match (errno, file) {
        (Errno::EBUSY, "cgroup.subtree_control") => Some(
            "a group that holds processes gives no controllers to its children: move its \
             processes into a child first",
        ),
        (Errno::EBUSY, "memory.limit_in_bytes" | "memory.memsw.limit_in_bytes") => {
            Some("more than that is in use and could not be reclaimed")
        }
        (Errno::EBUSY, file) if file == "cgroup.procs" || operation.starts_with("clone") => {
            Some("processes cannot enter a group that gives controllers to its children")
        }
        (Errno::EBUSY, _) if operation.starts_with("rmdir") => {
            Some("processes or groups are still in it")
        }
        (Errno::ENOSPC, "cgroup.procs") => Some("the group's cpuset.cpus or cpuset.mems is empty"),
        (Errno::EAGAIN, _) if operation.starts_with("clone") => {
            Some("pids.max of a group, or RLIMIT_NPROC, is reached")
        }
        (Errno::EOPNOTSUPP, "cgroup.procs") => {
            Some("the group is threaded, or below a threaded one: see cgroup.type")
        }
        (Errno::ESRCH, _) => Some("no such process"),
        (Errno::ENODEV, "cgroup.procs" | "memory.events" | "memory.oom_control") => {
            Some("the group has been removed")
        }
        (Errno::ENODEV, _) => Some("no such device"),
        (Errno::EPERM | Errno::EACCES, _) => Some(
            "needs root, or a group that was delegated to this user; in the lab VM: ./x lab shell",
        ),
        (Errno::EROFS, _) => {
            Some("the control groups are mounted read-only, as they are inside a container")
        }
        (Errno::ENOENT, _) if operation.starts_with("write") || operation.starts_with("read") => {
            Some("this kernel, or this group without the controller, has no such file")
        }
        (Errno::ENOENT, _) => Some("no such group"),
        (Errno::EINVAL, _) if operation.starts_with("write") => {
            Some("the kernel does not take this value")
        }
        (Errno::ERANGE | Errno::EDOM, _) => Some("the value is out of range"),
        _ => None,
    }
}

/// Adds the operation and the path to a bare errno.
pub trait Context<T> {
    /// Names the operation and its object.
    ///
    /// # Errors
    /// The same failure, as [`KernelError`].
    fn on(self, operation: &str, path: impl AsRef<Path>) -> Result<T>;

    /// Names an operation that has no object.
    ///
    /// # Errors
    /// The same failure, as [`KernelError`].
    fn during(self, operation: &str) -> Result<T>;
}

impl<T> Context<T> for std::result::Result<T, Errno> {
    fn on(self, operation: &str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|errno| KernelError::new(operation, Some(path.as_ref()), errno).into())
    }

    fn during(self, operation: &str) -> Result<T> {
        self.map_err(|errno| KernelError::new(operation, None, errno).into())
    }
}

impl<T> Context<T> for std::io::Result<T> {
    fn on(self, operation: &str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|error| errno_of(&error)).on(operation, path)
    }

    fn during(self, operation: &str) -> Result<T> {
        self.map_err(|error| errno_of(&error)).during(operation)
    }
}

/// The errno behind an error of the standard library.
pub fn errno_of(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_operation_path_errno_and_remedy() {
        let error = Err::<(), _>(Errno::EBUSY).on("write +memory to", "/g/cgroup.subtree_control");
        let text = error.unwrap_err().to_string();
        let start = "write +memory to /g/cgroup.subtree_control: EBUSY (a group that holds";
        assert!(text.starts_with(start), "{text}");
    }

    #[test]
    fn exit_codes_are_the_shell_s() {
        let missing = Error::Execute { command: "nope".into(), errno: Errno::ENOENT };
        assert_eq!((missing.exit_code(), &*missing.to_string()), (127, "nope: ENOENT"));
        assert_eq!(Error::invalid("a", "b").exit_code(), 125);
    }
}
