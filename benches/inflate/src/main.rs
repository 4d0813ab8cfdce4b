//! `inflate FILE` reads a gzip file as chapter 3's pipeline does, in pieces of 256 KiB, and prints how
//! many bytes came out. Which library does it is a feature of this crate: see Cargo.toml.

use std::fs::File;
use std::io::{self, BufReader, Read};

const PIECE: usize = 256 * 1024;

fn main() -> io::Result<()> {
    let path = std::env::args_os().nth(1).ok_or_else(|| io::Error::other("inflate FILE"))?;
    let mut plain = decoder(BufReader::with_capacity(PIECE, File::open(path)?));
    let mut piece = vec![0; PIECE];
    let mut total = 0;
    loop {
        match plain.read(&mut piece)? {
            0 => break,
            length => total += length,
        }
    }
    println!("{total}");
    Ok(())
}

#[cfg(not(feature = "cloudflare"))]
fn decoder(file: BufReader<File>) -> impl Read {
    flate2::bufread::MultiGzDecoder::new(file)
}

#[cfg(feature = "cloudflare")]
mod sys;
#[cfg(feature = "cloudflare")]
use sys::decoder;
