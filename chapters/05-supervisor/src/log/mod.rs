//! The container's log: Docker's drivers `json-file`, `local` and `none`.
//!
//! ```text
//! output ──▶ lines ──▶ format ──▶ one write(2) per piece of output ──▶ file ──▶ rotation ──▶ packer
//!            16 KiB    json_file                                                             (a child)
//!                      local                └──▶ apart (a child), in non-blocking mode
//! ```
//!
//! What is written is what dockerd writes of the same output, but for its times; the tests compare
//! with files that dockerd has written (`tests/dockerd`). Where the same is not enough:
//!
//! - Entries that come together are written together and have one time.
//! - A kill at any moment leaves whole entries, none of them twice: half an entry is cut off when the
//!   log is opened again, and files change places by rename(2) alone.
//! - A disk that is full, or fails, does not stop the container. It is told once, and written into
//!   the log when there is room again, with the number of lines that are lost.

mod apart;
pub mod attributes;
mod file;
pub(crate) mod format;
mod json_file;
mod lines;
pub(crate) mod local;
pub mod options;
pub(crate) mod packer;
mod ring;
pub(crate) mod rotation;
pub(crate) mod stamp;

use std::os::fd::BorrowedFd;
use std::path::PathBuf;

pub use options::{Driver, Options};

use crate::error::Result;
use crate::protocol::Event;
use crate::record::now;
use crate::settings::Log;
use apart::{Apart, Place};
use file::{Failure, LogFile};
use format::Encoder;
use lines::{Lines, Piece};

/// So much is encoded before it is written: short lines become thirty times as long.
const ENCODED: usize = 64 << 10;

/// Where the container's output goes.
#[derive(Debug)]
pub(crate) struct Output {
    log: Option<Writer>,
}

#[derive(Debug)]
struct Writer {
    path: PathBuf,
    lines: Lines,
    encoder: Encoder,
    /// What is written at once.
    buffer: Vec<u8>,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    /// The shim writes, and the program waits for the disk.
    Here(Losing),
    /// A child writes, and nobody waits.
    Apart(Apart),
}

impl Output {
    /// Opens the log.
    ///
    /// # Errors
    /// An option that is none; where the file cannot be opened.
    pub(crate) fn open(log: Option<&Log>) -> Result<Output> {
        let Some(log) = log else { return Ok(Output { log: None }) };
        let options = Options::parse(&log.driver, &log.options)?;
        let Some(format) = options.driver.format() else { return Ok(Output { log: None }) };
        let encoder = || Encoder::new(format, &log.attributes);
        let (path, limits) = (log.path.clone(), options.limits);
        let mut file = LogFile::open(&path, format, limits)?;
        let sink = match options.buffer {
            None => Sink::Here(Losing::new(file)),
            Some(most) => {
                // It can be opened; by whom it will be written, it is opened again.
                file.close();
                Sink::Apart(Apart::new(Place { path, limits, encoder: encoder() }, most))
            }
        };
        let lines = Lines::new(options.driver == Driver::Local);
        let (path, buffer, encoder) = (log.path.clone(), Vec::new(), encoder());
        Ok(Output { log: Some(Writer { path, lines, encoder, buffer, sink }) })
    }

    /// Takes in output. A log that cannot be written is told once; the container goes on.
    pub(crate) fn write(&mut self, stderr: bool, bytes: &[u8]) -> Option<Event> {
        self.log.as_mut()?.take(stderr, bytes)
    }

    /// The program has ended: what it has not ended is an entry, too.
    pub(crate) fn end(&mut self) -> Option<Event> {
        self.log.as_mut()?.end()
    }

    /// A child of the shim's has ended: tells whether it was one of the log's.
    pub(crate) fn child_ended(&mut self, pid: i32, status: i32) -> bool {
        self.log.as_mut().is_some_and(|log| match &mut log.sink {
            Sink::Here(losing) => losing.file.child_ended(pid, status),
            Sink::Apart(apart) => apart.child_ended(pid),
        })
    }

    /// What is to be waited for: a descriptor, which one since the beginning it is, and whether there
    /// is something to write to it.
    pub(crate) fn waits(&self) -> Option<(u64, BorrowedFd<'_>, bool)> {
        match &self.log.as_ref()?.sink {
            Sink::Here(_) => None,
            Sink::Apart(apart) => apart.waits(),
        }
    }

    /// What is waited for is ready.
    pub(crate) fn ready(&mut self) -> Option<Event> {
        let log = self.log.as_mut()?;
        let Sink::Apart(apart) = &mut log.sink else { return None };
        apart.serve().map(|why| Event::LogFailed { path: log.path.clone(), why })
    }

