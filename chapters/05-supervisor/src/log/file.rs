//! The file that is written, and its predecessors.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

use super::format::Format;
use super::options::Limits;
use super::packer::Packer;
use super::rotation::{self, numbered};
use crate::error::{Error, Result};
use crate::reader::entries::{At, Entries};

/// A log's files.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    format: Format,
    limits: Limits,
    file: File,
    /// Where its whole entries end.
    size: u64,
    /// Whether there is half an entry behind them, which could not be cut off.
    frayed: bool,
    packer: Packer,
}

/// What could not be done.
#[derive(Debug)]
pub(super) struct Failure {
    /// What was tried.
    pub(super) operation: &'static str,
    /// Why it failed.
    pub(super) error: io::Error,
    /// So many entries are lost.
    pub(super) lost: u64,
}

impl LogFile {
    /// Opens a log for appending, without the half of an entry at its end that a crash has left.
    pub(super) fn open(path: &Path, format: Format, limits: Limits) -> Result<LogFile> {
        let on_path = |operation| move |error| Error::path(operation, path, error);
        if let Some(directory) = path.parent().filter(|parent| !parent.exists()) {
            use std::os::unix::fs::DirBuilderExt;
            let mut builder = std::fs::DirBuilder::new();
            builder.recursive(true).mode(0o700).create(directory).map_err(on_path("make"))?;
        }
        if limits.size.is_some() {
            rotation::repair(path, limits.files.max(1)).map_err(on_path("rotate"))?;
        }
        let file = append_to(path, false).map_err(on_path("open"))?;
        let size = cut(&file, format).map_err(on_path("read"))?;
        let (path, packer) = (path.to_path_buf(), Packer::default());
        let mut log = LogFile { path, format, limits, file, size, frayed: false, packer };
        log.pack();
        Ok(log)
    }

    // ANCHOR: append
    /// Appends entries, and begins a new file wherever one has become full.
    pub(super) fn append(&mut self, mut batch: &[u8]) -> std::result::Result<(), Failure> {
        let mut told = Ok(());
        while !batch.is_empty() {
            let mut piece = batch.len();
            if let Some(limit) = self.limits.size.filter(|_| told.is_ok()) {
                if self.size > 0 && self.size >= limit {
                    // What cannot be rotated is written all the same.
                    told = self.rotate().map_err(|error| self.failure("rotate", error, 0));
                }
                // Half of the limit again and again: a file is full with the entry that fills it.
                let room = usize::try_from(limit.saturating_sub(self.size)).unwrap_or(usize::MAX);
                if told.is_ok() && piece > room {
                    piece = self.format.until(batch, room.max(1)).0.max(1);
                }
            }
            let (now, rest) = batch.split_at(piece.min(batch.len()));
            if let Err((whole, error)) = self.write(now) {
                let lost = self.format.count(now.get(whole..).unwrap_or_default());
                let lost = lost + self.format.count(rest);
                return Err(self.failure("write", error, lost));
            }
            batch = rest;
        }
        told
    }
    // ANCHOR_END: append

    /// Appends entries where there is room for all of them, after a failure: not a few of each batch.
    pub(super) fn append_all(&mut self, batch: &[u8]) -> std::result::Result<(), Failure> {
        if self.limits.size.is_some_and(|limit| self.size >= limit) {
            // A new file takes the place of the oldest, and with it there is room.
            return self.append(batch);
        }
        let (begin, length) = (self.size as libc::off_t, batch.len() as libc::off_t);
        match fallocate(&self.file, FallocateFlags::FALLOC_FL_KEEP_SIZE, begin, length) {
            Err(errno @ (Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG)) => {
                Err(self.failure("write", errno.into(), self.format.count(batch)))
            }
            // Not every file system can say it beforehand.
            _ => self.append(batch),
        }
    }

    fn failure(&self, operation: &'static str, error: io::Error, lost: u64) -> Failure {
        Failure { operation, error, lost }
    }

