//! The language of Dockerfiles: text to typed instructions, each with its place.
//!
//! ```text
//! text ──lines──▶ Line (one instruction, continuation lines joined, heredocs)
//!      ──parse──▶ Instruction (typed; variables are not expanded yet)
//! ```
//!
//! There is no crate that is exact on all of the language as BuildKit reads it today (heredocs, the
//! three directives, flags with quotes), so it is read by hand, with BuildKit's sentences where
//! something is wrong: people search for them.

pub mod flags;
pub mod heredoc;
pub mod lines;
mod mount;
mod parse;
mod words;

#[cfg(test)]
mod tests;

pub use heredoc::Heredoc;
pub use lines::lines_of;
pub use lines::{Directives, Line};
pub use mount::{MountKind, MountSpec, Sharing, size};
pub use parse::{instruction_of, parse};
pub use words::duration;

use std::collections::BTreeSet;

use crate::error::{Error, Place};

/// A Dockerfile.
#[derive(Debug, Clone)]
pub struct Dockerfile {
    /// Its name, as the user knows it.
    pub name: String,
    /// Its lines, for messages.
    pub source: Vec<String>,
    /// The directives at its top.
    pub directives: Directives,
    /// `ARG` before the first `FROM`.
    pub arguments: Vec<Instruction>,
    /// The stages, in their order.
    pub stages: Vec<Stage>,
    /// Names that mean no stage: the build has other contexts under them.
    pub contexts: BTreeSet<String>,
    /// What is not wrong and still not right.
    pub warnings: Vec<String>,
}

/// `FROM` and what follows.
#[derive(Debug, Clone)]
pub struct Stage {
    /// What it is called after `AS`, in lower case.
    pub name: Option<String>,
    /// The image or stage that it begins with, as written.
    pub base: String,
    /// `--platform`, as written.
    pub platform: Option<String>,
    /// Where `FROM` is.
    pub at: Span,
    /// The whole instruction.
    pub text: String,
    /// What follows.
    pub instructions: Vec<Instruction>,
}

/// Lines and the column of the first character; from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// The first line.
    pub line: usize,
    /// The column in it.
    pub column: usize,
    /// The last line.
    pub end: usize,
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// Where it is.
    pub at: Span,
    /// As written, continuation lines joined.
    pub text: String,
    /// What it is.
    pub kind: Kind,
}

/// A name and a value.
pub type Pair = (String, String);

/// What an instruction is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// `ADD`.
    Add(Copy),
    /// `ARG`: names, and values where there are any.
    Arg(Vec<(String, Option<String>)>),
    /// `CMD`.
    Cmd(CommandLine),
    /// `COPY`.
    Copy(Copy),
    /// `ENTRYPOINT`.
    Entrypoint(CommandLine),
    /// `ENV`.
    Env(Vec<Pair>),
    /// `EXPOSE`: words that may hold variables.
    Expose(Vec<String>),
    /// `HEALTHCHECK`.
    Healthcheck(Health),
    /// `LABEL`.
    Label(Vec<Pair>),
    /// `MAINTAINER`.
    Maintainer(String),
    /// `ONBUILD`: the instruction as text.
    Onbuild(String),
    /// `RUN`.
    Run(Run),
    /// `SHELL`.
    Shell(Vec<String>),
    /// `STOPSIGNAL`.
    StopSignal(String),
    /// `USER`.
    User(String),
    /// `VOLUME`.
    Volume(Vec<String>),
    /// `WORKDIR`.
    Workdir(String),
}

/// A command in shell form, which is one word, or in exec form.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommandLine {
    /// The words.
    pub words: Vec<String>,
    /// Whether it was a JSON array.
    pub exec: bool,
    /// What follows it.
    pub heredocs: Vec<Heredoc>,
}

// ANCHOR: copy
/// `COPY` and `ADD`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Copy {
    /// What to copy.
    pub sources: Vec<String>,
    /// What is written in the Dockerfile itself.
    pub contents: Vec<Heredoc>,
    /// Where to.
    pub destination: String,
    /// `--from`: a stage, an image.
    pub from: Option<String>,
    /// `--chown`.
    pub chown: Option<String>,
    /// `--chmod`.
    pub chmod: Option<String>,
    /// `--link`.
    pub link: bool,
    /// `--parents`.
    pub parents: bool,
    /// `--exclude`, as often as it is there.
    pub exclude: Vec<String>,
    /// `--checksum`.
    pub checksum: Option<String>,
    /// `--keep-git-dir`.
    pub keep_git_dir: bool,
    /// `--unpack`, where it is there.
    pub unpack: Option<bool>,
}
// ANCHOR_END: copy

/// `RUN`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Run {
    /// What to run.
    pub command: CommandLine,
    /// `--mount`, as written.
    pub mounts: Vec<String>,
    /// `--network`.
    pub network: Option<String>,
    /// `--security`.
    pub security: Option<String>,
}

/// `HEALTHCHECK`, durations in nanoseconds and 0 where they are not given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", "…"]`.
    pub test: Vec<String>,
    /// `--interval`.
    pub interval: i64,
    /// `--timeout`.
    pub timeout: i64,
    /// `--start-period`.
    pub start_period: i64,
    /// `--start-interval`.
    pub start_interval: i64,
    /// `--retries`.
    pub retries: i64,
}

impl Dockerfile {
    /// A place for a message, with lines around it.
    pub fn place(&self, at: Span) -> Place {
        place(&self.name, &self.source, at)
    }

    /// A message at a place.
    pub fn error(&self, at: Span, message: impl Into<String>) -> Error {
        Error::Syntax { place: Box::new(self.place(at)), message: message.into() }
    }
}

/// Lines before and after a place that are shown with it, and so many of the place itself.
const AROUND: usize = 1;
const SHOWN: usize = 6;

fn place(name: &str, source: &[String], at: Span) -> Place {
    let first = at.line.saturating_sub(AROUND).max(1);
    let last = at.end.max(at.line).min(at.line + SHOWN) + AROUND;
    let lines = source.iter().enumerate().map(|(index, line)| (index + 1, line.clone()));
    let lines = lines.filter(|(number, _)| (first..=last).contains(number)).collect();
    Place { file: name.to_owned(), line: at.line, column: at.column, end: at.end, lines }
}
