//! (being written)
#![deny(unsafe_code)]

pub mod apply;
pub mod archive;
pub mod compression;
pub mod digest;
pub mod driver;
pub mod error;
#[cfg(feature = "fixtures")]
pub mod fixture;
mod node;
pub mod overlay;
pub mod path;
mod remove;
pub mod store;
mod tree;
pub mod whiteout;

pub use apply::{Applied, Limits, Options, OverlayXattr, apply};
pub use compression::Compression;
pub use digest::{ChainId, DiffId};
pub use driver::{Driver, OverlayDriver};
pub use error::{Error, Result};
pub use overlay::{Overlay, Writable};
pub use store::{Layer, LayerStore};
