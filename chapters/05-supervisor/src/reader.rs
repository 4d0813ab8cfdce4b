//! Reading a container's log while it is written: the last lines without reading the first, and
//! what comes, across rotation.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde::Deserialize;

use crate::error::{Context, Error, Result};
use crate::output::numbered;

/// So much is read at once.
const BLOCK: usize = 64 << 10;

/// How often a reader that follows looks whether anybody still writes, in milliseconds.
const LOOK: u16 = 500;

/// One document of the log.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Entry {
    /// A line, or a piece of one: then without a newline at its end.
    pub log: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// When it was written.
    pub time: String,
}

/// What of the log is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The last so many documents only.
    pub tail: Option<usize>,
    /// What comes, too, for as long as somebody writes.
    pub follow: bool,
}

// ANCHOR: read
/// Gives the documents of the log at `path`, oldest first, to `take`, until that says `false`.
/// Following ends when `is_written` says that nobody writes any more.
///
/// # Errors
/// Where a file cannot be read.
pub fn read(
    path: &Path,
    wanted: Wanted,
    is_written: &dyn Fn() -> bool,
    take: &mut dyn FnMut(Entry) -> Result<bool>,
) -> Result<()> {
    let bell = wanted.follow.then(|| bell(path)).transpose()?;
    let mut files = files(path);
    let mut from = 0;
    match wanted.tail {
        None => {}
        Some(0) => files.clear(),
        Some(tail) => (files, from) = last(files, tail)?,
    }
    let mut current = None;
    for (file, path) in files {
        let mut lines = Lines { file, path, at: std::mem::take(&mut from) };
        if !lines.pass_on(take)? {
            return Ok(());
        }
        current = Some(lines);
    }
    let Some(bell) = bell else { return Ok(()) };
    loop {
        // Before the last look at the file: what is written until here is seen then.
        let goes_on = is_written();
        if let Some(lines) = &mut current
            && !lines.pass_on(take)?
        {
            return Ok(());
        }
        if let Some(new) = newer(path, current.as_ref())? {
            current = Some(new);
            continue;
        }
        if !goes_on {
            return Ok(());
        }
        wait(&bell)?;
    }
}
// ANCHOR_END: read

/// The files of the log that are there, oldest first.
fn files(path: &Path) -> Vec<(File, PathBuf)> {
    let mut found = Vec::new();
    // The newest first: while they change places, one may be seen twice, but none is missed.
    let names = std::iter::once(path.to_path_buf()).chain((1..).map(|n| numbered(path, n)));
    for name in names {
        match File::open(&name) {
            Ok(file) => found.push((file, name)),
            // A log may not have begun.
            Err(_) if found.is_empty() && name == path => {}
            Err(_) => break,
        }
    }
    let inode = |file: &File| file.metadata().map(|m| m.ino()).unwrap_or(0);
    found.dedup_by_key(|(file, _)| inode(file));
    found.reverse();
    found
}

// ANCHOR: last
/// The files that hold the last `count` lines, and where in the first of them they begin. Blocks are
/// read from the end, so the size of the log does not matter.
fn last(files: Vec<(File, PathBuf)>, count: usize) -> Result<(Vec<(File, PathBuf)>, u64)> {
    let mut left = count;
    let mut chosen = Vec::new();
    for (file, path) in files.into_iter().rev() {
        let mut end = file.metadata().map_err(|e| Error::path("look at", &path, e))?.len();
        let size = end;
        let mut block = vec![0; BLOCK];
        while end > 0 {
            let begin = end.saturating_sub(BLOCK as u64);
            let piece = &mut block[..(end - begin) as usize];
            file.read_exact_at(piece, begin).map_err(|e| Error::path("read", &path, e))?;
            for at in memchr::memrchr_iter(b'\n', piece) {
                let after = begin + at as u64 + 1;
                if after == size {
                    continue;
                }
                // The line after this newline is one of them.
                if left == 0 {
                    break;
                }
                left -= 1;
                if left == 0 {
                    chosen.push((file, path));
                    chosen.reverse();
                    return Ok((chosen, after));
                }
            }
            end = begin;
        }
        // The file's first line has no newline before it.
        if size > 0 && left > 0 {
            left -= 1;
        }
        let done = left == 0;
        chosen.push((file, path));
        if done {
            break;
        }
    }
    chosen.reverse();
    Ok((chosen, 0))
}
// ANCHOR_END: last

/// A file of the log, and how far it is read.
struct Lines {
    file: File,
    path: PathBuf,
    at: u64,
}

