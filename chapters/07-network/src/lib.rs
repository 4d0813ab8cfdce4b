//! Chapter 7 of Corten: networks.
#![deny(unsafe_code)]

pub mod error;
pub mod files;
pub mod names;

pub use error::{Error, Result};
