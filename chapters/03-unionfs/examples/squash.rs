//! Exercise 3.1: make one layer of a stack of them.
//!
//! `cargo run -p corten-unionfs --example squash -- TOP:…:BOTTOM layer.tar`
#![deny(unsafe_code)]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use corten_namespaces::Root;
use corten_unionfs::diff::{LayerWriter, Written, of_tree};
use corten_unionfs::{Driver, OverlayDriver, Result};

// ANCHOR: squash
/// Writes the merged tree of `layers` (topmost first) to `to`, as one layer.
///
/// # Errors
/// What the kernel or the writer answers.
pub fn squash(layers: &[PathBuf], to: impl Write) -> Result<Written> {
    let tree = OverlayDriver::default().mount(layers, None)?;
    let mut layer = LayerWriter::new(to);
    of_tree(&Root::from_fd(tree, "the merged tree"), &mut layer)?;
    let (_, written) = layer.finish()?;
    Ok(written)
}
// ANCHOR_END: squash

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [stack, output] = arguments.as_slice() else {
        eprintln!("squash: wants TOP:…:BOTTOM and a file");
        return ExitCode::FAILURE;
    };
    let layers: Vec<PathBuf> = stack.split(':').map(PathBuf::from).collect();
    let file = match File::create(output) {
        Ok(file) => BufWriter::new(file),
        Err(error) => {
            eprintln!("squash: {output}: {error}");
            return ExitCode::FAILURE;
        }
    };
    match squash(&layers, file) {
        Ok(written) => {
            println!("{} {} entries", written.diff_id, written.entries);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("squash: {error}");
            ExitCode::FAILURE
        }
    }
}
