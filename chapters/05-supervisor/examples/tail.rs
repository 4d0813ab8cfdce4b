//! Exercise 5.2: the last lines of a file, however long it is.
//!
//! `cargo run -p corten-supervisor --example tail -- FILE LINES`
#![deny(unsafe_code)]

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::process::ExitCode;

/// So much is read at once.
const BLOCK: u64 = 4096;

// ANCHOR: tail
/// The last `lines` lines of `file`; the last one may have no newline.
///
/// # Errors
/// Where it cannot be read.
pub fn tail(file: &mut (impl Read + Seek), lines: usize) -> io::Result<Vec<u8>> {
    let Some(before) = lines.checked_sub(1) else { return Ok(Vec::new()) };
    let mut begin = file.seek(SeekFrom::End(0))?;
    // All of the file from `begin` on.
    let mut found = Vec::new();
    while begin > 0 {
        let from = begin.saturating_sub(BLOCK);
        let mut block = vec![0; usize::try_from(begin - from).map_err(io::Error::other)?];
        file.seek(SeekFrom::Start(from))?;
        file.read_exact(&mut block)?;
        block.append(&mut found);
        (found, begin) = (block, from);
        // A newline at the very end ends the last line. It does not begin another.
        let text = found.strip_suffix(b"\n").unwrap_or(&found);
        let newlines = text.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
        if let Some((at, _)) = newlines.into_iter().nth(before) {
            return Ok(found.split_off(at + 1));
        }
    }
    Ok(found)
}
// ANCHOR_END: tail

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [path, lines] = &words[..] else {
        eprintln!("usage: tail FILE LINES");
        return ExitCode::FAILURE;
    };
    let lines = lines.parse().map_err(io::Error::other);
    let read = std::fs::File::open(path).and_then(|mut file| tail(&mut file, lines?));
    match read.and_then(|text| io::stdout().write_all(&text)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tail: {path}: {error}");
            ExitCode::FAILURE
        }
    }
}
