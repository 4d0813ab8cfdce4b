//! Chapter 8: from a Dockerfile to an image.
#![deny(unsafe_code)]

pub mod archive;
pub mod cache;
pub mod config;
pub mod dockerfile;
pub mod error;
pub mod execute;
pub mod expand;
pub mod glob;
pub mod ignore;
pub mod mounts;
pub mod owner;
pub mod plan;
pub mod progress;
pub mod remote;
pub mod run;
pub mod tree;
pub mod work;

pub use error::{Error, Place, Result};
