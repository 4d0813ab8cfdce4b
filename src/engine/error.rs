//! What goes wrong in the engine, on top of what each chapter reports.

use std::path::Path;

use corten_namespaces::error::Context as _;

/// The result type of the engine.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that the engine reports.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Chapter 1: a system call, a path in a container, a program that cannot be run.
    #[error(transparent)]
    Kernel(#[from] corten_namespaces::Error),
    /// Chapter 3: a layer or the overlay of several.
    #[error(transparent)]
    Layers(#[from] corten_unionfs::Error),
    /// Chapter 6: a registry, an image, the content store.
    #[error(transparent)]
    Registry(Box<corten_registry::Error>),
    /// Chapter 5: a supervisor, and through it chapter 4.
    #[error(transparent)]
    Supervisor(#[from] corten_supervisor::Error),
    /// Chapter 4: what it left could not be removed.
    #[error(transparent)]
    Runtime(#[from] corten_runtime::Error),
    /// Chapter 7: a network, an address, a port.
    #[error(transparent)]
    Network(#[from] corten_network::Error),
    /// Chapter 8: a Dockerfile, a step of a build.
    #[error(transparent)]
    Build(Box<corten_builder::Error>),
    /// An option or instruction that breaks its grammar.
    #[error("{what}: {why}")]
    Invalid {
        /// The argument, as the user wrote it.
        what: String,
        /// What is wrong with it, and what would be right.
        why: String,
    },
    /// What dockerd refuses, in its words: clients and test suites know them.
    #[error("{message}")]
    Refused {
        /// The sentence.
        message: String,
    },
    /// No volume of that name.
    #[error("get {name}: no such volume")]
    NoSuchVolume {
        /// What was given.
        name: String,
    },
    /// A volume that containers use cannot be removed.
    #[error("remove {name}: volume is in use - [{}]", .users.join(", "))]
    VolumeInUse {
        /// The volume.
        name: String,
        /// The ids of the containers.
        users: Vec<String>,
    },
    /// The engine needs rights that the caller lacks.
    #[error(
        "needs root: run `sudo corten …`, or let it make namespaces of yours: `corten doctor` says what you lack for that"
    )]
    NotRoot,
    /// `--pull never`, and the image is not there.
    #[error("no image {name} in the store, and --pull=never forbids to fetch it")]
    NotPulled {
        /// The name as given.
        name: String,
    },
    /// No container of that id or name.
    #[error("no container {name}: see `corten ps -a`")]
    NoSuchContainer {
        /// What was given.
        name: String,
    },
    /// Nothing is at that path of a container. In dockerd's words.
    #[error("Could not find the file {path} in container {container}")]
    NoSuchPath {
        /// The path as given.
        path: String,
        /// The container as given.
        container: String,
    },
    /// An id prefix that fits several containers.
    #[error("container id {prefix} is ambiguous; give more digits: {}", .candidates.join(", "))]
    Ambiguous {
        /// What was given.
        prefix: String,
        /// The short ids that it fits.
        candidates: Vec<String>,
    },
    /// The name is another container's.
    #[error(
        "the name {name} is in use by container {id}: remove it with `corten rm {name}` or choose \
         another name"
    )]
    NameTaken {
        /// The name.
        name: String,
        /// The short id of the container that has it.
        id: String,
    },
    /// A container that runs cannot be removed.
    #[error("container {id} is running: stop it first with `corten stop {id}`, or use -f")]
    Running {
        /// The short id.
        id: String,
    },
    /// A container that does not run has nothing to be stopped, attached to or run in.
    #[error("container {id} is not running: start it with `corten start {id}`")]
    NotRunning {
        /// The short id.
        id: String,
    },
    /// An image that containers use cannot be removed.
    #[error(
        "image {image} is in use by {}: remove {} first with `corten rm`, or use -f",
        containers(.users), if .users.len() == 1 { "it" } else { "them" }
    )]
    ImageInUse {
        /// The image as given.
        image: String,
        /// The short ids of the containers.
        users: Vec<String>,
    },
    /// A file of the engine's state that this program did not write like that.
    #[error("{path}: {why}")]
    State {
        /// The file.
        path: String,
        /// What is wrong with it, and what can be done.
        why: String,
    },
}

impl From<corten_builder::Error> for Error {
    fn from(error: corten_builder::Error) -> Error {
        Error::Build(Box::new(error))
    }
}

impl From<corten_registry::Error> for Error {
    fn from(error: corten_registry::Error) -> Error {
        Error::Registry(Box::new(error))
    }
}

fn containers(ids: &[String]) -> String {
    let noun = if ids.len() == 1 { "container" } else { "containers" };
    format!("{noun} {}", ids.join(", "))
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

    /// The exit status of `corten run`: 126 and 127 for a program that cannot be executed or
    /// found, 125 for all that is the engine's own.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Kernel(error) => error.exit_code(),
            Error::Supervisor(error) => error.failure().status.unwrap_or(125),
            _ => 125,
        }
    }
}

/// Adds the operation and the path to an error of the engine's own files.
pub(crate) trait At<T> {
    /// Names the operation and its object.
    fn at(self, operation: &str, path: &Path) -> Result<T>;
}

impl<T> At<T> for std::io::Result<T> {
    fn at(self, operation: &str, path: &Path) -> Result<T> {
        Ok(self.on(operation, path)?)
    }
}

impl<T> At<T> for nix::Result<T> {
    fn at(self, operation: &str, path: &Path) -> Result<T> {
        Ok(self.on(operation, path)?)
    }
}
