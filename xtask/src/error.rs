//! What goes wrong in a task, said so that the reader can mend it.

use std::path::{Path, PathBuf};

/// The result type of the tasks.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that a task reports.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A task ended as it must not; the text says what and how to mend it.
    #[error("{0}")]
    Failed(String),
    /// A file could not be read or written.
    #[error("{operation} {}: {source}", .path.display())]
    File {
        /// What was tried: `read`, `write`, `create`.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system answered.
        source: std::io::Error,
    },
    /// A program could not be started.
    #[error("start {program}: {source}")]
    Start {
        /// The program.
        program: String,
        /// What the system answered.
        source: std::io::Error,
    },
    /// A program ended with a failure, which it has explained itself on standard error.
    #[error("{command}: {status}")]
    Ended {
        /// The program and its arguments.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
    },
}

impl Error {
    /// An [`Error::Failed`].
    pub fn failed(text: impl Into<String>) -> Error {
        Error::Failed(text.into())
    }
}

/// Adds the operation and the path to a bare I/O error.
pub trait OnPath<T> {
    /// Names the operation and the file.
    ///
    /// # Errors
    /// The same failure, as [`Error::File`].
    fn on(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T> OnPath<T> for std::io::Result<T> {
    fn on(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|source| Error::File { operation, path: path.as_ref().to_path_buf(), source })
    }
}
