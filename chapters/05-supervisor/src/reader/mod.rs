//! Reading a container's log while it is written: the last entries without reading the first, those
//! of a time without reading what is before it, and what comes, across rotation.
//!
//! | file | what it does |
//! |---|---|
//! | `parts.rs` | opens the files of a log while they change places |
//! | `place.rs` | finds where to begin |
//! | `entries.rs` | takes entries out of bytes, whatever is between them |
//! | `moment.rs` | understands what people write for a time |
//!
//! Nobody is asked, and nothing is locked: a reader that stands still holds up nobody. It believes
//! no more than that an entry once written does not change. A compressed file says in its header
//! which file it was, so whoever has read that does not read it again.

pub(crate) mod entries;
mod moment;
mod parts;
mod place;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

pub use crate::log::Driver;
pub use crate::log::stamp::fixed as fixed_time;
pub use moment::moment;
pub(crate) use place::{last_messages, last_time};

use crate::error::{Context, Error, Result};
use crate::log::format::Format;
use crate::record::{Time, now};
use parts::{Lines, parts};

/// How often a reader that follows looks whether anybody still writes, in milliseconds.
const LOOK: u16 = 500;

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// A line with its newline, or a piece of one: then without.
    pub log: Vec<u8>,
    /// Where it was written to.
    pub stream: Stream,
    /// When.
    pub time: Time,
    /// What the log's options add to each entry.
    pub attributes: BTreeMap<String, String>,
}

impl Entry {
    /// What stands before a line that is shown: its time, where that is asked for, and what the log's options
    /// add (`--details` of docker), in that order.
    pub fn before(&self, timestamps: bool, details: bool) -> String {
        let mut text = String::new();
        if timestamps {
            text += &fixed_time(self.time);
            text.push(' ');
        }
        if details {
            let pairs = self.attributes.iter().map(|(name, value)| format!("{name}={value}"));
            text += &pairs.collect::<Vec<_>>().join(",");
            text.push(' ');
        }
        text
    }
}

/// Which stream of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What of the log is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The last so many entries only, and what comes after them where it is followed. Of these, as with
    /// Docker, those that the times leave.
    pub tail: Option<usize>,
    /// From this time on.
    pub since: Option<Time>,
    /// Until this time.
    pub until: Option<Time>,
    /// What comes, too, for as long as somebody writes.
    pub follow: bool,
}

/// Where the entries go; `false` for no more.
pub type Take<'a> = &'a mut dyn FnMut(Entry) -> Result<bool>;

// ANCHOR: read
/// Gives the entries of the log at `path` that are wanted, oldest first, to `take`, until that says
/// `false`. Following ends when `is_written` says that nobody writes any more.
///
/// # Errors
/// Where a file cannot be read; with [`Driver::None`], which keeps nothing.
pub fn read(
    driver: Driver,
    path: &Path,
    wanted: Wanted,
    is_written: &dyn Fn() -> bool,
    take: Take<'_>,
) -> Result<()> {
    let Some(mut follower) = begin(driver, path, wanted, take)? else { return Ok(()) };
    // That nobody writes any more is looked at before the file is: what is written until then is seen.
    while follower.step(is_written(), take)? {
        wait(&follower.bell)?;
    }
    Ok(())
}
// ANCHOR_END: read

