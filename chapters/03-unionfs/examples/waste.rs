//! Exercise 3.2: how many bytes of a stack of layers does nobody see?
//!
//! `cargo run -p corten-unionfs --example waste -- TOP:…:BOTTOM`
#![deny(unsafe_code)]

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use corten_namespaces::Root;
use corten_unionfs::why::{Verdict, why};
use corten_unionfs::{Error, Result};

// ANCHOR: waste
/// For each of `layers` (topmost first), the bytes of its files that a layer above hides or deletes.
///
/// # Errors
/// Where a layer cannot be read.
pub fn waste(layers: &[PathBuf]) -> Result<Vec<u64>> {
    let roots = layers.iter().map(Root::open).collect::<Result<Vec<_>, _>>()?;
    let mut hidden = vec![0; layers.len()];
    for (at, layer) in layers.iter().enumerate() {
        for (path, size) in files(layer, layer)? {
            // The verdicts from the top down to this layer; the last one is its own.
            if why(&roots[..=at], &path)?.last() != Some(&Verdict::Shows) {
                hidden[at] += size;
            }
        }
    }
    Ok(hidden)
}
// ANCHOR_END: waste

/// The regular files below `dir`, as paths from `root`, with their sizes.
fn files(root: &Path, dir: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let read = |source| Error::Read { source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(read)? {
        let path = entry.map_err(read)?.path();
        let metadata = path.symlink_metadata().map_err(read)?;
        if metadata.is_dir() {
            found.extend(files(root, &path)?);
        } else if metadata.is_file() {
            let inside = path.strip_prefix(root).unwrap_or(&path).to_path_buf();
            found.push((inside, metadata.size()));
        }
    }
    Ok(found)
}

fn main() -> ExitCode {
    let stack = std::env::args().nth(1).unwrap_or_default();
    let layers: Vec<PathBuf> = stack.split(':').map(PathBuf::from).collect();
    match waste(&layers) {
        Ok(hidden) => {
            for (layer, bytes) in layers.iter().zip(hidden) {
                println!("{bytes:>12} {}", layer.display());
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("waste: {error}");
            ExitCode::FAILURE
        }
    }
}
