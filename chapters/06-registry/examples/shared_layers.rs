//! Exercise 6.1: which layers do several images share, and what does that save?
#![allow(missing_docs)]

use std::collections::BTreeMap;

use corten_registry::{Digest, Result, Store};

// ANCHOR: shared
/// Layers that more than one image has: the digest, its size, and how many images.
pub fn shared(store: &Store) -> Result<Vec<(Digest, u64, usize)>> {
    let mut images = BTreeMap::new();
    for entry in store.list()? {
        let image = store.load(&entry.descriptor)?;
        // Several names of one image are one image.
        images.insert(image.id.clone(), image);
    }
    let mut layers: BTreeMap<Digest, (u64, usize)> = BTreeMap::new();
    for image in images.values() {
        let mut own: Vec<_> = image.layers.iter().map(|layer| &layer.descriptor).collect();
        own.sort_by_key(|descriptor| &descriptor.digest);
        own.dedup_by_key(|descriptor| &descriptor.digest);
        for descriptor in own {
            layers.entry(descriptor.digest.clone()).or_insert((descriptor.size, 0)).1 += 1;
        }
    }
    let several = layers.into_iter().filter(|(_, (_, users))| *users > 1);
    Ok(several.map(|(digest, (size, users))| (digest, size, users)).collect())
}
// ANCHOR_END: shared

fn main() -> Result<()> {
    let store = Store::open(std::env::args().nth(1).unwrap_or_else(|| ".".to_owned()))?;
    for (digest, size, users) in shared(&store)? {
        println!("{digest} {size} bytes, {users} images: saves {}", size * (users as u64 - 1));
    }
    Ok(())
}
