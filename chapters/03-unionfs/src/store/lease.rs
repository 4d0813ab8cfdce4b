//! Who uses a layer, and what nobody uses any more.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use corten_namespaces::Context;
use nix::fcntl::{Flock, FlockArg};

use super::{Layer, LayerStore};
use crate::digest::ChainId;
use crate::error::{Error, Result};
use crate::node;

const LEASE: &str = ".lease-";
const GATE: &str = ".gate";

// ANCHOR: lease
/// While it lives, these layers and all below them stay, whether they are there yet or not.
///
/// It is a file that names the layers and is locked. The kernel unlocks it when the process ends,
/// however it ends, and a file that nobody has locked counts for nothing.
#[derive(Debug)]
pub struct Lease {
    path: PathBuf,
    _lock: Flock<File>,
}
// ANCHOR_END: lease

impl Drop for Lease {
    fn drop(&mut self) {
        // Where that fails, the next collection does it.
        let _ = fs::remove_file(&self.path);
    }
}

impl LayerStore {
    /// Keeps `layers` until the lease is dropped or the process ends.
    ///
    /// # Errors
    /// Where the lease cannot be written.
    pub fn lease(&self, layers: &[ChainId]) -> Result<Lease> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        // Either the collection sees the lease, or the lease comes after the collection.
        let _gate = self.gate(FlockArg::LockShared)?;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = self.path.join(format!("{LEASE}{}-{count}", std::process::id()));
        let file = File::create(&path).on("create", &path)?;
        let lock = Flock::lock(file, FlockArg::LockExclusive);
        let mut lock = lock.map_err(|(_, errno)| errno).on("lock", &path)?;
        let lines: String = layers.iter().map(|layer| format!("{layer}\n")).collect();
        lock.write_all(lines.as_bytes()).on("write", &path)?;
        Ok(Lease { path, _lock: lock })
    }

    // ANCHOR: collect
    /// Removes every layer that is neither in `used`, nor below one that is, nor leased. Gives the
    /// removed ones, topmost first.
    ///
    /// `used` is asked for while no lease can begin: whoever makes a record of an image or of a
    /// container holds a lease on its layers until the record is written.
    ///
    /// # Errors
    /// What `used` says, or what the kernel answers. Layers that are gone by then stay gone.
    pub fn collect<E: From<Error>>(
        &self,
        used: impl FnOnce() -> Result<HashSet<ChainId>, E>,
    ) -> Result<Vec<ChainId>, E> {
        let gate = self.gate(FlockArg::LockExclusive)?;
        let mut roots = used()?;
        roots.extend(self.leased()?);
        let mut graves = Vec::new();
        let mut removed = Vec::new();
        for layer in self.unused(&roots)? {
            // Two collections follow each other, but `remove` asks nobody.
            match self.bury(&layer) {
                Ok(grave) => graves.push(grave),
                Err(Error::NoSuchLayer { .. }) => continue,
                Err(error) => return Err(error.into()),
            }
            removed.push(layer);
        }
        drop(gate);
        // The slow part, which nobody has to wait for.
        drop(graves);
        Ok(removed)
    }
    // ANCHOR_END: collect

    /// The layers that `roots` do not stand on, each before the ones that it stands on: a crash in
    /// between leaves no layer without what it stands on.
    fn unused(&self, roots: &HashSet<ChainId>) -> Result<Vec<ChainId>> {
        let layers: BTreeMap<ChainId, Layer> =
            self.list()?.into_iter().map(|layer| (layer.chain_id, layer)).collect();
        let layers = &layers;
        let below = |from: &ChainId| {
            let mut next = Some(*from);
            std::iter::from_fn(move || {
                let here = next?;
                next = layers.get(&here).and_then(|layer| layer.parent);
                Some(here)
            })
        };
        let used: HashSet<ChainId> = roots.iter().flat_map(&below).collect();
        let mut unused: Vec<(usize, ChainId)> = layers
            .keys()
            .filter(|chain_id| !used.contains(chain_id))
            .map(|chain_id| (below(chain_id).count(), *chain_id))
            .collect();
        unused.sort_unstable_by(|a, b| b.cmp(a));
        Ok(unused.into_iter().map(|(_, chain_id)| chain_id).collect())
    }

    /// What living processes hold. Leases of dead ones are removed.
    fn leased(&self) -> Result<Vec<ChainId>> {
        let mut leased = Vec::new();
        for entry in fs::read_dir(&self.path).on("read", &self.path)? {
            let entry = entry.on("read", &self.path)?;
            if !entry.file_name().as_encoded_bytes().starts_with(LEASE.as_bytes()) {
                continue;
            }
            let path = entry.path();
            let Ok(file) = File::open(&path) else { continue };
            match Flock::lock(file, FlockArg::LockSharedNonblock) {
                // Nobody holds it.
                Ok(_) => {
                    let _ = fs::remove_file(&path);
                }
                Err((mut file, _)) => {
                    let mut text = String::new();
                    file.read_to_string(&mut text).on("read", &path)?;
                    leased.extend(text.lines().filter_map(|line| line.parse::<ChainId>().ok()));
                }
            }
        }
        Ok(leased)
    }

    fn gate(&self, how: FlockArg) -> Result<Flock<File>> {
        let path: &Path = &self.path.join(GATE);
        let file = corten_namespaces::lock::open(path).map_err(node::errno).on("open", path)?;
        let lock = Flock::lock(file, how).map_err(|(_, errno)| errno);
        lock.on("lock", path).map_err(Error::from)
    }
}
