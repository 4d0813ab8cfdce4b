//! What goes wrong, said with the operation, the path and the errno.

use std::io;
use std::path::{Path, PathBuf};

use corten_namespaces::error::{errno_of, said};
use nix::errno::Errno;

use crate::protocol::{Code, Failure};

/// The result of this crate's operations.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure of the supervisor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call on a path failed.
    #[error("{operation} {}: {}", path.display(), said(operation, errno_of(source)))]
    Path {
        /// What was tried: a verb, like `open`.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// The errno.
        source: io::Error,
    },
    /// A system call failed.
    #[error("{operation}: {}", said(operation, *errno))]
    Kernel {
        /// What was tried.
        operation: &'static str,
        /// The errno.
        errno: Errno,
    },
    /// A file of JSON cannot be understood.
    #[error("{}: not what Corten writes: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A packet cannot be understood.
    #[error("a packet of the other side: {0}")]
    Packet(serde_json::Error),
    /// Chapter 4's runtime refused.
    #[error(transparent)]
    Runtime(#[from] corten_runtime::Error),
    /// Chapter 3 could not mount the root.
    #[error(transparent)]
    Layers(#[from] corten_unionfs::Error),
    /// Chapter 1 refused.
    #[error(transparent)]
    Namespaces(#[from] corten_namespaces::Error),
    /// The supervisor has answered with a failure.
    #[error("{}", .0.message)]
    Refused(Failure),
    /// A field or argument is malformed.
    #[error("{what}: {why}")]
    Invalid {
        /// Which.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// Options of a log driver that dockerd refuses, in its words: clients and test suites know them.
    #[error("{message}")]
    LogOptions {
        /// The sentence.
        message: String,
    },
    /// There is no container of this name.
    #[error("no supervisor for container {id}")]
    NoSupervisor {
        /// Its name.
        id: String,
    },
    /// There is no exec of this number.
    #[error("there is no exec {number}: it has ended, and was waited for")]
    NoExec {
        /// Its number.
        number: u32,
    },
    /// The container is not in the state that the operation needs.
    #[error("cannot {operation}: the container {state}")]
    State {
        /// What was tried.
        operation: &'static str,
        /// What it is doing.
        state: &'static str,
    },
    /// The supervisor has gone away in the middle.
    #[error("the supervisor of container {id} has ended without an answer{why}")]
    Gone {
        /// The container.
        id: String,
        /// What it wrote last: empty, or with a colon before it.
        why: String,
    },
}

impl Error {
    /// A failed system call on `path`.
    pub fn path(operation: &'static str, path: &Path, source: io::Error) -> Error {
        Error::Path { operation, path: path.to_path_buf(), source }
    }

    /// Something malformed.
    pub fn invalid(what: impl Into<String>, why: impl Into<String>) -> Error {
        Error::Invalid { what: what.into(), why: why.into() }
    }

    /// The errno, where a system call failed.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Error::Kernel { errno, .. } => Some(*errno),
            Error::Path { source, .. } => source.raw_os_error().map(Errno::from_raw),
            _ => None,
        }
    }

    /// As it is told to a client.
    pub fn failure(&self) -> Failure {
        let (code, status) = match self {
            Error::Refused(failure) => return failure.clone(),
            Error::State { .. } => (Code::State, None),
            Error::Runtime(corten_runtime::Error::Status { .. }) => (Code::State, None),
            Error::Invalid { .. } | Error::LogOptions { .. } | Error::Packet(_) => {
                (Code::Invalid, None)
            }
            Error::NoSupervisor { .. } | Error::NoExec { .. } => (Code::NotFound, None),
            // Not found and not executable are the program's, everything else is ours.
            Error::Runtime(error) => match error.exit_code() {
                status @ (126 | 127) => (Code::Failed, Some(status)),
                _ => (Code::Failed, Some(125)),
            },
            _ => (Code::Failed, Some(125)),
        };
        Failure { code, message: self.to_string(), status }
    }
}

/// Names the operation that failed.
pub trait Context<T> {
    /// Says what was tried.
    ///
    /// # Errors
    /// The same, with the name.
    fn during(self, operation: &'static str) -> Result<T>;
}

impl<T> Context<T> for nix::Result<T> {
    fn during(self, operation: &'static str) -> Result<T> {
        self.map_err(|errno| Error::Kernel { operation, errno })
    }
}

impl<T> Context<T> for io::Result<T> {
    fn during(self, operation: &'static str) -> Result<T> {
        self.map_err(|error| Error::Kernel { operation, errno: errno_of(&error) })
    }
}
