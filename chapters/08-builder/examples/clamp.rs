//! Exercise 8.3: no time in a layer is later than a date.
#![deny(unsafe_code)]

use std::io::{self, Read, Write};

// ANCHOR: clamp
/// Copies a layer; times after `date`, in seconds since 1970, become that.
///
/// # Errors
/// What cannot be read, or is no archive.
pub fn clamp(from: impl Read, date: u64, to: impl Write) -> io::Result<()> {
    let mut archive = tar::Archive::new(from);
    let mut out = tar::Builder::new(to);
    // Raw: extended headers are entries, too, and not yet a part of the next one.
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        let mut header = entry.header().clone();
        if header.mtime()? > date {
            header.set_mtime(date);
        }
        let mut content = Vec::new();
        if header.entry_type().is_pax_local_extensions() {
            entry.read_to_end(&mut content)?;
            content = clamp_records(&content, date)?;
            header.set_size(content.len() as u64);
            header.set_cksum();
            out.append(&header, content.as_slice())?;
        } else {
            header.set_cksum();
            out.append(&header, &mut entry)?;
        }
    }
    out.into_inner()?.flush()
}

/// The records of an extended header. A time there counts instead of the header's.
fn clamp_records(mut records: &[u8], date: u64) -> io::Result<Vec<u8>> {
    let bad = || io::Error::other("a record of an extended header is none");
    let mut out = Vec::new();
    while !records.is_empty() {
        // "LENGTH NAME=VALUE\n", and the length counts itself.
        let blank = records.iter().position(|byte| *byte == b' ').ok_or_else(bad)?;
        let length = std::str::from_utf8(&records[..blank]).ok().and_then(|text| text.parse().ok());
        let length: usize = length.ok_or_else(bad)?;
        if length <= blank || length > records.len() {
            return Err(bad());
        }
        let (record, rest) = records.split_at(length);
        let time = record[blank + 1..].strip_prefix(b"mtime=");
        let time = time.and_then(|value| std::str::from_utf8(value).ok());
        let later = time.is_some_and(|value| {
            let seconds = value.trim_end().parse::<f64>();
            // At the second itself, but with a fraction, is later, too.
            seconds.is_ok_and(|seconds| seconds > date as f64)
        });
        // Without the record, the header's time counts, which is clamped already.
        if !later {
            out.extend_from_slice(record);
        }
        records = rest;
    }
    Ok(out)
}
// ANCHOR_END: clamp

fn main() -> io::Result<()> {
    let date = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let date = date.ok_or_else(|| io::Error::other("usage: clamp SECONDS < LAYER > LAYER"))?;
    clamp(io::stdin().lock(), date, io::stdout().lock())
}
