//! What happens in a build, and how it is shown.
//!
//! | renderer | for |
//! |---|---|
//! | [`plain`] | files, pipes, CI |
//! | [`terminal`] | people |
//! | [`classic`] | the Engine API: the stream of Docker's classic builder |

pub mod classic;
pub mod plain;
pub mod terminal;

use std::time::Duration;

use corten_registry::notice::Notice;

/// One thing that has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A step begins.
    Step {
        /// Its number, from 1.
        number: usize,
        /// How many there are.
        total: usize,
        /// The stage's name, or its number.
        stage: String,
        /// The instruction.
        text: String,
    },
    /// It was in the cache.
    Cached {
        /// Its number.
        number: usize,
    },
    /// It runs in a container.
    Running {
        /// Its number.
        number: usize,
        /// The container's id.
        container: String,
    },
    /// It has written something.
    Output {
        /// Its number.
        number: usize,
        /// Whether that was standard error.
        error: bool,
        /// What.
        bytes: Vec<u8>,
    },
    /// Its container is gone.
    Removed {
        /// Its number.
        number: usize,
        /// The container's id.
        container: String,
    },
    /// The image that it stands on, or copies from, is fetched.
    Fetching {
        /// Its number.
        number: usize,
        /// What there is to see of that.
        notice: Notice,
    },
    /// Something is said about it.
    Note {
        /// Its number.
        number: usize,
        /// A line.
        text: String,
    },
    /// It is done.
    Done {
        /// Its number.
        number: usize,
        /// The id of the image that it has made.
        image: String,
        /// How long it took.
        took: Duration,
    },
    /// It has failed.
    Failed {
        /// Its number.
        number: usize,
    },
    /// A stage is done.
    Stage {
        /// The id of its image.
        image: String,
    },
    /// What the parser does not like.
    Doubts {
        /// Each a sentence, without its end.
        texts: Vec<String>,
    },
    /// What is not wrong and still not right.
    Warning {
        /// A line.
        text: String,
    },
    /// The image is there.
    Built {
        /// Its id.
        image: String,
    },
    /// It has a name.
    Tagged {
        /// Which.
        name: String,
    },
}

/// The first twelve digits of an id.
pub fn short(id: &str) -> &str {
    let hex = id.strip_prefix("sha256:").unwrap_or(id);
    hex.get(..12).unwrap_or(hex)
}
