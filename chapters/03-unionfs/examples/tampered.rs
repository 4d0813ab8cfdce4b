//! Exercise 3.3: has anybody touched an unpacked layer?
//!
//! `cargo run -p corten-unionfs --example tampered -- layer.tar.gz DIR`
#![deny(unsafe_code)]

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use corten_namespaces::Root;
use corten_unionfs::diff::{Listing, of_trees};
use corten_unionfs::{Compression, Options, Result, apply};

// ANCHOR: tampered
/// How the directory `dir` differs from the bottom layer `stream` that it was unpacked from. The
/// layer is unpacked once more, into the empty directory `scratch` on the same file system.
///
/// # Errors
/// What unpacking or comparing answers.
pub fn tampered(
    stream: impl Read + Send,
    dir: &Path,
    scratch: &Path,
) -> Result<Vec<(char, PathBuf)>> {
    let fresh = Root::open(scratch)?;
    let options = Options { bottom: true, ..Options::default() };
    apply(stream, Compression::Detect, &fresh, &options)?;
    let mut listing = Listing::default();
    of_trees(&fresh, &Root::open(dir)?, &mut listing)?;
    Ok(listing.lines)
}
// ANCHOR_END: tampered

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [layer, dir] = arguments.as_slice() else {
        eprintln!("tampered: wants a layer and the directory that it was unpacked to");
        return ExitCode::FAILURE;
    };
    let scratch = dir.with_extension("again");
    let outcome = File::open(layer)
        .and_then(|file| std::fs::create_dir(&scratch).map(|()| file))
        .map_err(Into::into)
        .and_then(|file| tampered(file, dir, &scratch));
    let _ = std::fs::remove_dir_all(&scratch);
    match outcome {
        Ok(lines) => {
            for (letter, path) in &lines {
                println!("{letter} {}", path.display());
            }
            if lines.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("tampered: {error}");
            ExitCode::FAILURE
        }
    }
}
