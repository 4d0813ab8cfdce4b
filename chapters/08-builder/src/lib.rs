//! Chapter 8: from a Dockerfile to an image.
#![deny(unsafe_code)]

pub mod config;
pub mod dockerfile;
pub mod error;
pub mod expand;
pub mod glob;
pub mod ignore;
pub mod plan;

pub use error::{Error, Place, Result};