impl Lines {
    /// Passes on all lines that are whole; tells whether more are wanted.
    fn pass_on(&mut self, take: &mut dyn FnMut(Entry) -> Result<bool>) -> Result<bool> {
        let mut buffer = Vec::new();
        loop {
            let begin = buffer.len();
            buffer.resize(begin + BLOCK, 0);
            let read = self.file.read_at(&mut buffer[begin..], self.at + begin as u64);
            let read = read.map_err(|error| Error::path("read", &self.path, error))?;
            buffer.truncate(begin + read);
            let whole = memchr::memrchr(b'\n', &buffer).map_or(0, |at| at + 1);
            for line in buffer[..whole].split_inclusive(|byte| *byte == b'\n') {
                // A line that is none is not ours: somebody has written into the file.
                let Ok(entry) = serde_json::from_slice(line) else { continue };
                if !take(entry)? {
                    return Ok(false);
                }
            }
            buffer.drain(..whole);
            self.at += whole as u64;
            if read == 0 {
                return Ok(true);
            }
        }
    }
}

/// The file that has taken the place of the one that is read, if any has.
fn newer(path: &Path, current: Option<&Lines>) -> Result<Option<Lines>> {
    let Ok(file) = File::open(path) else { return Ok(None) };
    let inode = |file: &File| file.metadata().map(|metadata| (metadata.dev(), metadata.ino()));
    let new = inode(&file).map_err(|error| Error::path("look at", path, error))?;
    match current {
        Some(lines) if inode(&lines.file).is_ok_and(|old| old == new) => Ok(None),
        _ => Ok(Some(Lines { file, path: path.to_path_buf(), at: 0 })),
    }
}

/// Rings when something happens in the log's directory.
fn bell(path: &Path) -> Result<Option<Inotify>> {
    let flags = InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK;
    match Inotify::init(flags) {
        // All instances of this user are taken: then by the clock.
        Err(Errno::EMFILE) => Ok(None),
        other => {
            let inotify = other.during("make an inotify descriptor")?;
            let directory = path.parent().unwrap_or(Path::new("."));
            let events =
                AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_MOVE | AddWatchFlags::IN_CREATE;
            inotify
                .add_watch(directory, events)
                .map_err(|errno| Error::path("watch", directory, errno.into()))?;
            Ok(Some(inotify))
        }
    }
}

fn wait(bell: &Option<Inotify>) -> Result<()> {
    let timeout = PollTimeout::from(LOOK);
    let waited = match bell {
        None => poll(&mut [], PollTimeout::from(LOOK / 10)),
        Some(inotify) => poll(&mut [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)], timeout),
    };
    match waited {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(errno).during("wait for the log"),
    }
    if let Some(inotify) = bell {
        let mut events = [0; 4096];
        // Only that there were any matters.
        let _ = nix::unistd::read(inotify, &mut events);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, numbers: std::ops::Range<usize>) {
        let line =
            |n: usize| format!("{{\"log\":\"{n}\\n\",\"stream\":\"stdout\",\"time\":\"T\"}}\n");
        std::fs::write(path, numbers.map(line).collect::<String>()).unwrap();
    }

    fn found(path: &Path, tail: Option<usize>) -> Vec<usize> {
        let mut all = Vec::new();
        let wanted = Wanted { tail, follow: false };
        read(path, wanted, &|| false, &mut |entry| {
            all.push(entry.log.trim_end().parse().unwrap());
            Ok(true)
        })
        .unwrap();
        all
    }

    #[test]
    fn the_tail_is_the_last_of_everything() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        write(&numbered(&path, 2), 0..3000);
        write(&numbered(&path, 1), 3000..3010);
        write(&path, 3010..3020);
        assert_eq!(found(&path, None), (0..3020).collect::<Vec<_>>());
        for tail in [1, 2, 9, 10, 11, 19, 20, 21, 500, 3019, 3020, 5000] {
            let first = 3020usize.saturating_sub(tail);
            assert_eq!(found(&path, Some(tail)), (first..3020).collect::<Vec<_>>(), "{tail}");
        }
        assert_eq!(found(&path, Some(0)), [0; 0]);
        assert_eq!(found(&dir.path().join("none"), Some(3)), [0; 0]);
    }

    #[test]
    fn a_follower_sees_each_line_once_across_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let options = [("max-size", "2k"), ("max-file", "50")];
        let log = crate::settings::Log {
            driver: "json-file".into(),
            path: path.clone(),
            options: options.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        };
        let (done, seen) =
            (std::sync::atomic::AtomicBool::new(false), std::sync::Mutex::new(vec![]));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let is_written = || !done.load(std::sync::atomic::Ordering::Acquire);
                let wanted = Wanted { tail: None, follow: true };
                read(&path, wanted, &is_written, &mut |entry| {
                    seen.lock().unwrap().push(entry.log);
                    Ok(true)
                })
                .unwrap();
            });
            let mut output = crate::output::Output::open(Some(&log)).unwrap();
            for number in 0..500 {
                output.write(false, format!("line {number}\n").as_bytes());
                // So that the reader is never two files behind.
                while seen.lock().unwrap().len() + 20 < number {
                    std::thread::yield_now();
                }
            }
            output.end();
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        let expected: Vec<String> = (0..500).map(|number| format!("line {number}\n")).collect();
        assert_eq!(*seen.lock().unwrap(), expected);
    }
}
