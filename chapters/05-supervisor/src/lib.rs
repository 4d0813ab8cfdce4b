//! Chapter 5 of Corten: the supervisor, one small process per container.
#![deny(unsafe_code)]

pub mod error;

pub use error::{Error, Result};
