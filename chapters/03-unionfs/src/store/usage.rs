//! What images take on the disk.

use std::collections::{HashMap, HashSet};

use corten_namespaces::Root;

use super::LayerStore;
use crate::digest::ChainId;
use crate::error::Result;
use crate::walk::{Visit, Walk, identity};

/// What one image takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ImageUsage {
    /// Bytes of layers that no other image has.
    pub unique: u64,
    /// Bytes of layers that other images have, too.
    pub shared: u64,
}

impl ImageUsage {
    /// Both together.
    pub fn total(&self) -> u64 {
        self.unique + self.shared
    }
}

/// What all images take.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Usage {
    /// One per image, in the order in which they were asked for.
    pub images: Vec<ImageUsage>,
    /// All layers of the store, each counted once, those of no image among them.
    pub total: u64,
    /// Layers that none of the images has.
    pub unused: u64,
}

impl LayerStore {
    /// Measures every layer once. `images` are the chains of images, each layer with its chain id; a
    /// layer that is not there counts nothing.
    ///
    /// # Errors
    /// Where a layer cannot be read.
    pub fn usage(&self, images: &[Vec<ChainId>]) -> Result<Usage> {
        let mut sizes = HashMap::new();
        for layer in self.list()? {
            sizes.insert(layer.chain_id, self.size_on_disk(&layer.chain_id)?);
        }
        let mut users: HashMap<ChainId, usize> = HashMap::new();
        for image in images {
            // An image may have a layer twice in a row, but not under one chain id.
            for layer in image.iter().collect::<HashSet<_>>() {
                *users.entry(*layer).or_default() += 1;
            }
        }
        let mut usage = Usage { total: sizes.values().sum(), ..Usage::default() };
        for image in images {
            let mut of = ImageUsage::default();
            for layer in image.iter().collect::<HashSet<_>>() {
                let size = sizes.get(layer).copied().unwrap_or(0);
                match users.get(layer) {
                    Some(1) => of.unique += size,
                    _ => of.shared += size,
                }
            }
            usage.images.push(of);
        }
        let unused = sizes.iter().filter(|(layer, _)| !users.contains_key(layer));
        usage.unused = unused.map(|(_, size)| size).sum();
        Ok(usage)
    }

    /// The blocks of a layer's directory, in bytes; a file with several names counts once. With the
    /// drivers that keep whole trees, blocks that are shared with the layer below count again.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn size_on_disk(&self, chain_id: &ChainId) -> Result<u64> {
        let root = Root::open(self.diff(chain_id))?;
        let mut links = HashSet::new();
        let mut bytes = 0;
        let mut walk = Walk::new(&root);
        while let Some(visit) = walk.next()? {
            let Visit::Node(found) = visit else { continue };
            let several = !found.is_directory() && found.stat.st_nlink > 1;
            if !several || links.insert(identity(&found.stat)) {
                // In units of 512 bytes, whatever the file system's blocks are (stat(2)).
                bytes += found.stat.st_blocks.unsigned_abs() * 512;
            }
        }
        Ok(bytes)
    }
}