/// Gives what there is. For what comes there is a [`Follower`], where it is wanted: whoever has many
/// readers waits for all of them in one place.
///
/// # Errors
/// As [`read`].
pub fn begin(
    driver: Driver,
    path: &Path,
    wanted: Wanted,
    take: Take<'_>,
) -> Result<Option<Follower>> {
    let Some(format) = driver.format() else {
        return Err(Error::invalid("the container", "keeps no log: its log driver is none"));
    };
    let bell = wanted.follow.then(|| bell(path)).transpose()?;
    let mut current = None;
    let mut parts = parts(path, format)?;
    let place = match (wanted.tail, wanted.since) {
        (Some(count), _) => place::last(&parts, format, count)?,
        (None, Some(since)) => place::since(&parts, format, since)?,
        (None, None) => place::Place { parts: parts.len(), first: None },
    };
    let rest = parts.split_off(place.parts);
    let mut first = place.first;
    // The last ones of the moment at which they were counted: more may have come since.
    let mut left = wanted.tail.filter(|_| !wanted.follow).unwrap_or(usize::MAX);
    for part in parts.iter().rev() {
        let begin = || part.lines(format, 0);
        let mut lines = first.take().map_or_else(begin, Ok)?;
        if !wanted.follow {
            lines.as_of_now()?;
        }
        if !pass_on(&mut lines, wanted, &mut left, take)? {
            return Ok(None);
        }
        current = Some(lines);
    }
    let Some(bell) = bell else { return Ok(None) };
    if current.is_none()
        && let Some(newest) = rest.first()
    {
        // Nothing of it is wanted, and what comes is.
        let end = newest.file.metadata().map_err(|e| Error::path("look at", path, e))?.len();
        current = Some(newest.lines(format, end)?);
    }
    Ok(Some(Follower { path: path.to_owned(), format, wanted, current, bell }))
}

/// Goes on with what comes, step by step.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    format: Format,
    wanted: Wanted,
    current: Option<Lines>,
    bell: Option<Inotify>,
}

impl Follower {
    /// A copy of the descriptor that can be read when something has happened to the log; `None` where
    /// there is none to be had, and the clock must do.
    pub fn bell(&self) -> Option<OwnedFd> {
        self.bell.as_ref()?.as_fd().try_clone_to_owned().ok()
    }

    /// Gives what has come. `goes_on` is whether somebody wrote just before. Tells whether more may
    /// come: then wait for the bell, or half a second.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub fn step(&mut self, goes_on: bool, take: Take<'_>) -> Result<bool> {
        silence(&self.bell);
        let mut all = usize::MAX;
        loop {
            let next = following(&self.path, self.format, self.current.as_ref())?;
            // Only then: to a file that has a successor nothing is added any more.
            if let Some(lines) = &mut self.current
                && !pass_on(lines, self.wanted, &mut all, take)?
            {
                return Ok(false);
            }
            if next.is_none() {
                return Ok(goes_on && self.wanted.until.is_none_or(|until| until >= now()));
            }
            self.current = next;
        }
    }
}

/// Passes on all entries that are whole, `left` of them at most; tells whether more are wanted.
fn pass_on(lines: &mut Lines, wanted: Wanted, left: &mut usize, take: Take<'_>) -> Result<bool> {
    while *left > 0
        && let Some(entry) = lines.next()?
    {
        *left -= 1;
        if wanted.until.is_some_and(|until| entry.time > until) {
            return Ok(false);
        }
        if wanted.since.is_none_or(|since| entry.time >= since) && !take(entry)? {
            return Ok(false);
        }
    }
    Ok(true)
}

// ANCHOR: following
/// The file after the one that is read, if that is not the last any more. It may be several files
/// back by now, and compressed.
fn following(path: &Path, format: Format, current: Option<&Lines>) -> Result<Option<Lines>> {
    let current = current.map(|lines| &lines.part);
    if current.is_some_and(|part| part.is_newest(path)) {
        return Ok(None);
    }
    let parts = parts(path, format)?;
    let known =
        current.and_then(|current| parts.iter().position(|part| part.is_same(current, format)));
    let next = match known {
        Some(0) => None,
        Some(index) => parts.get(index - 1),
        // Nothing is read yet, or what is read has been thrown away as the oldest.
        None => parts.last(),
    };
    next.map(|part| part.lines(format, 0)).transpose()
}
// ANCHOR_END: following

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
            match inotify.add_watch(directory, events) {
                Ok(_) => Ok(Some(inotify)),
                // The log has not begun, or all watches are taken.
                Err(Errno::ENOENT | Errno::ENOSPC) => Ok(None),
                Err(errno) => Err(Error::path("watch", directory, errno.into())),
            }
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
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno).during("wait for the log"),
    }
}

/// Before a look at the log: what happens after this rings again.
fn silence(bell: &Option<Inotify>) {
    if let Some(inotify) = bell {
        let mut events = [0; 4096];
        // Only that there were any matters.
        let _ = nix::unistd::read(inotify, &mut events);
    }
}

#[cfg(test)]
mod tests;
