//! What goes wrong in a build: always with the place in the Dockerfile where there is one.

use std::fmt;
use std::path::{Path, PathBuf};

use corten_registry::notice;

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A place in a Dockerfile, with the lines around it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The file, as the user named it.
    pub file: String,
    /// The first line, from 1.
    pub line: usize,
    /// The column of its first character, from 1.
    pub column: usize,
    /// The last line.
    pub end: usize,
    /// Lines to show, with their numbers.
    pub lines: Vec<(usize, String)>,
}

impl Place {
    /// The lines as they are shown below a message.
    fn context(&self) -> String {
        let width = self.lines.last().map_or(1, |(number, _)| number.to_string().len());
        let mut text = String::new();
        for (number, line) in &self.lines {
            let here = (self.line..=self.end).contains(number);
            let mark = if here { ">" } else { " " };
            text.push_str(&format!("\n{mark} {number:width$} | {line}"));
            if *number == self.line && here && self.line == self.end {
                let at = " ".repeat(self.column.saturating_sub(1));
                text.push_str(&format!("\n  {:width$} | {at}^", ""));
            }
        }
        text
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Everything that this crate reports.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A Dockerfile that breaks its grammar.
    #[error("{place}: {message}{}", .place.context())]
    Syntax {
        /// Where.
        place: Box<Place>,
        /// What is wrong, in Docker's words, and what would be right.
        message: String,
    },
    /// A command of `RUN` that did not end with 0.
    #[error("{place}: `{command}` ended with {status}{}{remedy}", .place.context())]
    Failed {
        /// Where.
        place: Box<Place>,
        /// What was run.
        command: String,
        /// Its exit status; 128 and the signal's number where one has killed it.
        status: i32,
        /// What can be done.
        remedy: String,
        /// The image of what it has made until then, where that was asked for.
        kept: Option<String>,
    },
    /// A step that could not be done.
    #[error("{place}: {source}{}", .place.context())]
    Step {
        /// Where.
        place: Box<Place>,
        /// Why.
        source: Box<Error>,
    },
    /// Something that the user wrote, or that the context holds.
    #[error("{what}: {why}")]
    Invalid {
        /// What it is.
        what: String,
        /// What is wrong with it, and what would be right.
        why: String,
    },
    /// In the words of Docker's builder, which clients know.
    #[error("{message}")]
    Refused {
        /// The sentence.
        message: String,
    },
    /// A call of the kernel.
    #[error("{operation} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// With what.
        path: PathBuf,
        /// What it answered.
        source: std::io::Error,
    },
    /// Chapter 1: a path in a root.
    #[error(transparent)]
    Kernel(#[from] corten_namespaces::Error),
    /// Chapter 3: a layer.
    #[error(transparent)]
    Layers(#[from] corten_unionfs::Error),
    /// Chapter 6: an image, the content store.
    #[error(transparent)]
    Registry(Box<corten_registry::Error>),
    /// Chapter 6: an image that a step stands on, or copies from.
    #[error("{source}")]
    Base {
        /// Its name.
        name: Box<corten_registry::Reference>,
        /// Why it is not to be had.
        source: Box<corten_registry::Error>,
    },
    /// Who runs the commands could not.
    #[error("{source}")]
    Runner {
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Somebody has ended the build.
    #[error("the build was interrupted; what was done until then is in the cache")]
    Cancelled,
}

impl From<corten_registry::Error> for Error {
    fn from(error: corten_registry::Error) -> Error {
        Error::Registry(Box::new(error))
    }
}

impl Error {
    /// An [`Error::Invalid`].
    pub fn invalid(what: impl Into<String>, why: impl Into<String>) -> Error {
        Error::Invalid { what: what.into(), why: why.into() }
    }

    /// An [`Error::Refused`].
    pub fn refused(message: impl Into<String>) -> Error {
        Error::Refused { message: message.into() }
    }

    /// Who runs commands could not.
    pub fn runner(source: impl std::error::Error + Send + Sync + 'static) -> Error {
        Error::Runner { source: Box::new(source) }
    }

    /// Adds a place, where the error has none yet.
    #[must_use]
    pub fn at(self, place: &Place) -> Error {
        match self {
            Error::Failed { command, status, remedy, kept, .. } => {
                Error::Failed { place: Box::new(place.clone()), command, status, remedy, kept }
            }
            Error::Syntax { .. } | Error::Step { .. } | Error::Cancelled => self,
            other => Error::Step { place: Box::new(place.clone()), source: Box::new(other) },
        }
    }

    /// Whether somebody has ended the build.
    pub fn is_cancelled(&self) -> bool {
        match self {
            Error::Cancelled => true,
            Error::Step { source, .. } => source.is_cancelled(),
            _ => false,
        }
    }

    /// What `errorDetail` of the Engine API has as `code`: the status of a command that failed.
    pub fn code(&self) -> Option<i32> {
        match self {
            Error::Failed { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// As Docker's classic builder says it: one line, without the place.
    pub fn classic(&self) -> String {
        match self {
            Error::Syntax { place, message } => {
                format!("dockerfile parse error line {}: {message}", place.line)
            }
            Error::Failed { command, status, .. } => {
                format!("The command '{command}' returned a non-zero code: {status}")
            }
            Error::Step { source, .. } => source.classic(),
            Error::Base { name, source } => {
                notice::refusal(name, source).unwrap_or_else(|| source.to_string())
            }
            other => other.to_string(),
        }
    }
}

/// Adds the operation and the path to an error of the kernel.
pub(crate) trait At<T> {
    fn at(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T> At<T> for std::io::Result<T> {
    fn at(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|source| Error::Io { operation, path: path.as_ref().to_owned(), source })
    }
}

impl<T> At<T> for nix::Result<T> {
    fn at(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(std::io::Error::from).at(operation, path)
    }
}
