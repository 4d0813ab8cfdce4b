//! What the files of both drivers have in common: entries behind each other, whose ends can be found.

use std::collections::BTreeMap;

use super::lines::Piece;
use super::{json_file, local, stamp};
use crate::reader::Entry;
use crate::record::Time;

/// No document of json-file is longer: 16 KiB, each byte of which may have become six, and
/// attributes. What is longer is damaged.
const LONGEST_DOCUMENT: usize = 4 << 20;

/// How entries are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// One JSON document per line.
    Json,
    /// Messages between their lengths.
    Local,
}

/// What stands at the beginning of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// An entry, so many bytes long.
    Whole(usize),
    /// Perhaps one: its end is missing.
    Short,
    /// None.
    Damaged,
}

impl Format {
    /// Looks at the beginning of `bytes`.
    pub(crate) fn first(self, bytes: &[u8]) -> Found {
        match self {
            Format::Local => local::first(bytes),
            Format::Json => match memchr::memchr(b'\n', bytes) {
                Some(at) => Found::Whole(at + 1),
                None if bytes.len() > LONGEST_DOCUMENT => Found::Damaged,
                None => Found::Short,
            },
        }
    }

    /// Reads an entry that is whole; `None` where it is none.
    pub(crate) fn decode(self, entry: &[u8]) -> Option<Entry> {
        match self {
            Format::Json => json_file::decode(entry),
            Format::Local => local::decode(entry),
        }
    }

    /// How many bytes at the beginning are whole entries.
    pub(super) fn whole(self, bytes: &[u8]) -> usize {
        match self {
            Format::Json => memchr::memrchr(b'\n', bytes).map_or(0, |at| at + 1),
            Format::Local => self.until(bytes, usize::MAX).0,
        }
    }

    /// How many entries these are.
    pub(super) fn count(self, bytes: &[u8]) -> u64 {
        match self {
            Format::Json => memchr::memchr_iter(b'\n', bytes).count() as u64,
            Format::Local => self.until(bytes, usize::MAX).1,
        }
    }

    /// The entries at the beginning that together have at least `size` bytes: their length, and how
    /// many they are.
    pub(super) fn until(self, bytes: &[u8], size: usize) -> (usize, u64) {
        let (mut at, mut count) = (0, 0);
        while let Found::Whole(length) = self.first(bytes.get(at..).unwrap_or_default()) {
            at += length;
            count += 1;
            if at >= size {
                break;
            }
        }
        (at, count)
    }
}

/// Writes entries.
#[derive(Debug)]
pub(super) struct Encoder {
    pub(super) format: Format,
    /// As json-file has them.
    attributes: Vec<u8>,
    /// What the entries of a stream end with, and the time that stands in it.
    tails: [Vec<u8>; 2],
    time: Time,
}

impl Encoder {
    pub(super) fn new(format: Format, attributes: &BTreeMap<String, String>) -> Encoder {
        let attributes = json_file::attributes(attributes);
        Encoder { format, attributes, tails: Default::default(), time: 0 }
    }

    /// Entries are of this time from now on.
    pub(super) fn at(&mut self, time: Time) {
        if self.format == Format::Json && time != self.time {
            let text = stamp::rfc3339(time);
            self.tails = [false, true].map(|err| json_file::tail(err, &self.attributes, &text));
        }
        self.time = time;
    }

    /// Appends an entry.
    pub(super) fn encode(&self, to: &mut Vec<u8>, piece: &Piece<'_>) {
        let time = piece.part.map_or(self.time, |part| part.time);
        match self.format {
            Format::Local => local::encode(to, piece, time),
            Format::Json if time == self.time => {
                let tail = &self.tails[usize::from(piece.stderr)];
                json_file::encode(to, piece.line, piece.ends(), tail);
            }
            Format::Json => {
                let text = stamp::rfc3339(time);
                let tail = json_file::tail(piece.stderr, &self.attributes, &text);
                json_file::encode(to, piece.line, piece.ends(), &tail);
            }
        }
    }
}
