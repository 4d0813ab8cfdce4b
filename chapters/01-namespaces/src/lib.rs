//! (being written)
#![deny(unsafe_code)]
pub mod error;
pub mod root;
pub mod sys;
pub use error::{Context, Error, KernelError, Result};
pub use root::Root;
