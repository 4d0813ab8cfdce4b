//! (being written)
#![deny(unsafe_code)]
pub mod client;
pub mod digest;
pub mod error;
pub mod manifest;
pub mod media;
pub mod platform;
pub mod pull;
pub mod reference;
pub mod store;

pub use client::{Client, ClientOptions};
pub use digest::Digest;
pub use error::{Error, Result};
pub use manifest::{Descriptor, Document, ImageConfig, Index, Manifest};
pub use media::{Compression, MediaType};
pub use platform::Platform;
pub use pull::{Event, Progress, PulledImage, Silent, pull};
pub use reference::Reference;
pub use store::{Entry, Image, ImportOptions, Layer, Removed, Store};
