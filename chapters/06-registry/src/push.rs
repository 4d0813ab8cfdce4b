//! A push: from an image in the store to a name in a registry.
//!
//! ```text
//! blobs ──▶ manifests of an index ──▶ the document of the name itself
//! ```
//!
//! In this order, so that nobody can pull what is not complete: a registry refuses a manifest whose
//! blobs it lacks. What the registry gave for the image once is pushed byte for byte where all of it
//! is here, so that it keeps its digest; else the image's own OCI manifest.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

use crate::client::{Client, Content, Pushed, Upload};
use crate::crew::{self, Post, Report};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::{Descriptor, Document};
use crate::pull::{Event, Progress};
use crate::reference::Reference;
use crate::store::{Bundle, Store};

/// The outcome of [`push`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedImage {
    /// The digest that the name now stands for.
    pub digest: Digest,
    /// The size of that document.
    pub size: u64,
    /// Blobs that the registry had, took from another repository, and was sent.
    pub blobs: [usize; 3],
    /// Bytes of blobs that were sent.
    pub uploaded: u64,
}

/// Pushes the image `source` (a name or an id in the store) as `to`.
///
/// # Errors
/// What the store lacks of the image, or whatever the registry or the network has against it.
pub fn push(
    client: &Client,
    store: &Store,
    source: &str,
    to: &Reference,
    progress: &mut dyn Progress,
) -> Result<PushedImage> {
    let (descriptor, bundle) = store.bundle(source)?;
    let mounts = mounts(store, to)?;
    let pushed = push_bundle(client, store, &bundle, to, &mounts, progress)?;
    store.note_served(to, &descriptor, &pushed.digest)?;
    Ok(pushed)
}

/// For each blob that the store has of this registry: a repository that had it.
fn mounts(store: &Store, to: &Reference) -> Result<HashMap<Digest, String>> {
    let mut mounts = HashMap::new();
    for entry in store.list()? {
        let Some(name) = entry.name.filter(|name| name.domain() == to.domain()) else { continue };
        if name.path() == to.path() {
            continue;
        }
        // An image that is damaged helps nobody, and is in nobody's way.
        let Ok(image) = store.load(&entry.descriptor) else { continue };
        for blob in image.manifest.layers.iter().chain([&image.manifest.config]) {
            mounts.insert(blob.digest.clone(), name.path().to_owned());
        }
    }
    Ok(mounts)
}

// ANCHOR: push
pub(crate) fn push_bundle(
    client: &Client,
    store: &Store,
    bundle: &Bundle,
    to: &Reference,
    mounts: &HashMap<Digest, String>,
    progress: &mut dyn Progress,
) -> Result<PushedImage> {
    if to.tag().is_none() && to.digest().is_some_and(|want| *want != Digest::sha256(&bundle.raw)) {
        let why = "what is to be pushed has another digest: give a tag";
        return Err(Error::invalid("image reference", to.familiar(), why));
    }
    let mut pushed = PushedImage {
        digest: Digest::sha256(&bundle.raw),
        size: bundle.raw.len() as u64,
        blobs: [0; 3],
        uploaded: 0,
    };
    let send = |blob: &Descriptor, _: &_, post: &Post<Pushed>| {
        let told = std::sync::Mutex::new(post.clone());
        let path = store.blob_path(&blob.digest);
        let mount = mounts.get(&blob.digest).map(String::as_str);
        let sent = move |done| {
            if let Ok(post) = told.lock() {
                post.bytes(done);
            }
        };
        let content = Content::File(&path);
        client.push_blob(&Upload { to, blob, content, mount, sent: Arc::new(sent) })
    };
    progress.event(Event::Sending(&bundle.blobs));
    let mut listen = |report| {
        let item = match report {
            Report::Started(i)
            | Report::Growing(i, _)
            | Report::Bytes(i, _)
            | Report::Done(i, _) => i,
        };
        let Descriptor { digest, size, .. } = &bundle.blobs[item];
        progress.event(match report {
            Report::Started(_) => Event::LayerStart { digest, size: *size },
            Report::Bytes(_, done) => Event::LayerBytes { digest, done },
            Report::Growing(..) => return,
            Report::Done(_, how) => {
                pushed.blobs[how as usize] += 1;
                match how {
                    Pushed::Existed => Event::LayerExists { digest, size: *size },
                    Pushed::Mounted => {
                        let from = mounts.get(digest).map_or("", String::as_str);
                        Event::LayerMounted { digest, from }
                    }
                    Pushed::Uploaded => {
                        pushed.uploaded += size;
                        Event::LayerDone { digest }
                    }
                }
            }
        });
    };
    crew::carry(&bundle.blobs, client.options().concurrency, send, &mut listen)?;
    for manifest in &bundle.manifests {
        let name = to.with_digest(manifest.descriptor().digest);
        client.push_manifest(&name, &manifest.descriptor().media_type, manifest.raw())?;
    }
    client.push_manifest(to, &bundle.kind, &bundle.raw)?;
    progress.event(Event::Resolved(&pushed.digest));
    Ok(pushed)
}
// ANCHOR_END: push

/// Copies an image between registries, with all its platforms or one of them, byte for byte. `store`
/// is where the blobs lie meanwhile; nothing in it gets a name.
///
/// # Errors
/// As for [`crate::pull()`] and [`push`].
pub fn copy(
    client: &Client,
    store: &Store,
    from: &Reference,
    to: &Reference,
    only: Option<&crate::Platform>,
    progress: &mut dyn Progress,
) -> Result<PushedImage> {
    progress.event(Event::Resolving(from));
    let fetched = client.manifest(from)?;
    let bundle = match (fetched.document, only) {
        (Document::Index(index), Some(platform)) => {
            let chosen = index.choose(&from.familiar(), platform)?;
            Bundle::of(client.manifest_of(from, chosen)?.document, Vec::new())
        }
        (Document::Index(index), None) => {
            let mut manifests = Vec::new();
            for entry in &index.manifests {
                match client.manifest_of(from, entry)?.document {
                    Document::Manifest(manifest) => manifests.push(manifest),
                    Document::Index(_) => {
                        let what = format!("manifest {}", entry.digest);
                        return Err(Error::malformed(what, "an index within an index"));
                    }
                }
            }
            Bundle::of(Document::Index(index), manifests)
        }
        (document, _) => Bundle::of(document, Vec::new()),
    };
    let lease = store.lease()?;
    lease.hold(bundle.blobs.iter().map(|blob| &blob.digest))?;
    let near = from.domain() == to.domain();
    let mut missing = Vec::new();
    for blob in &bundle.blobs {
        let there = near
            && (client.has_blob(to, &blob.digest)? || client.mount_blob(to, blob, from.path())?);
        // What the registry has need not come here.
        if !there && !store.has_blob(blob)? {
            missing.push(blob);
        }
    }
    let fetch = |blob: &&Descriptor, _: &_, _: &Post<u64>| {
        let mut open = |offset| -> Result<Box<dyn Read>> {
            Ok(Box::new(client.blob_from(from, blob, offset)?))
        };
        store.fetch_blob(&lease, blob, &mut open, &mut drop)
    };
    crew::carry(&missing, client.options().concurrency, fetch, &mut |_| {})?;
    push_bundle(client, store, &bundle, to, &HashMap::new(), progress)
}
