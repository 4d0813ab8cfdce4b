//! Reading a layer's tar archive, entry by entry.
//!
//! A tar archive is a row of headers, each with its content, in blocks of 512 bytes. What has no
//! room in a header stands in front of it as an extra entry: GNU's long names (`L`, `K`) or POSIX's
//! extended headers (`x`). The entries of this module have all of that folded in and checked; the
//! tar crate gives the layout of the header block. Its own iterator is not used because it loads
//! extended headers of any size into memory, splits binary xattrs at newlines, and does not know
//! GNU's sparse records in PAX headers.

mod entry;
mod header;
mod pax;
mod sparse;
mod stream;
pub(crate) mod write;

use std::io::Read;

pub use entry::{Device, Entry, Kind, Time};
pub use sparse::Segment;
pub(crate) use stream::Source;

use crate::apply::Limits;
use crate::digest::DiffId;
use crate::error::{Error, Result};
use crate::pipeline::Direct;
use header::{BLOCK, Fields};
use sparse::{PaxSparse, Sparse};
use stream::Stream;

/// What stood in front of a header for it.
#[derive(Default)]
struct Extras {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    records: Option<Vec<pax::Record>>,
}

/// A tar archive that is read from its plain stream, once, from front to back.
pub struct Archive<R: Read>(Reader<Direct<R>>);

impl<R: Read> Archive<R> {
    /// An archive on the plain stream `source`.
    pub fn new(source: R, limits: Limits) -> Self {
        Archive(Reader::new(Direct::new(source), limits))
    }

    /// The next entry, or `None` at the archive's end. What was not read of the last one is passed
    /// over.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::Refused`], [`Error::Limit`], [`Error::Read`].
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        self.0.next_entry()
    }

    /// Reads the stream to its very end, so that the diff id is that of all of it.
    ///
    /// # Errors
    /// [`Error::Malformed`] where anything but zeroes follows the archive.
    pub fn finish(self) -> Result<Summary> {
        self.0.finish()
    }
}

/// The reader of an archive's entries, on whatever hands it the plain stream.
pub(crate) struct Reader<S> {
    stream: Stream<S>,
    limits: Limits,
    /// Whether names may begin with a slash, and mean the archive's root all the same.
    absolute: bool,
    entries: u64,
    /// Bytes of all files so far, holes included.
    files: u64,
    /// What of the current entry has not been read.
    content: u64,
    padding: u64,
    /// Where the current entry's content belongs in its file.
    segments: Vec<Segment>,
}

/// What an archive was, known only at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// The SHA-256 of the plain stream.
    pub diff_id: DiffId,
    /// Entries, without the extra ones for names and attributes.
    pub entries: u64,
    /// Bytes of the plain stream.
    pub bytes: u64,
}

impl<S: Source> Reader<S> {
    /// An archive on the plain stream `source`.
    pub(crate) fn new(source: S, limits: Limits) -> Self {
        Reader {
            stream: Stream::new(source, limits.max_bytes),
            limits,
            absolute: false,
            entries: 0,
            files: 0,
            content: 0,
            padding: 0,
            segments: Vec::new(),
        }
    }

    /// The same archive, whose names may begin with a slash.
    pub(crate) fn with_absolute_names(self) -> Self {
        Reader { absolute: true, ..self }
    }

    /// The next entry, or `None` at the archive's end. What was not read of the last one is passed
    /// over.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::Refused`], [`Error::Limit`], [`Error::Read`].
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>> {
        self.stream.skip(self.content + self.padding)?;
        (self.content, self.padding) = (0, 0);
        let mut extras = Extras::default();
        let mut extra = false;
        loop {
            let mut block = [0; BLOCK as usize];
            // Some writers leave the two blocks of zeroes at the end out.
            if !self.stream.exact(&mut block)? || block.iter().all(|&byte| byte == 0) {
                return match extra {
                    false => Ok(None),
                    true => Err(self.stream.malformed("an extended header without its entry")),
                };
            }
            let fields = header::parse(&block).map_err(|why| self.stream.malformed(why))?;
            if !self.take_extra(&fields, &mut extras)? {
                return self.entry(fields, extras).map(Some);
            }
            extra = true;
        }
    }

    /// Takes an entry that only describes the next one; `false` where it is a real one.
    fn take_extra(&mut self, fields: &Fields, extras: &mut Extras) -> Result<bool> {
        if !matches!(fields.typeflag, b'L' | b'K' | b'x' | b'g') {
            return Ok(false);
        }
        let limit = self.limits.max_headers;
        let size = usize::try_from(fields.size).ok().filter(|&size| size <= limit);
        let size = size.ok_or(Error::Limit {
            what: "bytes of extended headers for one entry",
            limit: limit as u64,
        })?;
        let mut data = self.stream.bytes(size)?;
        self.stream.skip(padding(fields.size))?;
        let slot = match fields.typeflag {
            b'L' => &mut extras.path,
            b'K' => &mut extras.link,
            // A global header speaks of all entries. No builder of images uses it for anything but
            // comments (git archive does), and other engines pass over it too.
            b'g' => return Ok(true),
            _ => {
                let records = pax::records(&data).map_err(|why| self.stream.malformed(why))?;
                if extras.records.replace(records).is_some() {
                    return Err(self.stream.malformed("two extended headers for one entry"));
                }
                return Ok(true);
            }
        };
        data.truncate(data.iter().position(|&byte| byte == 0).unwrap_or(data.len()));
        if slot.replace(data).is_some() {
            return Err(self.stream.malformed("two long names for one entry"));
        }
        Ok(true)
    }

