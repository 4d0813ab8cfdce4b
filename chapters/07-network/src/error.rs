//! What goes wrong, said with the operation, the path and the errno.

use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

/// The result of this crate's operations.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure of the network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call on a path failed.
    #[error("{operation} {}: {source}", path.display())]
    Path {
        /// What was tried: a verb, like `open`.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// The errno.
        source: io::Error,
    },
    /// A system call failed.
    #[error("{operation}: {}", corten_namespaces::error::errno_name(*errno))]
    Kernel {
        /// What was tried.
        operation: &'static str,
        /// The errno.
        errno: Errno,
    },
    /// A file of JSON cannot be understood.
    #[error("{}: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// Chapter 4 refused.
    #[error(transparent)]
    Runtime(#[from] corten_runtime::Error),
    /// A field or argument is malformed.
    #[error("{what}: {why}")]
    Invalid {
        /// Which.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// The process that resolves a network's names does not answer.
    #[error("the name server of network {network}: {why}")]
    NameServer {
        /// The network.
        network: String,
        /// What is known of it.
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
}

/// Adds the operation to a bare errno.
pub trait Context<T> {
    /// Names an operation that has no path.
    ///
    /// # Errors
    /// The same failure, as [`Error::Kernel`].
    fn during(self, operation: &'static str) -> Result<T>;
}

impl<T> Context<T> for nix::Result<T> {
    fn during(self, operation: &'static str) -> Result<T> {
        self.map_err(|errno| Error::Kernel { operation, errno })
    }
}

impl<T> Context<T> for io::Result<T> {
    fn during(self, operation: &'static str) -> Result<T> {
        self.map_err(|error| {
            let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
            Error::Kernel { operation, errno }
        })
    }
}
