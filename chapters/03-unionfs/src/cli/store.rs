//! `store`: what the engine does with layers, by hand.

use std::collections::HashSet;
use std::fs::File;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use corten_namespaces::Context;
use corten_unionfs::archive::Archive;
use corten_unionfs::{
    ChainId, Compression, DiffId, Error, Layer, LayerStore, Limits, Result, Wanted,
};

use super::say;

#[derive(Args)]
pub(super) struct Store {
    /// The store's directory; made where it is missing
    dir: PathBuf,
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Unpack layers, the first at the bottom, and print their chain ids
    Add {
        /// The layers: tar, plain or compressed with gzip or zstd
        #[arg(required = true)]
        layers: Vec<PathBuf>,
        /// Their diff ids, as the image's config has them; without, each layer is read twice
        #[arg(long, value_delimiter = ',')]
        diff_ids: Vec<DiffId>,
    },
    /// List the layers, with their size on the disk
    Ls,
    /// Print the stack that shows this layer with all below it, as `--lower` wants it
    Stack {
        /// The topmost layer
        chain_id: ChainId,
    },
    /// Remove all layers that none of these stands on
    Gc {
        /// Layers to keep, with all below them
        keep: Vec<ChainId>,
    },
}

impl Store {
    pub(super) fn execute(self) -> Result<()> {
        let store = LayerStore::open(&self.dir)?;
        match self.command {
            Action::Add { layers, diff_ids } => add(&store, &layers, &diff_ids),
            Action::Ls => {
                for layer in store.list()? {
                    let size = store.size_on_disk(&layer.chain_id)?;
                    say(&line(&layer, size))?;
                }
                say(&format!("driver {}", store.driver().name()))
            }
            Action::Stack { chain_id } => {
                let dirs = store.lower_dirs(&chain_id)?;
                let dirs: Vec<_> = dirs.iter().map(|dir| dir.display().to_string()).collect();
                say(&dirs.join(":"))
            }
            Action::Gc { keep } => {
                let removed = store.collect(|| Ok::<_, Error>(HashSet::from_iter(keep)))?;
                removed.iter().try_for_each(|chain_id| say(&format!("removed {chain_id}")))
            }
        }
    }
}

fn add(store: &LayerStore, files: &[PathBuf], diff_ids: &[DiffId]) -> Result<()> {
    let open = |file: &PathBuf| -> Result<File> { Ok(File::open(file).on("open", file)?) };
    let mut wanted = Vec::new();
    for (at, file) in files.iter().enumerate() {
        if let Some(&diff_id) = diff_ids.get(at) {
            wanted.push(Wanted { diff_id, compression: Compression::Detect });
            continue;
        }
        let stream = std::io::BufReader::with_capacity(1 << 18, open(file)?);
        let plain = Compression::Detect.decode(stream)?;
        let mut archive = Archive::new(plain, Limits::default());
        while archive.next_entry()?.is_some() {}
        let diff_id = archive.finish()?.diff_id;
        wanted.push(Wanted { diff_id, compression: Compression::Detect });
    }
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    let layers = store.ensure_all(None, &wanted, at_once, |at| open(&files[at]))?;
    layers.iter().try_for_each(|layer| say(&layer.chain_id.to_string()))
}

fn line(layer: &Layer, size: u64) -> String {
    let parent = layer.parent.map_or("-".into(), |parent| parent.hex()[..12].to_owned());
    let id = &layer.chain_id.hex()[..12];
    format!("{id} on {parent:<12} {:>8} entries {size:>12} bytes", layer.entries)
}
