//! Chapter 6: the registry client and the content store.
//!
//! An image is a tree of documents and archives, each named by the hash of its bytes. A registry
//! serves them over HTTP; a store keeps them in a directory. This crate goes from the name that a
//! user types to an image on disk of which every byte was verified.
//!
//! A name becomes a [`Reference`] ([`mod@reference`]), in Docker's grammar and always normalised. The
//! [`Client`] ([`client`]) asks the registry for what stands behind it: a [`Manifest`] or an
//! [`Index`] of several ([`mod@manifest`]), from which [`Platform`] ([`platform`]) picks ours. The
//! manifest names a configuration and layers by [`Descriptor`]: a [`MediaType`] ([`media`]), a size,
//! and a [`Digest`] ([`digest`]), which is also the only way to check that the answer is the right
//! one. [`pull()`] ([`mod@pull`]) puts all of it into a [`Store`] ([`store`]), an OCI image layout that
//! skopeo and umoci read as well, and writes the name last; what people are told of that is a [`notice`].
//!
//! What holds everywhere: text from outside becomes a checked type at once, so a digest can be a
//! file name and a tag part of a URL; nothing is read without a limit; nothing is in the store
//! before its digest was computed here; no error leaves a half-made file. What is absent: unpacking
//! (that is chapter 3's), and any knowledge of containers, so removing an image does not ask
//! whether one runs.
#![deny(unsafe_code)]

pub mod client;
mod crew;
pub mod digest;
pub mod error;
mod json;
pub mod manifest;
pub mod media;
pub mod notice;
pub mod platform;
pub mod pull;
pub mod push;
pub mod reference;
pub mod signature;
pub mod store;

pub use client::{Client, ClientOptions, Credentials};
pub use digest::Digest;
pub use error::{Error, Result};
pub use manifest::{Descriptor, Document, ImageConfig, Index, Manifest};
pub use media::{Compression, MediaType};
pub use platform::Platform;
pub use pull::{Event, Progress, PulledImage, Silent, pull, pull_trusted};
pub use push::{PushedImage, copy, push};
pub use reference::Reference;
pub use signature::{Policy, PrivateKey, PublicKey, sign};
pub use store::{
    CommitOptions, Entry, Health, Image, ImportOptions, Layer, Lease, Removed, Staged, Staging,
    Step, Store,
};