    /// The child that compresses, for tests that collect it themselves.
    #[cfg(test)]
    pub(crate) fn child(&self) -> Option<i32> {
        match &self.log.as_ref()?.sink {
            Sink::Here(losing) => losing.file.child(),
            Sink::Apart(_) => None,
        }
    }

    /// No more will come.
    pub(crate) fn close(&mut self) {
        if let Some(Writer { sink: Sink::Here(losing), .. }) = &mut self.log {
            losing.file.close();
        }
    }
}

impl Writer {
    fn take(&mut self, stderr: bool, bytes: &[u8]) -> Option<Event> {
        let time = now();
        self.encoder.at(time);
        let Writer { lines, encoder, buffer, sink, .. } = self;
        let mut told = None;
        lines.take(stderr, bytes, time, &mut |piece| {
            encoder.encode(buffer, &piece);
            if buffer.len() >= ENCODED {
                told = both(told.take(), sink.put(buffer, encoder));
                buffer.clear();
            }
        });
        let flushed = self.flush();
        self.told(both(told, flushed))
    }

    fn end(&mut self) -> Option<Event> {
        let time = now();
        self.encoder.at(time);
        let (encoder, buffer) = (&self.encoder, &mut self.buffer);
        self.lines.end(time, &mut |piece| encoder.encode(buffer, &piece));
        let told = self.flush();
        let last = match &mut self.sink {
            Sink::Here(losing) => losing.end(&self.encoder),
            Sink::Apart(apart) => apart.end(),
        };
        self.told(both(told, last))
    }

    fn told(&self, why: Option<String>) -> Option<Event> {
        why.map(|why| Event::LogFailed { path: self.path.clone(), why })
    }

    /// Hands on what is encoded.
    fn flush(&mut self) -> Option<String> {
        if self.buffer.is_empty() {
            return None;
        }
        let why = self.sink.put(&self.buffer, &self.encoder);
        self.buffer.clear();
        // A flood has made it large.
        self.buffer.shrink_to(2 * ENCODED);
        why
    }
}

/// One sentence after the other.
fn both(first: Option<String>, second: Option<String>) -> Option<String> {
    match (first, second) {
        (Some(first), Some(second)) => Some(format!("{first}; {second}")),
        (first, second) => first.or(second),
    }
}

impl Sink {
    /// Writes entries; gives a sentence where there is something to tell.
    fn put(&mut self, entries: &[u8], encoder: &Encoder) -> Option<String> {
        match self {
            Sink::Here(losing) => losing.append(entries, encoder),
            Sink::Apart(apart) => apart.put(entries),
        }
    }
}

/// A file, and what could not be written to it.
#[derive(Debug)]
struct Losing {
    file: LogFile,
    /// So many entries, since the disk has failed; and why.
    lost: Option<(u64, String)>,
    /// Whether it has been told that the files cannot change places.
    stuck: bool,
}

impl Losing {
    fn new(file: LogFile) -> Losing {
        Losing { file, lost: None, stuck: false }
    }

    // ANCHOR: losing
    /// Appends entries. After a failure the next ones are tried together with a line that says what
    /// is missing before them.
    fn append(&mut self, entries: &[u8], encoder: &Encoder) -> Option<String> {
        let Some((lost, why)) = &mut self.lost else {
            let appended = self.file.append(entries);
            return self.judge(appended);
        };
        let line = format!("corten: {lost} lines of output are missing here: {why}");
        let piece = Piece { stderr: true, line: line.as_bytes(), part: None };
        let mut batch = Vec::with_capacity(entries.len() + 256);
        encoder.encode(&mut batch, &piece);
        batch.extend_from_slice(entries);
        match self.file.append_all(&batch) {
            Err(failure) if failure.lost > 0 => {
                // The line that says so is not missing.
                *lost += failure.lost - 1;
                None
            }
            _ => {
                let why = format!("it is written again: {lost} lines are missing");
                self.lost = None;
                Some(why)
            }
        }
    }
    // ANCHOR_END: losing

    /// No more comes for now: what is missing is said, where there is room for that, and what is there
    /// is on the disk.
    fn end(&mut self, encoder: &Encoder) -> Option<String> {
        let told = self.lost.is_some().then(|| self.append(&[], encoder)).flatten();
        self.file.sync();
        told
    }

    fn judge(&mut self, appended: std::result::Result<(), Failure>) -> Option<String> {
        let Err(Failure { operation, error, lost }) = appended else {
            self.stuck = false;
            return None;
        };
        let why = format!("{operation}: {error}");
        if lost > 0 {
            self.lost = Some((lost, error.to_string()));
            return Some(why);
        }
        (!std::mem::replace(&mut self.stuck, true)).then_some(why)
    }
}

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod tests;
