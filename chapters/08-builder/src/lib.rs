//! Chapter 8: from a Dockerfile to an image.
//!
//! ```text
//! Dockerfile ──dockerfile──▶ stages, typed instructions with places
//!            ──plan────────▶ Plan: what each stage needs, what is left out
//! context    ──tree────────▶ Tree: files that a build sees, by words and patterns
//!            ──execute─────▶ State: layers, configuration, history ──▶ image in the store
//!                 │ for each step: cache ─hit─▶ the layer that is there
//!                 └──────────────────────miss─▶ copy into a tree, or run; the changes become a layer
//! ```
//!
//! # The language
//!
//! [`mod@dockerfile`] reads text to typed instructions. [`mod@expand`] knows variables, [`glob`] and
//! [`ignore`] patterns of names, [`config`] an image's configuration, [`mod@change`] what instructions change in it.
//!
//! # What is done
//!
//! [`plan`] makes the graph of stages, as data. [`execute`] carries it out: stages at the same time where
//! they can be, steps one after the other. [`tree`] finds what `COPY` names, [`owner`] what `--chown` and
//! `--chmod` mean, [`archive`] and [`remote`] what `ADD` unpacks and fetches, [`mounts`] the caches of
//! `RUN --mount`, [`interrupt`] Ctrl-C. Commands are run by whoever implements [`run::Runner`]: the engine, or, without one, an OCI
//! runtime by [`runtime`].
//!
//! # What is kept
//!
//! [`cache`] remembers what each step has made, by the content that it depends on; [`sums`] the digests
//! of a folder's files. What is being made is
//! in directories of [`work`], which go with their process.
//!
//! # What is told
//!
//! [`progress`]: events, and three ways to show them, of which one is the stream of Docker's classic
//! builder, byte for byte.
//!
//! # What is not here
//!
//! Nothing here runs a process but git, for repositories, and the OCI runtime. Networks, limits and pulling
//! images are the engine's.
#![deny(unsafe_code)]

pub mod archive;
pub mod cache;
pub mod change;
pub mod cli;
pub mod config;
pub mod dockerfile;
pub mod error;
pub mod execute;
pub mod expand;
pub mod glob;
pub mod ignore;
pub mod interrupt;
pub mod mounts;
pub mod owner;
pub mod plan;
pub mod progress;
pub mod remote;
pub mod run;
pub mod runtime;
pub mod sums;
pub mod tree;
pub mod work;

pub use error::{Error, Place, Result};