    /// Writes; where that fails, tells how many bytes of whole entries are in the file.
    fn write(&mut self, bytes: &[u8]) -> std::result::Result<(), (usize, io::Error)> {
        if self.frayed {
            self.file.set_len(self.size).map_err(|error| (0, error))?;
            self.frayed = false;
        }
        let mut done = 0;
        let error = loop {
            match self.file.write(bytes.get(done..).unwrap_or_default()) {
                Ok(0) => break io::ErrorKind::WriteZero.into(),
                Ok(length) => done += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break error,
            }
            if done == bytes.len() {
                self.size += done as u64;
                return Ok(());
            }
        };
        // Not half an entry: the next would be part of it.
        let whole = self.format.whole(bytes.get(..done).unwrap_or_default());
        self.size += whole as u64;
        self.frayed = done != whole && self.file.set_len(self.size).is_err();
        Err((whole, error))
    }

    // ANCHOR: rotate
    /// Begins a new file. It is made first: where that fails, nothing has changed.
    fn rotate(&mut self) -> io::Result<()> {
        let next = rotation::next(&self.path);
        let file = append_to(&next, true)?;
        let placed = match self.limits.files {
            0 | 1 => std::fs::rename(&next, &self.path),
            files => rotation::shift(&self.path, files).and_then(|()| {
                std::fs::rename(&self.path, numbered(&self.path, 1))?;
                std::fs::rename(&next, &self.path)
            }),
        };
        if let Err(error) = placed {
            let _ = std::fs::remove_file(&next);
            return Err(error);
        }
        self.file = file;
        self.size = 0;
        self.packer.rotated();
        self.pack();
        Ok(())
    }
    // ANCHOR_END: rotate

    /// Compresses what is to be compressed.
    fn pack(&mut self) {
        if self.limits.compress && self.limits.files > 1 && self.limits.size.is_some() {
            self.packer.start(&self.path, self.format);
        }
    }

    /// A child has ended: tells whether it was one of this log's.
    pub(super) fn child_ended(&mut self, pid: i32, status: i32) -> bool {
        let ours = self.packer.ended(pid, status, &self.path);
        if ours {
            self.pack();
        }
        ours
    }

    /// The child that compresses.
    pub(super) fn child(&self) -> Option<i32> {
        self.packer.child()
    }

    /// Writes to another file, for tests; gives the one before.
    #[cfg(test)]
    pub(super) fn replace(&mut self, file: File) -> File {
        std::mem::replace(&mut self.file, file)
    }

    /// Sees to it that what is written is on the disk.
    pub(super) fn sync(&self) {
        let _ = self.file.sync_data();
    }

    /// No more will be written.
    pub(super) fn close(&mut self) {
        self.packer.stop(&self.path);
    }
}

fn append_to(path: &Path, new: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.read(true).append(true).create(true).mode(0o640).open(path)?;
    if new {
        file.set_len(0)?;
    }
    Ok(file)
}

/// Cuts off what is no whole entry at the end of a file; gives its size then.
fn cut(file: &File, format: Format) -> io::Result<u64> {
    let size = file.metadata()?.len();
    let end = match format {
        Format::Json => after_last_newline(file, size)?,
        Format::Local => after_last_message(file, size)?,
    };
    if end != size {
        file.set_len(end)?;
    }
    Ok(end)
}

fn after_last_newline(file: &File, mut end: u64) -> io::Result<u64> {
    let mut block = [0; 4096];
    while end > 0 {
        let begin = end.saturating_sub(block.len() as u64);
        let piece = block.get_mut(..(end - begin) as usize).unwrap_or_default();
        file.read_exact_at(piece, begin)?;
        if let Some(at) = memchr::memrchr(b'\n', piece) {
            return Ok(begin + at as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

/// Where the last entry is whole that is where it has to be; otherwise by all of them.
fn after_last_message(file: &File, size: u64) -> io::Result<u64> {
    if let Some((_, 1)) = crate::reader::last_messages(file, 1)? {
        return Ok(size);
    }
    let mut entries = Entries::new(At { file, at: 0 }, Format::Local, 0);
    while entries.skip()? {}
    Ok(entries.end())
}
