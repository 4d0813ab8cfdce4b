//! What can go wrong in this crate.

use std::io;
use std::path::{Path, PathBuf};

/// The result of this crate's operations.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure of the supervisor.
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
}

impl Error {
    /// A failed system call on `path`.
    pub fn path(operation: &'static str, path: &Path, source: io::Error) -> Error {
        Error::Path { operation, path: path.to_path_buf(), source }
    }
}
