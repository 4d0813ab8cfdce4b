//! The portable half of a container's configuration; an image's configuration is of this type, too.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::api;
use crate::engine::error::{Error, Result};

/// `{}`: a set is written as a map to these.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// A command line: a list of words or, from old clients, one word. Null is not the same as empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Option<OneOrMany>", into = "Option<Vec<String>>")]
pub struct Words(pub Option<Vec<String>>);

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl From<Option<OneOrMany>> for Words {
    fn from(words: Option<OneOrMany>) -> Words {
        Words(words.map(|words| match words {
            OneOrMany::One(word) => vec![word],
            OneOrMany::Many(words) => words,
        }))
    }
}

impl From<Words> for Option<Vec<String>> {
    fn from(words: Words) -> Option<Vec<String>> {
        words.0
    }
}

impl Words {
    /// The words; none for null.
    pub fn list(&self) -> &[String] {
        self.0.as_deref().unwrap_or_default()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list().is_empty()
    }
}

impl<S: Into<String>, const N: usize> From<[S; N]> for Words {
    fn from(words: [S; N]) -> Words {
        Words(Some(words.into_iter().map(Into::into).collect()))
    }
}

api! {
    /// `Config`.
    pub struct Config {
        /// The host name; the beginning of the container's id where empty.
        pub hostname: String,
        /// The NIS domain name.
        pub domainname: String,
        /// `USER[:GROUP]`, by name or number.
        pub user: String,
        /// Whether the client that creates the container will attach to its standard input.
        pub attach_stdin: bool,
        /// As `attach_stdin`, for the output.
        pub attach_stdout: bool,
        /// As `attach_stdin`, for the errors.
        pub attach_stderr: bool,
        /// `PORT/PROTOCOL` that the program listens on.
        pub exposed_ports: BTreeMap<String, Empty>,
        /// Whether it has a terminal.
        pub tty: bool,
        /// Whether its standard input is open when nobody is attached.
        pub open_stdin: bool,
        /// Whether its standard input is closed when the first client leaves.
        pub stdin_once: bool,
        /// `NAME=VALUE`; a name alone takes the variable away.
        pub env: Vec<String>,
        /// The command, or the arguments of the entry point.
        pub cmd: Words,
        /// How to find out whether it works.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub healthcheck: Option<Health>,
        /// Of Windows; kept as it comes.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        pub args_escaped: bool,
        /// The image as the user named it.
        pub image: String,
        /// Places in the container that shall be anonymous volumes.
        pub volumes: BTreeMap<String, Empty>,
        /// The working directory.
        pub working_dir: String,
        /// What `cmd` are arguments of.
        pub entrypoint: Words,
        /// Whether there is no network at all, not even a namespace.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        pub network_disabled: bool,
        /// A link layer address; newer clients give it per network.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub mac_address: String,
        /// What a build shall do when this is its base.
        pub on_build: Vec<String>,
        /// Names and values for whoever manages containers.
        pub labels: BTreeMap<String, String>,
        /// The signal that asks it to end.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub stop_signal: String,
        /// How many seconds after it the container is killed.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub stop_timeout: Option<i64>,
        /// The shell of a build's `RUN`, and of a health check in the shell form.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub shell: Vec<String>,
    }
}

api! {
    /// `Healthcheck`. Times are in nanoseconds; 0 is for what the image or Docker has.
    pub struct Health {
        /// `["NONE"]`, `["CMD", …]`, `["CMD-SHELL", TEXT]`; empty is what the image has.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub test: Vec<String>,
        /// From the end of one check to the beginning of the next.
        #[serde(skip_serializing_if = "is_zero")]
        pub interval: i64,
        /// How long one may take.
        #[serde(skip_serializing_if = "is_zero")]
        pub timeout: i64,
        /// How many must fail one after the other.
        #[serde(skip_serializing_if = "is_zero")]
        pub retries: i64,
        /// How long failures do not count.
        #[serde(skip_serializing_if = "is_zero")]
        pub start_period: i64,
        /// The interval during that time.
        #[serde(skip_serializing_if = "is_zero")]
        pub start_interval: i64,
    }
}

/// What is not said is left out, as in Go's types.
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// How to run a health check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// Not at all.
    None,
    /// This program.
    Program(Vec<String>),
    /// This text for the container's shell.
    Shell(String),
}

impl Health {
    /// What `test` says; `None` where the image's counts. With a first word that nobody knows dockerd
    /// runs none.
    pub fn test(&self) -> Option<Test> {
        let (kind, rest) = self.test.split_first()?;
        Some(match kind.as_str() {
            "CMD" => Test::Program(rest.to_vec()),
            "CMD-SHELL" => Test::Shell(rest.first().cloned().unwrap_or_default()),
            _ => Test::None,
        })
    }
}

impl Config {
    /// The `config` of an image's configuration. It is read from the text, because the types of
    /// the image specification lack what only Docker has: health checks, the shell.
    ///
    /// # Errors
    /// [`Error::State`] where the image has another type there.
    pub fn of_image(image: &corten_registry::Image) -> Result<Config> {
        api_of_image(image.config.raw()).map_err(|why| Error::State {
            path: format!("the configuration of image {}", image.id),
            why: why.to_string(),
        })
    }
}

fn api_of_image(text: &[u8]) -> serde_json::Result<Config> {
    #[derive(Deserialize)]
    struct Image {
        #[serde(default)]
        config: Option<Config>,
    }
    Ok(serde_json::from_slice::<Image>(text)?.config.unwrap_or_default())
}
