//! A pull: from a name in a registry to an image in the store.
//!
//! ```text
//! name ──▶ index ──choose platform──▶ manifest ──▶ configuration ──▶ layers ──▶ index.json
//! ```
//!
//! Every arrow is a digest that is verified, except the first: for the name, the registry's word is
//! all there is. What the registry has for the name is kept byte for byte (the entry's `source`); the
//! image itself is recorded by an OCI manifest, which every tool finds. The name is written last, so a pull that ends anywhere leaves no half an image.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::client::{Client, check_config_size};
use crate::crew::{self, Post, Report};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::{Descriptor, Document, ImageConfig, MAX_CONFIG, Manifest};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::signature::Policy;
use crate::signature::attach::{Signed, signatures};
use crate::store::{Image, Layer, Lease, Store, pair_layers};

/// What happens during a pull, in order.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// The registry is asked what stands behind the name.
    Resolving(&'a Reference),
    /// The name stands for this manifest or index.
    Resolved(&'a Digest),
    /// The image of this id is in the store already, under whatever name.
    Known(&'a Digest),
    /// The image consists of these layers, from the bottom; they come next.
    Layers(&'a [Layer]),
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
    /// What comes of the layer can be read from this file as it grows, from its beginning, by
    /// whoever can do with bytes that are not verified yet. It is complete with
    /// [`Event::LayerDone`].
    LayerGrowing {
        /// The layer.
        digest: &'a Digest,
        /// The file; its offset is the writer's.
        file: &'a File,
    },
    /// So many bytes of the layer have come so far.
    LayerBytes {
        /// The layer.
        digest: &'a Digest,
        /// Bytes so far.
        done: u64,
    },
    /// These blobs of the image go to the registry, each once: layers and configurations (push).
    Sending(&'a [Descriptor]),
    /// The registry took the layer from another of its repositories (push).
    LayerMounted {
        /// The layer.
        digest: &'a Digest,
        /// The other repository's path.
        from: &'a str,
    },
    /// The layer is complete, verified and durable; or, in a push, with the registry.
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

/// Brings an image into the store, downloading what is not there yet.
///
/// Where the name stands for the same content as at the last pull, that costs one request.
///
/// # Errors
/// Whatever the registry, the network, the content or the store had against it. The store is then
/// as it was, but for complete blobs, which the next pull uses or the next sweep takes.
pub fn pull(
    client: &Client,
    store: &Store,
    reference: &Reference,
    platform: &Platform,
    progress: &mut dyn Progress,
) -> Result<PulledImage> {
    pull_trusted(client, store, &Policy::accept_all(), reference, platform, progress)
}

// ANCHOR: pull
/// The same, if the policy lets the image in. That is asked before a layer is.
///
/// # Errors
/// As for [`pull`], and [`Error::Untrusted`].
pub fn pull_trusted(
    client: &Client,
    store: &Store,
    policy: &Policy,
    reference: &Reference,
    platform: &Platform,
    progress: &mut dyn Progress,
) -> Result<PulledImage> {
    progress.event(Event::Resolving(reference));
    // As for Docker, a tag beside a digest is for the human reader alone.
    let name = match reference.digest() {
        Some(digest) => reference.with_digest(digest.clone()),
        None => reference.clone(),
    };
    if let Some((image, digest)) = unchanged(client, store, &name, platform)?
        // Else the signatures may have come later than the image.
        && store.check_policy(policy, &name.to_string()).is_ok()
    {
        progress.event(Event::Resolved(&digest));
        store.note_served(&name, &image.descriptor, &digest)?;
        progress.event(Event::Done(&image));
        return Ok(PulledImage { image, digest, up_to_date: true, downloaded: 0 });
    }

    let fetched = client.manifest(&name)?;
    let digest = fetched.digest.clone();
    progress.event(Event::Resolved(&digest));
    let served = choose(client, &name, platform, &fetched.document)?;
    let signed = trusted(client, policy, &name, &digest, &served.descriptor().digest)?;
    let manifest = served.to_oci()?;
    let mut descriptor = manifest.descriptor();

    let lease = store.lease()?;
    // What the registry has for the name, byte for byte; and what it becomes here.
    let raw = fetched.document.raw();
    let kind = fetched.document.media_type().clone();
    let source = Descriptor::new(kind, digest.clone(), raw.len() as u64);
    let documents =
        [(source, raw), (served.descriptor(), served.raw()), (descriptor.clone(), manifest.raw())];
    let content = documents.iter().map(|(descriptor, _)| descriptor);
    let content = content.chain([&manifest.config]).chain(&manifest.layers);
    lease.hold(content.map(|descriptor| &descriptor.digest))?;
    let mut transfer = Transfer { client, store, name: &name, lease: &lease, progress };
    let config = transfer.config(&manifest)?;
    let layers = pair_layers(&manifest, &config)?;
    let built_for = config.platform();
    if !platform.runs(&built_for) {
        transfer.progress.event(Event::OtherPlatform(&built_for));
    }
    if store.image(&manifest.config.digest.to_string()).is_ok() {
        transfer.progress.event(Event::Known(&manifest.config.digest));
    }
    transfer.progress.event(Event::Layers(&layers));
    let downloaded = transfer.layers(&manifest)?;
    for (document, raw) in &documents {
        store.put_blob(&lease, &mut &**raw, document)?;
    }
    for (digest, signatures) in &signed {
        store.keep_signatures(digest, signatures)?;
    }
    descriptor.platform = Some(built_for);
    let had = store.find(&name)?.and_then(|entry| store.load(&entry.descriptor).ok());
    store.record(Some(&name), &descriptor, Some(&digest))?;
    let image = store.load(&descriptor)?;
    progress.event(Event::Done(&image));
    let up_to_date = had.is_some_and(|had| had.id == image.id);
    Ok(PulledImage { image, digest, up_to_date, downloaded })
}
// ANCHOR_END: pull

/// Lets the policy decide, and gives the signatures that it saw.
fn trusted(
    client: &Client,
    policy: &Policy,
    name: &Reference,
    top: &Digest,
    chosen: &Digest,
) -> Result<Vec<(Digest, Vec<Signed>)>> {
    let mut vouched = vec![top.clone(), chosen.clone()];
    vouched.dedup();
    let mut seen = Vec::new();
    policy.check(name, &vouched, &mut || {
        seen.clear();
        for digest in &vouched {
            seen.push((digest.clone(), signatures(client, name, digest)?));
        }
        Ok(seen.iter().flat_map(|(_, signatures)| signatures.clone()).collect())
    })?;
    Ok(seen)
}

/// The manifest for the platform.
fn choose(
    client: &Client,
    name: &Reference,
    platform: &Platform,
    document: &Document,
) -> Result<Manifest> {
    let index = match document {
        Document::Manifest(manifest) => return Ok(manifest.clone()),
        Document::Index(index) => index,
    };
    let chosen = index.choose(&name.familiar(), platform)?;
    match client.manifest_of(name, chosen)?.document {
        Document::Manifest(manifest) => Ok(manifest),
        Document::Index(_) => {
            let what = format!("manifest {}", chosen.digest);
            Err(Error::malformed(what, "an index within an index"))
        }
    }
}

/// The image in the store, if the registry still has the same behind the name and nothing of it is
/// missing here.
fn unchanged(
    client: &Client,
    store: &Store,
    name: &Reference,
    platform: &Platform,
) -> Result<Option<(Image, Digest)>> {
    let Some(entry) = store.find(name)?.filter(|entry| entry.name.as_ref() == Some(name)) else {
        return Ok(None);
    };
    let Ok(image) = store.load(&entry.descriptor) else { return Ok(None) };
    for layer in &image.layers {
        if !store.has_blob(&layer.descriptor)? {
            return Ok(None);
        }
    }
    let known = entry.source.unwrap_or(entry.descriptor.digest);
    // The same index has other images for other platforms.
    let same_platform = platform.runs(&image.config.platform());
    let unchanged = same_platform && client.digest(name)?.as_ref() == Some(&known);
    Ok(unchanged.then_some((image, known)))
}

/// What the steps of one pull share.
struct Transfer<'a> {
    client: &'a Client,
    store: &'a Store,
    name: &'a Reference,
    lease: &'a Lease,
    progress: &'a mut dyn Progress,
}

impl Transfer<'_> {
    fn config(&mut self, manifest: &Manifest) -> Result<ImageConfig> {
        let blob = &manifest.config;
        check_config_size(blob)?;
        if !self.store.has_blob(blob)? {
            let mut reader = self.client.blob(self.name, blob)?;
            self.store.put_blob(self.lease, &mut reader, blob)?;
        }
        let raw = self.store.read_blob(blob, MAX_CONFIG)?;
        ImageConfig::parse(&format!("configuration {}", blob.digest), raw)
    }

    /// Gives the number of bytes that were downloaded.
    fn layers(&mut self, manifest: &Manifest) -> Result<u64> {
        // A manifest may name a layer twice: the empty one that old tools made.
        let mut seen = HashSet::new();
        let mut missing = Vec::new();
        for layer in manifest.layers.iter().filter(|layer| seen.insert(&layer.digest)) {
            let (digest, size) = (&layer.digest, layer.size);
            if self.store.has_blob(layer)? {
                self.progress.event(Event::LayerExists { digest, size });
            } else {
                missing.push(layer);
            }
        }
        let mut downloaded = 0;
        let (client, store, name, lease) = (self.client, self.store, self.name, self.lease);
        let fetch = |layer: &&Descriptor, stop: &AtomicBool, post: &Post<u64>| {
            let mut open = |from| -> Result<Box<dyn Read + '_>> {
                let inner = client.blob_from(name, layer, from)?;
                Ok(Box::new(Watched { inner, done: from, stop, post: post.clone() }))
            };
            store.fetch_blob(lease, layer, &mut open, &mut |file| post.growing(file))
        };
        let mut listen = |report| match report {
            Report::Started(i) => {
                let Descriptor { digest, size, .. } = missing[i];
                self.progress.event(Event::LayerStart { digest, size: *size });
            }
            Report::Growing(i, file) => {
                let digest = &missing[i].digest;
                self.progress.event(Event::LayerGrowing { digest, file: &file });
            }
            Report::Bytes(i, done) => {
                self.progress.event(Event::LayerBytes { digest: &missing[i].digest, done });
            }
            Report::Done(i, bytes) => {
                downloaded += bytes;
                self.progress.event(Event::LayerDone { digest: &missing[i].digest });
            }
        };
        let result = crew::carry(&missing, client.options().concurrency, fetch, &mut listen);
        if let Err(error) = &result
            && !error.is_worth_resuming()
        {
            // An image that was refused is not tried again: nothing of it stays.
            missing.iter().for_each(|layer| store.forget_partial(&layer.digest));
        }
        result.map(|()| downloaded)
    }
}

/// Reports the bytes that pass, and stops where another layer has failed.
struct Watched<'a, R> {
    inner: R,
    done: u64,
    stop: &'a AtomicBool,
    post: Post<u64>,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::Stopped.into());
        }
        let n = self.inner.read(buffer)?;
        self.done += n as u64;
        if n > 0 {
            self.post.bytes(self.done);
        }
        Ok(n)
    }
}
