//! Exercise 3.4: files that were deleted come back.
//!
//! `cargo run -p corten-unionfs --example returns -- UPPER LAYER[:LAYER…] layer.tar`
#![deny(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use corten_namespaces::Root;
use corten_unionfs::diff::{LayerWriter, of_tree};
use corten_unionfs::{Driver, OverlayDriver, Result};

// ANCHOR: broken
/// Packs a container's changes. All that overlay has collected is in `upper`, so that is what
/// the layer has to hold.
///
/// # Errors
/// What the kernel answers.
pub fn broken(container: &Path, _layers: &[PathBuf]) -> Result<Vec<u8>> {
    let mut layer = LayerWriter::new(Vec::new());
    of_tree(&Root::open(container.join("upper"))?, &mut layer)?;
    Ok(layer.finish()?.0)
}
// ANCHOR_END: broken

// ANCHOR: mended
/// Packs a container's changes, what is gone among them.
///
/// # Errors
/// What the kernel answers.
pub fn mended(container: &Path, layers: &[PathBuf]) -> Result<Vec<u8>> {
    let mut layer = LayerWriter::new(Vec::new());
    OverlayDriver::default().diff(layers, container, &mut layer)?;
    Ok(layer.finish()?.0)
}
// ANCHOR_END: mended

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [container, stack, output] = arguments.as_slice() else {
        eprintln!("returns: wants a container's directory, its layers and a file");
        return ExitCode::FAILURE;
    };
    let layers: Vec<PathBuf> = stack.split(':').map(PathBuf::from).collect();
    let packed = broken(Path::new(container), &layers);
    match packed.and_then(|layer| std::fs::write(output, layer).map_err(Into::into)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("returns: {error}");
            ExitCode::FAILURE
        }
    }
}
