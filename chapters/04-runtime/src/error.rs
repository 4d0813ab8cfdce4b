//! What goes wrong, said so that the caller can tell what to do, and in the words that the callers
//! of OCI runtimes look for.

use std::path::PathBuf;

use crate::container::Status;

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that this crate reports.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused a system call, or chapter 1 refused an argument.
    #[error(transparent)]
    Namespaces(#[from] corten_namespaces::Error),
    /// Control groups.
    #[error(transparent)]
    Cgroup(#[from] crate::cgroup::Error),
    /// A field of config.json, or an argument, is malformed.
    #[error("{what}: {why}")]
    Invalid {
        /// The field or argument.
        what: String,
        /// What is wrong with it, and what would be right.
        why: String,
    },
    /// A file of JSON cannot be understood.
    #[error("{}: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// There is no container of this name.
    #[error("container {id} does not exist")]
    NotFound {
        /// Its name.
        id: String,
    },
    /// There is one already.
    #[error("container with id {id} already exists: delete it first, or choose another id")]
    Exists {
        /// Its name.
        id: String,
    },
    /// Somebody else is at work on it.
    #[error("container {id} is in use by another corten-runtime: try again when that has ended")]
    Busy {
        /// Its name.
        id: String,
    },
    /// The operation does not fit the container's status.
    #[error("cannot {operation} container {id}: it is {status}{hint}")]
    Status {
        /// What was asked for.
        operation: &'static str,
        /// The container.
        id: String,
        /// What it is.
        status: Status,
        /// What would help, beginning with `, `.
        hint: &'static str,
    },
    /// What the process in the container reported before it ended.
    #[error("{message}")]
    Container {
        /// Its sentence.
        message: String,
        /// 127 for a program that is not there, 126 for one that cannot be executed.
        code: u8,
    },
    /// The process in the container ended without a report.
    #[error("the container's process ended before its program ran: {how}")]
    Died {
        /// By which status or signal.
        how: String,
    },
    /// A hook failed.
    #[error("{kind} hook {}: {why}", path.display())]
    Hook {
        /// `prestart`, `createRuntime`, …
        kind: &'static str,
        /// The program.
        path: PathBuf,
        /// Its status, or that it took too long.
        why: String,
    },
    /// A helper program (`criu`, `ps`) failed.
    #[error("{program}: {why}")]
    Helper {
        /// The program.
        program: &'static str,
        /// What it said.
        why: String,
    },
}

impl Error {
    /// An [`Error::Invalid`].
    pub fn invalid(what: impl Into<String>, why: impl Into<String>) -> Error {
        Error::Invalid { what: what.into(), why: why.into() }
    }

    /// The exit status: 127 where the program is not there, 126 where it cannot be executed, 1 for
    /// everything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Container { code, .. } => *code,
            _ => 1,
        }
    }

    /// The errno behind it, where the kernel gave one.
    pub fn errno(&self) -> Option<nix::errno::Errno> {
        match self {
            Error::Namespaces(error) => error.errno(),
            _ => None,
        }
    }
}
