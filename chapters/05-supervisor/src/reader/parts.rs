//! The files of a log, while they change places.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;

use super::Entry;
use super::entries::{At, Entries};
use crate::error::{Error, Result};
use crate::log::format::Format;
use crate::log::packer::Header;
use crate::log::rotation::{numbered, packed, rotated};
use crate::log::stamp;
use crate::record::Time;

/// One file of a log.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) path: PathBuf,
    /// 0 for the one that is written, 1 for the one before it.
    pub(super) number: u32,
    pub(super) file: File,
    /// Of a compressed one, what its header says.
    pub(super) packed: Option<Header>,
}

impl Part {
    fn open(path: PathBuf, number: u32, is_packed: bool) -> io::Result<Part> {
        let file = File::open(&path)?;
        let header = is_packed.then(|| {
            let decoder = MultiGzDecoder::new(At { file: &file, at: 0 });
            let extra = decoder.header().and_then(|header| header.extra());
            extra.and_then(|extra| serde_json::from_slice(extra).ok()).unwrap_or_default()
        });
        Ok(Part { path, number, file, packed: header })
    }

    /// Its inode number; 0 where nobody knows. A compressed file has that of the plain one.
    fn inode(&self) -> u64 {
        match &self.packed {
            Some(header) => header.inode,
            None => self.file.metadata().map_or(0, |metadata| metadata.ino()),
        }
    }

    // ANCHOR: same
    /// Whether both are the same file, which may have been compressed between. A file that is open
    /// keeps its number to itself; that of one that was removed after it was compressed may be
    /// another's, so then the time of the last entry decides, too.
    pub(super) fn is_same(&self, other: &Part, format: Format) -> bool {
        let last = |part: &Part| match &part.packed {
            Some(header) => stamp::parse(&header.last_time),
            None => super::last_time(&part.file, format),
        };
        let plain = self.packed.is_none() && other.packed.is_none();
        self.inode() != 0 && self.inode() == other.inode() && (plain || last(self) == last(other))
    }
    // ANCHOR_END: same

    /// When its last entry was written, where that can be known at once.
    pub(super) fn last_time(&self) -> Option<Time> {
        self.packed.as_ref().and_then(|header| stamp::parse(&header.last_time))
    }

    /// Whether it still is the file of this name.
    pub(super) fn is_newest(&self, path: &Path) -> bool {
        self.packed.is_none()
            && path.metadata().is_ok_and(|metadata| metadata.ino() == self.inode())
    }

    /// Its entries from the place `at` on.
    pub(super) fn lines(self: &Arc<Part>, format: Format, at: u64) -> Result<Lines> {
        let file = self.file.try_clone().map_err(|e| Error::path("read", &self.path, e))?;
        let source = match self.packed {
            None => Source::Plain(Entries::new(At { file, at }, format, at)),
            Some(_) => {
                let decoder = MultiGzDecoder::new(At { file, at: 0 });
                Source::Packed(Box::new(Entries::new(decoder, format, 0)))
            }
        };
        Ok(Lines { source, part: Arc::clone(self), until: u64::MAX })
    }
}

/// The entries of a part, and how far they are read.
#[derive(Debug)]
pub(super) struct Lines {
    source: Source,
    pub(super) part: Arc<Part>,
    /// What begins here in the file, or later, is not wanted.
    until: u64,
}

#[derive(Debug)]
enum Source {
    Plain(Entries<At<File>>),
    Packed(Box<Entries<MultiGzDecoder<At<File>>>>),
}

impl Lines {
    /// Leaves out what is written from now on: who writes faster than it is read would never let it end.
    pub(super) fn as_of_now(&mut self) -> Result<()> {
        let path = &self.part.path;
        let metadata = self.part.file.metadata().map_err(|e| Error::path("look at", path, e))?;
        self.until = metadata.len();
        Ok(())
    }

    pub(super) fn next(&mut self) -> Result<Option<Entry>> {
        let entry = match &mut self.source {
            Source::Plain(entries) if entries.begin() >= self.until => return Ok(None),
            Source::Plain(entries) => entries.next(),
            Source::Packed(entries) => entries.next(),
        };
        entry.map_err(|error| Error::path("read", &self.part.path, error))
    }

    pub(super) fn skip(&mut self) -> Result<bool> {
        let skipped = match &mut self.source {
            Source::Plain(entries) => entries.skip(),
            Source::Packed(entries) => entries.skip(),
        };
        skipped.map_err(|error| Error::path("read", &self.part.path, error))
    }
}

// ANCHOR: parts
/// The files of the log that are there, the newest first. They may change places between two looks,
/// so it looks until nothing has changed meanwhile; a log that never rests is taken as it is.
pub(super) fn parts(path: &Path, format: Format) -> Result<Vec<Arc<Part>>> {
    let mut found = Vec::new();
    let mut before = Vec::new();
    for _ in 0..20 {
        found = look(path).map_err(|error| Error::path("open the log", path, error))?;
        let now: Vec<_> = found.iter().map(|part| (part.number, part.inode())).collect();
        if now == before {
            break;
        }
        before = now;
    }
    // The newest name of a file is the right one.
    let mut kept: Vec<Arc<Part>> = Vec::new();
    for part in found {
        if !kept.iter().any(|newer| newer.is_same(&part, format)) {
            kept.push(Arc::new(part));
        }
    }
    Ok(kept)
}
// ANCHOR_END: parts

fn look(path: &Path) -> io::Result<Vec<Part>> {
    let mut found = Vec::new();
    let mut add = |name: PathBuf, number, packed| match Part::open(name, number, packed) {
        Ok(part) => {
            found.push(part);
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    };
    add(path.to_path_buf(), 0, false)?;
    for number in rotated(path)?.into_keys() {
        // Where both are there, the compressed one may not be complete.
        if !add(numbered(path, number), number, false)? {
            add(packed(path, number), number, true)?;
        }
    }
    Ok(found)
}
