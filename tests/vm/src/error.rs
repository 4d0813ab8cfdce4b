//! What goes wrong with a virtual machine, said so that the reader can mend it.

use std::path::{Path, PathBuf};

use crate::Outcome;

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that this crate reports.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call on a file or process failed.
    #[error("{operation} {}: {source}", path.display())]
    Io {
        /// What was tried, beginning with the verb.
        operation: &'static str,
        /// What it was applied to.
        path: PathBuf,
        /// What the kernel answered.
        source: std::io::Error,
    },
    /// A program that the harness needs is not installed.
    #[error("{program}: not found ({remedy})")]
    Missing {
        /// The program.
        program: String,
        /// How to get it.
        remedy: String,
    },
    /// A program that the harness ran has failed.
    #[error("{program}: {message}")]
    Program {
        /// The program and what it was to do.
        program: String,
        /// The end of what it printed.
        message: String,
    },
    /// This distribution's kernel packages are not known, or lack what the VM needs.
    #[error("kernel {kernel}: {why}")]
    Kernel {
        /// The kernel that was asked for.
        kernel: String,
        /// Why there is none, and what helps.
        why: String,
    },
    /// What the caller asked for contradicts itself.
    #[error("{what}: {why}")]
    Invalid {
        /// The option or value.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// The VM ended otherwise than asked: a panic, a limit, a lost QEMU. What was seen until then
    /// is in the outcome.
    #[error("{}", .0.obituary())]
    Died(Box<Outcome>),
}

impl Error {
    /// An [`Error::Invalid`].
    pub(crate) fn invalid(what: impl Into<String>, why: impl Into<String>) -> Self {
        Error::Invalid { what: what.into(), why: why.into() }
    }
}

/// Adds the operation and the path to a bare I/O error.
pub(crate) trait Context<T> {
    fn on(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T> Context<T> for std::io::Result<T> {
    fn on(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|source| Error::Io { operation, path: path.as_ref().to_path_buf(), source })
    }
}

impl<T> Context<T> for nix::Result<T> {
    fn on(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(std::io::Error::from).on(operation, path)
    }
}
