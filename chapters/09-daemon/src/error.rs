//! What keeps the daemon from serving at all.

use std::io;
use std::path::PathBuf;

/// The result type of this crate, but for answers.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that this crate reports to whoever starts a daemon.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file.
    #[error("{operation} {}: {source}", path.display())]
    Path {
        /// What was tried.
        operation: &'static str,
        /// With what.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A place to listen at.
    #[error("listen on {at}: {source}")]
    Listen {
        /// The place.
        at: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A daemon elsewhere.
    #[error("cannot connect to the daemon at {at}: {}", said(.source))]
    Connect {
        /// Where it should be.
        at: String,
        /// What the kernel, TLS or the daemon itself answered.
        source: io::Error,
    },
    /// An option, an argument or an entry of the configuration.
    #[error("{what}: {why}")]
    Invalid {
        /// Which, as it was written.
        what: String,
        /// What is wrong with it, and what would be right.
        why: String,
    },
    /// Keys and certificates.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// An errno by its name, with what can be done; everything else as it is.
fn said(error: &io::Error) -> String {
    use nix::errno::Errno;
    let Some(number) = error.raw_os_error() else { return error.to_string() };
    let errno = Errno::from_raw(number);
    match errno {
        Errno::ENOENT | Errno::ECONNREFUSED => {
            format!(
                "{errno:?} (is it running? start it with `corten daemon`, or name another with -H)"
            )
        }
        Errno::EACCES => format!("{errno:?} (the socket is for root and its group)"),
        _ => format!("{errno:?}"),
    }
}

impl Error {
    /// An [`Error::Invalid`].
    pub fn invalid(what: impl Into<String>, why: impl Into<String>) -> Error {
        Error::Invalid { what: what.into(), why: why.into() }
    }

    pub(crate) fn path(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Path { operation, path: path.into(), source }
    }
}
