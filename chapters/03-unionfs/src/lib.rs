//! Chapter 3: layers and union file systems.
//!
//! An image is a pile of layers, and a layer is a tar archive of what one step of a build has
//! changed. This crate turns such archives into directories, once per machine, and piles the
//! directories up to the tree that a container sees.
//!
//! # From an archive to a directory
//!
//! [`apply()`] is the way in. `pipeline` reads, inflates and hashes the stream in threads
//! ([`compression`] tells how). [`archive`] reads it, entry by entry, limits what goes by, and folds
//! long names, xattrs and sparse maps into checked values; [`path`] says which names are allowed at
//! all, and [`whiteout`] which names mean a deletion. Inside, `tree` keeps the growing directory: it
//! opens a parent with [`Root`](corten_namespaces::Root) (openat2, never out of the layer), and
//! `node` makes the entry by its name in that open directory. No path is ever joined and handed to
//! the kernel, so a link in a hostile layer leads nowhere but into the layer. [`remove`] takes trees
//! away again, however deep.
//!
//! # From a directory to a layer, and from many layers to a tree
//!
//! [`store`] keeps unpacked layers under their chain id ([`digest`]), which names a layer together
//! with all below it. A layer of the store is complete and durable, or absent, whatever crashes.
//!
//! [`driver`] is the small trait between the engine and the ways of stacking: [`overlay`], `fuse`,
//! snapshots of btrfs, and plain copies ([`mod@copy`], with [`mod@merge`] for the changes of a layer). The tree is
//! a detached mount, a descriptor: nothing is mounted where the host sees it, so nothing can be left
//! behind.
//!
//! # And back
//!
//! [`diff`] tells what a container has changed, and writes it as a layer whose bytes depend on the
//! tree alone. [`mod@why`] tells which layer a path comes from.
//!
//! # Into a tree that is in use
//!
//! [`diff::pack()`] and [`mod@extract`] copy a part of a tree out and in, while whoever lives in it may do
//! its worst.
//!
//! # For a builder
//!
//! [`mod@graft`] copies a part of one tree into another; [`LayerStore::pack`] and
//! [`LayerStore::adopt`] make a layer of what has changed, where it lies.
//!
//! # What is not here
//!
//! Nothing here downloads (chapter 6) or knows what an image or a container is. Which of them use a
//! layer is the engine's to tell when it collects.
#![deny(unsafe_code)]

pub mod apply;
pub mod archive;
pub mod compression;
pub mod copy;
pub mod diff;
pub mod digest;
pub mod driver;
pub mod error;
pub mod extract;
#[cfg(feature = "fixtures")]
pub mod fixture;
mod fuse;
pub mod graft;
pub mod merge;
mod node;
pub mod overlay;
pub mod path;
mod pipeline;
pub mod remove;
pub mod store;
mod sys;
mod tree;
mod walk;
pub mod whiteout;
pub mod why;

pub use apply::{Applied, Limits, Options, apply};
pub use compression::Compression;
pub use digest::{BlobDigest, ChainId, DiffId};
pub use driver::{BtrfsDriver, CopyDriver, Driver, FuseDriver, Layout, OverlayDriver, Probe};
pub use error::{Error, Result};
pub use overlay::{Overlay, OverlayXattr, Writable};
pub use store::{Layer, LayerStore, Lease, Usage, Wanted};
pub use whiteout::Marks;
