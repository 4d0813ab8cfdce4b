//! Entries out of bytes, whatever is between them.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use super::Entry;
use crate::log::format::{Format, Found};

/// So much is read at once.
pub(crate) const BLOCK: usize = 64 << 10;

/// A file from some place on: the descriptor's own is not touched.
#[derive(Debug)]
pub(crate) struct At<F> {
    pub(crate) file: F,
    pub(crate) at: u64,
}

impl<F: std::borrow::Borrow<File>> Read for At<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.borrow().read_at(buffer, self.at)?;
        self.at += length as u64;
        Ok(length)
    }
}

/// Entries, one after the other. At the end of the file there may be more later: half an entry is
/// kept until its other half is there.
#[derive(Debug)]
pub(crate) struct Entries<R> {
    from: R,
    format: Format,
    buffer: Vec<u8>,
    /// Where in the buffer the next entry begins.
    next: usize,
    /// Where the buffer is in the file.
    at: u64,
    /// Where in the file the last whole entry ends.
    end: u64,
    /// Whether the beginning of what is read is of a line that is too long to be one.
    damaged: bool,
}

impl<R: Read> Entries<R> {
    /// From the present place of `from`, which is the place `at` in its file.
    pub(crate) fn new(from: R, format: Format, at: u64) -> Entries<R> {
        let (buffer, next) = (Vec::new(), 0);
        Entries { from, format, buffer, next, at, end: at, damaged: false }
    }

    /// The next entry; `None` where there is none that is whole. What is none is passed over.
    pub(crate) fn next(&mut self) -> io::Result<Option<Entry>> {
        loop {
            let Some(length) = self.whole()? else { return Ok(None) };
            let bytes = self.buffer.get(self.next..self.next + length).unwrap_or_default();
            let entry = self.format.decode(bytes);
            self.pass(length);
            if entry.is_some() {
                return Ok(entry);
            }
        }
    }

    /// Passes over an entry, without reading it; tells whether there was one.
    pub(crate) fn skip(&mut self) -> io::Result<bool> {
        let Some(length) = self.whole()? else { return Ok(false) };
        self.pass(length);
        Ok(true)
    }

    /// As [`Entries::skip`], and where that entry began.
    pub(crate) fn skip_from(&mut self) -> io::Result<Option<u64>> {
        let Some(length) = self.whole()? else { return Ok(None) };
        let begin = self.begin();
        self.pass(length);
        Ok(Some(begin))
    }

    /// Where the last entry that was given or passed over ends.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Where the next one begins, at the earliest.
    pub(crate) fn begin(&self) -> u64 {
        self.at + self.next as u64
    }

    fn pass(&mut self, length: usize) {
        self.next += length;
        self.end = self.begin();
    }

    /// The length of the next entry.
    fn whole(&mut self) -> io::Result<Option<usize>> {
        loop {
            match self.format.first(self.buffer.get(self.next..).unwrap_or_default()) {
                Found::Whole(length) if self.damaged => {
                    self.next += length;
                    self.damaged = false;
                }
                Found::Whole(length) => return Ok(Some(length)),
                Found::Damaged if self.format == Format::Json => {
                    // Up to the next newline, without keeping it.
                    self.next = self.buffer.len();
                    self.damaged = true;
                }
                Found::Damaged => self.next += 1,
                Found::Short => {
                    if !self.fill()? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.next);
        self.at += self.next as u64;
        self.next = 0;
        let held = self.buffer.len();
        self.buffer.resize(held + BLOCK, 0);
        let read = loop {
            match self.from.read(self.buffer.get_mut(held..).unwrap_or_default()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.buffer.truncate(held + *read.as_ref().unwrap_or(&0));
        Ok(read? > 0)
    }
}
