//! What stops the tool itself, as opposed to a [`Finding`](crate::finding::Finding) in the book.

use std::path::{Path, PathBuf};

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that this crate reports.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or a process could not be used.
    #[error("{operation} {}: {source}", .path.display())]
    Io {
        /// What was tried, beginning with the verb.
        operation: &'static str,
        /// What it was applied to.
        path: PathBuf,
        /// What the system answered.
        source: std::io::Error,
    },
    /// A measurement file is not of the form that [`crate::measurement`] reads.
    #[error("{}: {why}", .path.display())]
    Measurement {
        /// The JSON file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// mdBook could not build the book.
    #[error("mdBook: {0}")]
    MdBook(String),
    /// The book has faults; they have been printed.
    #[error("{0} fault(s) in the book")]
    Faults(usize),
    /// A command line argument names nothing.
    #[error("{0}")]
    Usage(String),
    /// The browser could not be driven.
    #[error("browser: {0}")]
    Browser(String),
}

/// Adds the operation and the path to an I/O error.
pub trait Context<T> {
    /// Names the operation and its object.
    ///
    /// # Errors
    /// The same failure, as [`Error::Io`].
    fn on(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T> Context<T> for std::io::Result<T> {
    fn on(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|source| Error::Io { operation, path: path.as_ref().to_path_buf(), source })
    }
}
