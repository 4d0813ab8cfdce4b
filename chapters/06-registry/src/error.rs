//! What goes wrong, said so that the reader can mend it: the URL, the status, the registry's own
//! words, and the remedy; or the path and the errno (by chapter 1's [`corten_namespaces::Error`]).

use std::io;
use std::path::Path;

use corten_namespaces::error::Context as _;

use crate::digest::Digest;
use crate::platform::Platform;

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that this crate reports.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file system operation of the store failed.
    #[error(transparent)]
    Kernel(#[from] corten_namespaces::Error),
    /// An image name, digest or platform that breaks the grammar.
    #[error("invalid {what} {text:?}: {why}")]
    Invalid {
        /// What the text was meant to be: `image reference`, `digest`, `platform`.
        what: &'static str,
        /// The text as given.
        text: String,
        /// What is wrong with it, and what would be right.
        why: String,
    },
    /// The registry, or a token server on its behalf, answered with a failure.
    #[error(transparent)]
    Refused(#[from] Box<Refusal>),
    /// No answer, or an answer that broke off.
    #[error("{method} {url}: {why}{}", in_brackets(.remedy))]
    Network {
        /// The request's method.
        method: &'static str,
        /// The full URL, without credentials.
        url: String,
        /// What happened.
        why: String,
        /// What the reader can do, empty where there is nothing to say.
        remedy: String,
    },
    /// The answer came, and is not what the protocol allows.
    #[error("{url}: {why}")]
    Protocol {
        /// The full URL.
        url: String,
        /// What is wrong with the answer.
        why: String,
    },
    /// Content whose digest is not the one it was asked for by.
    #[error(
        "{what}: the content's digest is {got}, expected {expected}: it was altered or damaged on \
         the way; nothing was kept"
    )]
    WrongDigest {
        /// What was read.
        what: String,
        /// The digest that names it.
        expected: Digest,
        /// The digest of what came.
        got: Digest,
    },
    /// Content that is shorter or longer than its descriptor says.
    #[error("{what}: {got}, expected {expected} bytes; nothing was kept")]
    WrongSize {
        /// What was read.
        what: String,
        /// The size in the descriptor.
        expected: u64,
        /// What came: `ended after 12 bytes`, `more than 12 bytes`.
        got: String,
    },
    /// A document above the limit that this crate reads into memory.
    #[error("{what} is larger than {limit} bytes, which no honest one is: refused")]
    TooLarge {
        /// The document.
        what: String,
        /// The limit.
        limit: u64,
    },
    /// A manifest, index, configuration or layout that is malformed.
    #[error("{what}: {why}")]
    Malformed {
        /// The document.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// Well-formed, but of a kind that Corten does not take.
    #[error("{what}: {why}")]
    Unsupported {
        /// The document or layer.
        what: String,
        /// What it is, and what can be done.
        why: String,
    },
    /// The image exists, but not for this platform.
    #[error("{what}: no image for platform {wanted}; there is: {}", listed(.available))]
    NoPlatform {
        /// The index.
        what: String,
        /// The platform that was asked for.
        wanted: Box<Platform>,
        /// What the index has instead.
        available: Vec<Platform>,
    },
    /// The policy does not let this image in.
    #[error("{name} is not trusted by {policy}: {why}")]
    Untrusted {
        /// The image's name.
        name: String,
        /// The policy's file, and the scope that decided.
        policy: String,
        /// What is missing or wrong.
        why: String,
    },
    /// The work was given up because of what went wrong elsewhere.
    #[error("given up, because another layer failed")]
    Stopped,
    /// The store has no image of that name or id.
    #[error("no image {name} in the store: see `corten images`, or `corten pull {name}`")]
    NoSuchImage {
        /// The name as given.
        name: String,
    },
    /// An id prefix that fits several images.
    #[error("image id {prefix} is ambiguous; give more digits: {}", .candidates.join(", "))]
    Ambiguous {
        /// The prefix as given.
        prefix: String,
        /// The ids that it fits.
        candidates: Vec<String>,
    },
    /// An image with several names was to be removed by its id.
    #[error("image {id} has several names: {}; remove them by name, or force", .names.join(", "))]
    SeveralNames {
        /// The short id.
        id: String,
        /// Its names.
        names: Vec<String>,
    },
}

/// A failure that a registry or a token server answered with.
#[derive(Debug, thiserror::Error)]
#[error("{method} {url}: {status}{}{}", registry_words(.code, .message), in_brackets(.remedy))]
pub struct Refusal {
    /// The request's method.
    pub method: &'static str,
    /// The full URL, without credentials.
    pub url: String,
    /// The HTTP status.
    pub status: u16,
    /// The registry's error code (`MANIFEST_UNKNOWN`), empty where it sent none.
    pub code: String,
    /// The registry's message, empty where it sent none.
    pub message: String,
    /// What the reader can do, empty where there is nothing to say.
    pub remedy: String,
}

impl Error {
    /// An [`Error::Invalid`].
    pub fn invalid(what: &'static str, text: impl Into<String>, why: impl Into<String>) -> Self {
        Error::Invalid { what, text: text.into(), why: why.into() }
    }

    /// An [`Error::Malformed`].
    pub fn malformed(what: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Error::Malformed { what: what.into(), why: why.to_string() }
    }

    /// Whether the reason is that the image or tag does not exist, in the store or the registry.
    pub fn is_not_found(&self) -> bool {
        match self {
            Error::NoSuchImage { .. } => true,
            Error::Refused(refusal) => refusal.status == 404,
            _ => false,
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self, Error::Stopped)
    }

    /// Whether what has come of a blob may be the beginning of the right one.
    pub(crate) fn is_worth_resuming(&self) -> bool {
        matches!(self, Error::Network { .. } | Error::Refused(_) | Error::Stopped)
    }

    /// The error that a reader of this crate wrapped into an [`io::Error`], or the I/O error of
    /// `operation` on `path`.
    pub(crate) fn from_io(error: io::Error, operation: &str, path: &Path) -> Error {
        match error.downcast::<Error>() {
            Ok(own) => own,
            Err(error) => match Err::<(), _>(error).on(operation, path) {
                Err(error) => error.into(),
                // `on` keeps an Err an Err.
                Ok(()) => Error::malformed(operation, path.display()),
            },
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        io::Error::other(error)
    }
}

/// Adds the operation and the path to an I/O error of the store.
pub(crate) trait At<T> {
    fn at(self, operation: &str, path: &Path) -> Result<T>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, operation: &str, path: &Path) -> Result<T> {
        self.map_err(|error| Error::from_io(error, operation, path))
    }
}

impl<T> At<T> for nix::Result<T> {
    fn at(self, operation: &str, path: &Path) -> Result<T> {
        Ok(self.on(operation, path)?)
    }
}

fn registry_words(code: &str, message: &str) -> String {
    match (code.is_empty(), message.is_empty()) {
        (true, true) => String::new(),
        (true, false) => format!(" {message}"),
        (false, true) => format!(" {code}"),
        (false, false) => format!(" {code}: {message}"),
    }
}

fn in_brackets(remedy: &str) -> String {
    if remedy.is_empty() { String::new() } else { format!(" ({remedy})") }
}

fn listed(platforms: &[Platform]) -> String {
    if platforms.is_empty() {
        return "none at all".to_owned();
    }
    platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
