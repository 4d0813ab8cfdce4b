//! The plain stream of a layer: counted and limited as it goes by.

use crate::digest::DiffId;
use crate::error::{Error, Result};

/// Where the plain stream comes from, a good piece at a time.
pub(crate) trait Source {
    /// The next piece; empty only at the end of the stream.
    fn next(&mut self) -> Result<&[u8]>;

    /// The piece that came last.
    fn piece(&self) -> &[u8];

    /// The SHA-256 of all pieces, once the last one has come.
    fn diff_id(self) -> Result<DiffId>;
}

/// A reader that knows its position.
pub(super) struct Stream<S> {
    source: S,
    /// What of the current piece is still to be handed on.
    unread: std::ops::Range<usize>,
    /// Bytes that have come from the source.
    total: u64,
    max: u64,
}

impl<S: Source> Stream<S> {
    pub(super) fn new(source: S, max: u64) -> Self {
        Stream { source, unread: 0..0, total: 0, max }
    }

    /// How many bytes have been handed on.
    pub(super) fn offset(&self) -> u64 {
        self.total - self.unread.len() as u64
    }

    /// At most `most` bytes, in place; none only at the end of the stream.
    pub(super) fn chunk(&mut self, most: u64) -> Result<&[u8]> {
        if self.unread.is_empty() {
            let length = self.source.next()?.len();
            self.unread = 0..length;
            self.total += length as u64;
            if self.total > self.max {
                return Err(Error::Limit { what: "bytes", limit: self.max });
            }
        }
        let length = self.unread.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        let start = self.unread.start;
        self.unread.start += length;
        Ok(&self.source.piece()[start..start + length])
    }

    /// Fills `into`; `false` where the stream ended before its first byte.
    pub(super) fn exact(&mut self, into: &mut [u8]) -> Result<bool> {
        let mut filled = 0;
        while filled < into.len() {
            let chunk = self.chunk((into.len() - filled) as u64)?;
            if chunk.is_empty() {
                return if filled == 0 { Ok(false) } else { Err(self.truncated()) };
            }
            into[filled..filled + chunk.len()].copy_from_slice(chunk);
            filled += chunk.len();
        }
        Ok(true)
    }

    /// Passes over `count` bytes.
    pub(super) fn skip(&mut self, mut count: u64) -> Result<()> {
        while count > 0 {
            let length = self.chunk(count)?.len() as u64;
            if length == 0 {
                return Err(self.truncated());
            }
            count -= length;
        }
        Ok(())
    }

    /// `count` bytes, which the caller has found to be few enough for the memory.
    pub(super) fn bytes(&mut self, count: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        if count > 0 && !self.exact(&mut bytes)? {
            return Err(self.truncated());
        }
        Ok(bytes)
    }

    /// Reads to the end, where only zeroes may be left: tar pads its archives with them. The diff
    /// id is that of all bytes, padding included.
    pub(super) fn finish(mut self) -> Result<(DiffId, u64)> {
        loop {
            let offset = self.offset();
            let chunk = self.chunk(u64::MAX)?;
            if chunk.is_empty() {
                break;
            }
            if let Some(at) = chunk.iter().position(|&byte| byte != 0) {
                let why = "the archive has ended, but data follows".into();
                return Err(Error::Malformed { offset: offset + at as u64, why });
            }
        }
        Ok((self.source.diff_id()?, self.total))
    }

    pub(super) fn malformed(&self, why: impl Into<String>) -> Error {
        Error::Malformed { offset: self.offset(), why: why.into() }
    }

    pub(super) fn truncated(&self) -> Error {
        self.malformed("the stream ends in the middle of an entry (truncated?)")
    }
}
