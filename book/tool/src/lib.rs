//! Builds and checks the book, so that what it prints stays true.
//!
//! mdBook renders; this crate holds mdBook to the book's promises. It runs mdBook's library in its
//! own process, pinned by Cargo.lock, so nothing has to be installed.
//!
//! - [`page`]: a Markdown file taken apart, each part with its line.
//! - [`fence`], [`mod@include`], [`chapter`], [`link`]: the checks, each a function from pages to
//!   [`finding::Finding`]s; [`check`] runs them all.
//! - [`replay`]: terminal sessions are run again and compared; [`reading`] counts how many commands do
//!   what the book says.
//! - [`measurement`]: figures are drawn from committed raw data.
//! - [`recording`]: pages that play recordings of the engine.
//! - [`render`], [`serve`]: the built book, and a server on loopback.
//! - [`tasks`]: a table of the labs' tasks; [`atlas`]: tables of errors and of system calls.
//! - [`browser`]: the built book as headless Chromium shows it.
#![deny(unsafe_code)]

pub mod atlas;
pub mod browser;
pub mod chapter;
pub mod check;
pub mod error;
pub mod fence;
pub mod finding;
pub mod include;
pub mod layout;
pub mod link;
pub mod measurement;
pub mod page;
pub mod reading;
pub mod recording;
pub mod render;
pub mod replay;
pub mod serve;
pub mod tasks;
