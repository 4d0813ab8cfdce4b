//! (being written)
use crate::client::Client;
use crate::digest::Digest;
use crate::error::Result;
use crate::platform::Platform;
use crate::reference::Reference;
use crate::store::{Image, Store};

/// What happens during a pull, in order.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// The registry is asked what stands behind the name.
    Resolving(&'a Reference),
    /// The name stands for this manifest or index.
    Resolved(&'a Digest),
    /// A layer of the image is in the store already.
    LayerExists {
        /// The layer.
        digest: &'a Digest,
        /// Its compressed size.
        size: u64,
    },
    /// The download of a layer begins.
    LayerStart {
        /// The layer.
        digest: &'a Digest,
        /// Its compressed size.
        size: u64,
    },
    /// So many bytes of the layer have come so far.
    LayerBytes {
        /// The layer.
        digest: &'a Digest,
        /// Bytes so far.
        done: u64,
    },
    /// The layer is complete, verified and durable.
    LayerDone {
        /// The layer.
        digest: &'a Digest,
    },
    /// The image was built for another platform than was asked for.
    OtherPlatform(&'a Platform),
    /// The image is in the store under its name.
    Done(&'a Image),
}

/// Who wants to hear about a pull.
pub trait Progress {
    /// Called from the pulling thread; should return quickly.
    fn event(&mut self, event: Event<'_>);
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;
impl Progress for Silent {
    fn event(&mut self, _: Event<'_>) {}
}
impl<F: FnMut(Event<'_>)> Progress for F {
    fn event(&mut self, event: Event<'_>) {
        self(event)
    }
}

/// The outcome of [`pull`].
#[derive(Debug)]
pub struct PulledImage {
    /// The image, as it is in the store.
    pub image: Image,
    /// The digest that the registry has for the name: of the index where there is one.
    pub digest: Digest,
    /// Whether the name stood for this image in the store already.
    pub up_to_date: bool,
    /// Bytes of layers that were downloaded.
    pub downloaded: u64,
}

/// Brings an image into the store.
pub fn pull(
    _client: &Client,
    _store: &Store,
    _reference: &Reference,
    _platform: &Platform,
    _progress: &mut dyn Progress,
) -> Result<PulledImage> {
    unimplemented!()
}
