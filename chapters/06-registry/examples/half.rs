//! Exercise 6.4: a download that is sometimes half there.
#![allow(missing_docs)]

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use corten_registry::Digest;
use corten_registry::digest::VerifyingReader;

// ANCHOR: broken
/// Downloads a blob into `dir`, unless it is there. Content that is wrong is removed again.
pub fn broken(dir: &Path, digest: &Digest, body: &mut dyn Read) -> io::Result<()> {
    let path = dir.join(digest.hex());
    if path.exists() {
        return Ok(());
    }
    let mut file = File::create(&path)?;
    io::copy(body, &mut file)?;
    if Digest::sha256(&fs::read(&path)?) != *digest {
        fs::remove_file(&path)?;
        return Err(io::Error::other("wrong content"));
    }
    Ok(())
}
// ANCHOR_END: broken

// ANCHOR: mended
/// Downloads a blob into `dir`, unless it is there. The name is given to what is verified only.
pub fn mended(dir: &Path, digest: &Digest, size: u64, body: &mut dyn Read) -> io::Result<()> {
    let path = dir.join(digest.hex());
    if path.exists() {
        return Ok(());
    }
    let part = dir.join(format!("{}.part", digest.hex()));
    let mut file = File::create(&part)?;
    io::copy(&mut VerifyingReader::new(body, "blob", digest, size), &mut file)?;
    file.sync_all()?;
    fs::rename(&part, &path)?;
    File::open(dir)?.sync_all()
}
// ANCHOR_END: mended

fn main() {}
