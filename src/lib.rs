//! Corten, the final crate: [`engine`] composes the chapters into images and containers, [`cli`] is
//! the command line `corten`, [`daemon`] is the engine behind chapter 9's API, [`timeline`] records how a
//! container is made.
//!
//! Neither holds a kernel mechanism of its own: namespaces and mounts are chapter 1's, layers
//! chapter 3's, registries and the content store chapter 6's.
#![deny(unsafe_code)]

pub mod cli;
pub mod daemon;
pub mod engine;
pub mod timeline;
