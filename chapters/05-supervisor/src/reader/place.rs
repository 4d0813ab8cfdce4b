//! Where in a log to begin, without reading what is before.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::entries::{At, BLOCK, Entries};
use super::parts::{Lines, Part};
use crate::error::{Error, Result};
use crate::log::format::Format;
use crate::log::local::SOURCE;
use crate::record::Time;

/// How many parts are needed, counted from the newest, and the oldest of them at its right place.
pub(super) struct Place {
    pub(super) parts: usize,
    pub(super) first: Option<Lines>,
}

// ANCHOR: last
/// Where the last `count` entries begin. Files are read from their ends, so the size of the log does
/// not matter; only a compressed file has to be read as a whole.
pub(super) fn last(parts: &[Arc<Part>], format: Format, count: usize) -> Result<Place> {
    let mut left = count;
    let mut first = None;
    for (index, part) in parts.iter().enumerate() {
        if left == 0 {
            return Ok(Place { parts: index, first });
        }
        let found = match part.packed {
            Some(_) => last_packed(part, format, left)?,
            None => {
                let found = last_plain(&part.file, format, left);
                let (at, found) = found.map_err(|e| Error::path("read", &part.path, e))?;
                (part.lines(format, at)?, found)
            }
        };
        left -= found.1.min(left);
        first = Some(found.0);
    }
    Ok(Place { parts: parts.len(), first })
}
// ANCHOR_END: last

/// Counts first, then passes over what is not wanted: a log may be larger than the memory.
fn last_packed(part: &Arc<Part>, format: Format, count: usize) -> Result<(Lines, usize)> {
    let (mut counting, mut all) = (part.lines(format, 0)?, 0);
    while counting.skip()? {
        all += 1;
    }
    let mut lines = part.lines(format, 0)?;
    for _ in 0..all - count.min(all) {
        lines.skip()?;
    }
    Ok((lines, count.min(all)))
}

/// The place of the last `count` entries, or of all, and how many they are.
fn last_plain(file: &File, format: Format, count: usize) -> io::Result<(u64, usize)> {
    match format {
        Format::Json => last_documents(file, count),
        Format::Local => {
            // An entry may just be being written; then its end is there a moment later.
            for _ in 0..3 {
                if let Some(found) = last_messages(file, count)? {
                    return Ok(found);
                }
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            last_after_damage(file, count)
        }
    }
}

/// The bytes of a file, backwards.
struct Backwards<'a> {
    file: &'a File,
    block: Vec<u8>,
    at: u64,
}

impl Backwards<'_> {
    fn new(file: &File) -> Backwards<'_> {
        Backwards { file, block: Vec::new(), at: 0 }
    }

    /// At most a block that ends at `end`.
    fn before(&mut self, end: u64) -> io::Result<&[u8]> {
        self.at = end.saturating_sub(BLOCK as u64);
        self.block.resize((end - self.at) as usize, 0);
        self.file.read_exact_at(&mut self.block, self.at)?;
        Ok(&self.block)
    }

    /// The bytes from `at` on.
    fn array<const N: usize>(&mut self, at: u64) -> io::Result<[u8; N]> {
        let end = at + N as u64;
        if at < self.at || end > self.at + self.block.len() as u64 {
            self.before(end)?;
        }
        let from = (at - self.at) as usize;
        let bytes = self.block.get(from..).and_then(|bytes| bytes.first_chunk());
        bytes.copied().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

fn last_documents(file: &File, count: usize) -> io::Result<(u64, usize)> {
    let mut end = file.metadata()?.len();
    let mut bytes = Backwards::new(file);
    // Each document ends with one; the one before the first that is wanted tells where that begins.
    let mut newlines = 0;
    while end > 0 {
        let block = bytes.before(end)?;
        for at in memchr::memrchr_iter(b'\n', block) {
            if newlines == count {
                return Ok((bytes.at + at as u64 + 1, count));
            }
            newlines += 1;
        }
        end = bytes.at;
    }
    Ok((0, newlines))
}

/// The place of the last `count` entries of `local`, and how many they are; `None` where there is
/// something that is no entry.
pub(crate) fn last_messages(file: &File, count: usize) -> io::Result<Option<(u64, usize)>> {
    let mut at = file.metadata()?.len();
    let mut bytes = Backwards::new(file);
    for found in 0..count {
        if at == 0 {
            return Ok(Some((0, found)));
        }
        if at < 8 {
            return Ok(None);
        }
        let length: [u8; 4] = bytes.array(at - 4)?;
        let begin = at.checked_sub(u64::from(u32::from_be_bytes(length)) + 8);
        let Some(begin) = begin.filter(|_| length != [0; 4]) else { return Ok(None) };
        let head: [u8; 5] = bytes.array(begin)?;
        if head[..4] != length || head[4] != SOURCE {
            return Ok(None);
        }
        at = begin;
    }
    Ok(Some((at, count)))
}

/// Forwards, through whatever is damaged.
fn last_after_damage(file: &File, count: usize) -> io::Result<(u64, usize)> {
    let mut entries = Entries::new(At { file, at: 0 }, Format::Local, 0);
    let mut places = VecDeque::new();
    while let Some(begin) = entries.skip_from()? {
        if places.len() == count {
            places.pop_front();
        }
        places.push_back(begin);
    }
    Ok((places.front().copied().unwrap_or(entries.begin()), places.len()))
}

/// The time of the last entry.
pub(crate) fn last_time(file: &File, format: Format) -> Option<Time> {
    let (at, _) = last_plain(file, format, 1).ok()?;
    Some(Entries::new(At { file, at }, format, at).next().ok()??.time)
}

// ANCHOR: since
/// Where the entries from the time `since` on begin. A file whose first entry is older holds the
/// place; of those before it only the beginning is read, or nothing. In it the place is found by
/// halving. That takes times for ordered: entries from before the clock was set back may be missing.
pub(super) fn since(parts: &[Arc<Part>], format: Format, since: Time) -> Result<Place> {
    for (index, part) in parts.iter().enumerate() {
        if part.last_time().is_some_and(|last| last < since) {
            return Ok(Place { parts: index, first: None });
        }
        let first = part.lines(format, 0)?.next()?;
        if first.is_some_and(|entry| entry.time < since) {
            let at = match part.packed {
                Some(_) => 0,
                None => halve(&part.file, format, since)
                    .map_err(|error| Error::path("read", &part.path, error))?,
            };
            return Ok(Place { parts: index + 1, first: Some(part.lines(format, at)?) });
        }
    }
    Ok(Place { parts: parts.len(), first: None })
}

fn halve(file: &File, format: Format, since: Time) -> io::Result<u64> {
    // What begins before `low` is older; what begins at `high` or later is not.
    let (mut low, mut high) = (0, file.metadata()?.len());
    while high - low > BLOCK as u64 {
        let middle = low + (high - low) / 2;
        let mut entries = Entries::new(At { file, at: middle }, format, middle);
        // The rest of whatever is in the middle.
        let cut = entries.skip()?;
        match entries.next()?.filter(|_| cut && entries.end() <= high) {
            Some(entry) if entry.time < since => low = entries.end(),
            _ => high = middle,
        }
    }
    Ok(low)
}
// ANCHOR_END: since
