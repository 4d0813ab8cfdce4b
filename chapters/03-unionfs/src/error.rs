//! What goes wrong with layers.

use std::io;
use std::path::PathBuf;

use nix::errno::Errno;

use crate::compression::HugeWindow;
use crate::digest::DiffId;

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that this crate reports.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed, or a path could not be resolved inside the layer's directory.
    #[error(transparent)]
    Kernel(#[from] corten_namespaces::Error),
    /// The layer asks for something that no honest layer asks for, or that cannot be made.
    #[error("layer refused: entry {entry}: {why}")]
    Refused {
        /// The entry's name as the layer gives it, made printable.
        entry: String,
        /// What is wrong with it.
        why: String,
    },
    /// The stream is not a tar archive, or ends too early, or goes on after its end.
    #[error("layer refused: at byte {offset} of the plain stream: {why}")]
    Malformed {
        /// Where in the plain (uncompressed) stream.
        offset: u64,
        /// What is wrong there.
        why: String,
    },
    /// The layer is larger than the caller allows: a zip bomb, or a limit that is set too low.
    #[error("layer refused: more than {limit} {what} (raise the limit if you trust this image)")]
    Limit {
        /// What was counted: `bytes`, `entries`, `bytes of headers for one entry` …
        what: &'static str,
        /// The limit that was reached.
        limit: u64,
    },
    /// The stream could not be read or decompressed.
    #[error("read the layer: {source}")]
    Read {
        /// What the reader or the decompressor said.
        source: io::Error,
    },
    /// The layer asks the decompressor to keep more in memory than we let it.
    #[error("layer refused: {why} (compress it again, with zstd -19 or less and without --long)")]
    Window {
        /// How much.
        why: String,
    },
    /// A layer could not be written.
    #[error("write the layer: {source}")]
    Write {
        /// What the writer said.
        source: io::Error,
    },
    /// What arrived is not what the image's config promises.
    #[error("layer refused: its content is {actual}, the image promises {expected}")]
    WrongDiffId {
        /// The diff id of the image's config.
        expected: DiffId,
        /// The SHA-256 of what arrived.
        actual: DiffId,
    },
    /// A digest that is not `sha256:` and 64 lower-case hex digits.
    #[error("not a digest: {text:?} (wanted sha256: and 64 lower-case hex digits)")]
    Digest {
        /// What was given.
        text: String,
    },
    /// A compression that is neither none, gzip nor zstd.
    #[error("layers of type {media_type} are not supported (tar, tar+gzip and tar+zstd are)")]
    MediaType {
        /// The media type of the layer's descriptor.
        media_type: String,
    },
    /// The parent is not in the store, or a layer of a chain is missing.
    #[error("layer {chain_id} is not in the store {store}")]
    NoSuchLayer {
        /// The layer that is missing.
        chain_id: String,
        /// The store's directory.
        store: PathBuf,
    },
    /// A file of the store that this program did not write like that.
    #[error("{path}: {why} (remove the layer's directory and pull the image again)")]
    Store {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The kernel refused the overlay mount; it often says why.
    #[error("mount overlay ({step}): {errno:?}{}", said(.kernel))]
    Overlay {
        /// Which option or call was refused.
        step: String,
        /// What the kernel answered.
        errno: Errno,
        /// What the kernel wrote into the context of the mount, or another remedy.
        kernel: Option<String>,
    },
    /// fuse-overlayfs could not be had.
    #[error("mount by FUSE ({step}): {why}")]
    Fuse {
        /// What was tried.
        step: String,
        /// What the program or the kernel said, and the remedy.
        why: String,
    },
    /// An archive would put a directory in the place of something else, or the other way round, and
    /// may not. In dockerd's words.
    #[error("{why}")]
    Overwrite {
        /// The sentence.
        why: String,
    },
    /// A mount that was asked for makes no sense.
    #[error("{what}: {why}")]
    Invalid {
        /// The argument.
        what: String,
        /// What is wrong with it, and what would be right.
        why: String,
    },
}

fn said(kernel: &Option<String>) -> String {
    kernel.as_ref().map_or(String::new(), |text| format!(" ({text})"))
}

impl From<io::Error> for Error {
    fn from(source: io::Error) -> Error {
        match source.get_ref().and_then(|inner| inner.downcast_ref::<HugeWindow>()) {
            Some(huge) => Error::Window { why: huge.to_string() },
            None => Error::Read { source },
        }
    }
}

impl Error {
    /// The errno behind this error, where the kernel gave one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Error::Kernel(error) => error.errno(),
            Error::Overlay { errno, .. } => Some(*errno),
            Error::Read { source } | Error::Write { source } => {
                source.raw_os_error().map(Errno::from_raw)
            }
            _ => None,
        }
    }

    /// Whether the layer itself is at fault, so that trying again with the same bytes is of no use.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Error::Refused { .. }
                | Error::Malformed { .. }
                | Error::Limit { .. }
                | Error::Window { .. }
                | Error::WrongDiffId { .. }
        )
    }
}
