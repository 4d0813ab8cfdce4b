//! (being written)
#![deny(unsafe_code)]
pub mod capability;
pub mod config;
pub mod error;
mod execute;
mod failure;
pub mod idmap;
mod init;
pub mod mount;
pub mod namespace;
pub mod plan;
pub mod root;
pub mod spawn;
pub mod sys;
pub use config::{Config, Process, Rootfs};
pub use error::{Context, Error, KernelError, Result};
pub use namespace::{Namespace, NamespaceSet};
pub use plan::Plan;
pub use root::Root;
pub use spawn::{Container, Exit};
