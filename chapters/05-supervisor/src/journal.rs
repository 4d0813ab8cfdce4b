//! What has happened: a file to which every supervisor and every engine of a state directory appends.
//!
//! A supervisor outlives the engines that it works for, so what happens while there is none would be
//! lost if it were only told. A line is Docker's event (`GET /events`), written by one write(2) to a
//! file that is open for appending: the kernel keeps lines of several writers apart. Of two files
//! the older one is removed when the newer one is full.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::record::{Time, now};

/// A file this large is set aside: some thousands of events.
const FULL: u64 = 1 << 20;

/// Something that has happened, under Docker's names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Entry {
    /// `container`, `image`, `volume`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// `start`, `die`, `health_status: healthy` …
    pub action: String,
    /// To what.
    pub actor: Actor,
    /// Where: here.
    #[serde(rename = "scope")]
    pub scope: String,
    /// When, in seconds since 1970.
    #[serde(rename = "time")]
    pub time: u64,
    /// When, in nanoseconds.
    #[serde(rename = "timeNano")]
    pub time_nano: Time,
}

/// To what something has happened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Actor {
    /// Its id, or a volume's name.
    #[serde(rename = "ID")]
    pub id: String,
    /// What else is known: image, name, labels, exit status.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

/// Where to write, and of whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Journal {
    /// The file.
    pub path: PathBuf,
    /// The container, with its image, its name and its labels.
    pub actor: Actor,
}

impl Journal {
    /// Writes down what has happened to the container; `more` is what is known beside that.
    ///
    /// # Errors
    /// As [`append`].
    pub fn tell(&self, action: &str, more: &[(&str, String)]) -> Result<()> {
        let mut actor = self.actor.clone();
        let more = more.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        actor.attributes.extend(more);
        append(&self.path, &Entry::now("container", action, actor))
    }
}

impl Entry {
    /// Something that happens now.
    pub fn now(kind: &str, action: &str, actor: Actor) -> Entry {
        let time_nano = now();
        Entry {
            kind: kind.to_owned(),
            action: action.to_owned(),
            actor,
            scope: "local".to_owned(),
            time: time_nano / 1_000_000_000,
            time_nano,
        }
    }
}

/// The file that was full before.
pub fn older(path: &Path) -> PathBuf {
    path.with_extension("1.jsonl")
}

// ANCHOR: append
/// Appends a line.
///
/// # Errors
/// Where the file cannot be written.
pub fn append(path: &Path, entry: &Entry) -> Result<()> {
    let failed = |error| Error::path("append to", path, error);
    let mut line = serde_json::to_vec(entry)
        .map_err(|source| Error::Json { path: path.to_owned(), source })?;
    line.push(b'\n');
    let mut file = open(path).map_err(failed)?;
    file.write_all(&line).map_err(failed)?;
    if file.metadata().map_err(failed)?.len() > FULL {
        set_aside(path, file).map_err(failed)?;
    }
    Ok(())
}
// ANCHOR_END: append

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// One of those who find it full does it; who appends to it meanwhile is still read.
fn set_aside(path: &Path, file: File) -> std::io::Result<()> {
    let Ok(file) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { return Ok(()) };
    let is_same = std::fs::metadata(path)?.ino() == file.metadata()?.ino();
    if is_same { std::fs::rename(path, older(path)) } else { Ok(()) }
}

/// All that is kept, oldest first. Half a line, which a power cut leaves, is passed over.
///
/// # Errors
/// Where a file cannot be read.
pub fn read(path: &Path) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for path in [older(path), path.to_owned()] {
        match std::fs::read(&path) {
            Ok(bytes) => entries.extend(parse(&bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::path("read", &path, error)),
        }
    }
    Ok(entries)
}

/// The entries of whole lines.
pub fn parse(bytes: &[u8]) -> impl Iterator<Item = Entry> + '_ {
    bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(directory: &Path) -> Journal {
        let attributes = BTreeMap::from([("name".to_owned(), "box".to_owned())]);
        Journal {
            path: directory.join("events.jsonl"),
            actor: Actor { id: "1".into(), attributes },
        }
    }

    #[test]
    fn lines_of_many_writers_stay_whole() {
        let directory = tempfile::tempdir().unwrap();
        let journal = journal(directory.path());
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let journal = journal.clone();
                scope.spawn(move || {
                    for number in 0..100 {
                        journal.tell("die", &[("exitCode", format!("{writer}.{number}"))]).unwrap();
                    }
                });
            }
        });
        let entries = read(&journal.path).unwrap();
        assert_eq!(entries.len(), 400);
        assert!(entries.iter().all(|entry| entry.actor.attributes["name"] == "box"));
    }

    #[test]
    fn a_full_file_is_set_aside_and_the_one_before_goes() {
        let directory = tempfile::tempdir().unwrap();
        let journal = journal(directory.path());
        let long = "x".repeat(64 << 10);
        for number in 0..40 {
            journal.tell("die", &[("long", long.clone()), ("number", number.to_string())]).unwrap();
        }
        let entries = read(&journal.path).unwrap();
        assert_eq!(entries.last().unwrap().actor.attributes["number"], "39");
        assert!((16..34).contains(&entries.len()), "{}", entries.len());
        let files = std::fs::read_dir(directory.path()).unwrap().count();
        assert!(files <= 2, "{files}");
    }

    #[test]
    fn half_a_line_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let journal = journal(directory.path());
        journal.tell("start", &[]).unwrap();
        let mut file = open(&journal.path).unwrap();
        file.write_all(br#"{"Type":"contai"#).unwrap();
        let entries = read(&journal.path).unwrap();
        assert_eq!(entries.len(), 1);
        let text = serde_json::to_value(&entries[0]).unwrap();
        assert_eq!((&text["Action"], &text["Actor"]["ID"]), (&"start".into(), &"1".into()));
    }
}