    fn entry(&mut self, mut fields: Fields, extras: Extras) -> Result<Entry> {
        self.entries += 1;
        if self.entries > self.limits.max_entries {
            return Err(Error::Limit { what: "entries", limit: self.limits.max_entries });
        }
        let sparse = fields.sparse.take();
        let records = extras.records.unwrap_or_default();
        if (extras.path.is_some() && entry::has(&records, b"path"))
            || (extras.link.is_some() && entry::has(&records, b"linkpath"))
        {
            return Err(self.stream.malformed("an entry has both a GNU and a PAX long name"));
        }
        fields.path = extras.path.unwrap_or(fields.path);
        fields.link = extras.link.unwrap_or(fields.link);
        let mut entry = entry::build(fields, &records, &self.limits, self.absolute)?;
        let refused = |why| Error::Refused { entry: entry.path.shown(), why };
        if let Kind::File { size } = &mut entry.kind {
            let data = *size;
            self.padding = padding(data);
            let map = match (sparse, sparse::of_records(&records).map_err(refused)?) {
                (Some(gnu), _) => Some(self.gnu_map(gnu)?),
                (None, Some(map)) => Some(self.pax_map(map, data)?),
                (None, None) => None,
            };
            match map {
                Some((map, taken)) => {
                    // The padding is that of map and data together.
                    self.content = data - taken;
                    let map = map.check(self.content).map_err(refused)?;
                    *size = map.size;
                    self.segments = map.segments;
                }
                None => {
                    self.content = data;
                    self.segments = vec![Segment { offset: 0, length: data }];
                }
            }
            self.files = self.files.saturating_add(*size);
            if self.files > self.limits.max_bytes {
                return Err(Error::Limit { what: "bytes", limit: self.limits.max_bytes });
            }
        } else if entry.skip > 0 {
            (self.content, self.padding) = (entry.skip, padding(entry.skip));
        }
        Ok(entry)
    }

    fn gnu_map(&mut self, (mut map, mut more): (Sparse, bool)) -> Result<(Sparse, u64)> {
        while more {
            if map.segments.len() * size_of::<Segment>() > self.limits.max_headers {
                let limit = self.limits.max_headers as u64;
                return Err(Error::Limit { what: "bytes of one sparse file's map", limit });
            }
            let mut block = [0; BLOCK as usize];
            if !self.stream.exact(&mut block)? {
                return Err(self.stream.truncated());
            }
            more = header::more_pieces(&block, &mut map.segments)
                .map_err(|why| self.stream.malformed(why))?;
        }
        // These blocks are not part of the entry's size.
        Ok((map, 0))
    }

    fn pax_map(&mut self, map: PaxSparse, data: u64) -> Result<(Sparse, u64)> {
        match map {
            PaxSparse::Map(map) => Ok((map, 0)),
            PaxSparse::InData(size) => {
                let max = self.limits.max_headers;
                let (segments, taken) = sparse::in_data(&mut self.stream, data, max)?;
                Ok((Sparse { size, segments }, taken))
            }
        }
    }

    /// Hands the content of the entry that was read last to `write`, piece by piece, each with its
    /// place in the file. What lies between the pieces and after them, up to the size, is zeroes.
    ///
    /// # Errors
    /// As [`Reader::next_entry`], and what `write` answers.
    pub(crate) fn content(
        &mut self,
        mut write: impl FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        for segment in std::mem::take(&mut self.segments) {
            let end = segment.offset + segment.length;
            let mut at = segment.offset;
            while at < end {
                let chunk = self.stream.chunk(end - at)?;
                if chunk.is_empty() {
                    return Err(self.stream.truncated());
                }
                write(at, chunk)?;
                at += chunk.len() as u64;
                self.content -= chunk.len() as u64;
            }
        }
        Ok(())
    }

    /// Reads the stream to its very end, so that the diff id is that of all of it.
    ///
    /// # Errors
    /// [`Error::Malformed`] where anything but zeroes follows the archive.
    pub(crate) fn finish(mut self) -> Result<Summary> {
        self.stream.skip(self.content + self.padding)?;
        let entries = self.entries;
        let (diff_id, bytes) = self.stream.finish()?;
        Ok(Summary { diff_id, entries, bytes })
    }
}

fn padding(size: u64) -> u64 {
    (BLOCK - size % BLOCK) % BLOCK
}
