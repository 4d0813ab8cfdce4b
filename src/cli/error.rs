//! What goes wrong in a command: in the engine of this machine, or with a daemon elsewhere.

use corten_daemon::Failure;

use crate::engine;
use crate::engine::copy::HangUp;

/// The result of a command.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Everything that a command reports.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The engine, and through it each chapter.
    #[error(transparent)]
    Engine(engine::Error),
    /// A daemon elsewhere cannot be spoken to; nor can one listen here.
    #[error(transparent)]
    Daemon(corten_daemon::Error),
    /// A daemon elsewhere has refused something, in its words.
    #[error("{}", .0.message)]
    Elsewhere(Failure),
    /// What only the engine of this machine does.
    #[error("{command} works on this machine's engine only; {remedy}")]
    OnlyHere {
        /// The command.
        command: String,
        /// How to mean this machine.
        remedy: String,
    },
}

/// Whatever the engine takes for an error of its own.
impl<E: Into<engine::Error>> From<E> for Error {
    fn from(error: E) -> Error {
        Error::Engine(error.into())
    }
}

impl HangUp for Error {
    fn is_hang_up(&self) -> bool {
        matches!(self, Error::Engine(error) if error.is_hang_up())
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        Error::Elsewhere(failure)
    }
}

impl Error {
    /// An argument that breaks its grammar.
    pub(crate) fn invalid(what: impl Into<String>, why: impl Into<String>) -> Error {
        engine::Error::invalid(what, why).into()
    }

    /// What docker refuses, in its words.
    pub(crate) fn refused(message: impl Into<String>) -> Error {
        engine::Error::refused(message).into()
    }

    /// The exit status of `corten run`: 126 and 127 for a program that cannot be executed or
    /// found, 125 for all that is the engine's own.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Error::Engine(error) => error.exit_code(),
            Error::Elsewhere(failure) => by_words(&failure.message),
            Error::Daemon(_) | Error::OnlyHere { .. } => 125,
        }
    }
}

/// A daemon tells in words alone that a program cannot be found or executed: the same ones that Docker's
/// client looks for (docker/cli, `cli/command/container/run.go`).
fn by_words(message: &str) -> u8 {
    let has = |words: &[&str]| words.iter().any(|words| message.contains(words));
    match () {
        () if has(&["executable file not found", "no such file or directory"]) => 127,
        () if has(&["permission denied", "is a directory", "exec format error"]) => 126,
        () => 125,
    }
}
