//! The names of a log's files, and how they change places.
//!
//! ```text
//! ID-json.log        is written
//! ID-json.log.1      the one before it
//! ID-json.log.2.gz   the one before that, compressed
//! ```
//!
//! A file changes its place by rename(2) alone, so a kill between any two steps leaves a gap in the
//! numbers and never one file twice. A compressed file gets its name when it is complete and on the
//! disk; until the plain one is removed both are there, and then the plain one counts.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// The older file with this number.
pub(crate) fn numbered(path: &Path, number: u32) -> PathBuf {
    with(path, &format!(".{number}"))
}

/// The same, compressed.
pub(crate) fn packed(path: &Path, number: u32) -> PathBuf {
    with(path, &format!(".{number}.gz"))
}

/// The file that will be written next, before it is.
pub(super) fn next(path: &Path) -> PathBuf {
    with(path, ".next")
}

/// A compressed file before it is complete.
pub(super) fn packing(path: &Path) -> PathBuf {
    with(path, ".gz.new")
}

fn with(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// In which forms a file is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Forms {
    pub(crate) plain: bool,
    pub(crate) packed: bool,
}

/// The older files that are there, by their numbers.
pub(crate) fn rotated(path: &Path) -> io::Result<BTreeMap<u32, Forms>> {
    let mut found: BTreeMap<u32, Forms> = BTreeMap::new();
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let entries = match std::fs::read_dir(directory.unwrap_or(Path::new("."))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        other => other?,
    };
    for entry in entries {
        let entry = entry?.file_name();
        let Some(suffix) = entry.to_str().and_then(|text| text.strip_prefix(&name)) else {
            continue;
        };
        let plain = suffix.strip_suffix(".gz");
        let digits = plain.unwrap_or(suffix).strip_prefix('.').unwrap_or_default();
        let digits = digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(digits);
        if let Some(number) = digits.and_then(|digits| digits.parse().ok()).filter(|n| *n > 0) {
            let forms = found.entry(number).or_default();
            *(if plain.is_some() { &mut forms.packed } else { &mut forms.plain }) = true;
        }
    }
    Ok(found)
}

// ANCHOR: shift
/// Frees the number 1: each file moves up by one, as far as there is no gap; the oldest of `files`
/// (the one that is written among them) goes.
pub(super) fn shift(path: &Path, files: u32) -> io::Result<()> {
    let there = rotated(path)?;
    let free = (1..files).find(|number| !there.contains_key(number));
    let last = free.unwrap_or(files - 1);
    remove(path, last)?;
    for number in (1..last).rev() {
        let forms = there.get(&number).copied().unwrap_or_default();
        if forms.plain {
            // First: where both are there, this one counts.
            std::fs::rename(numbered(path, number), numbered(path, number + 1))?;
        }
        if forms.packed && forms.plain {
            std::fs::remove_file(packed(path, number))?;
        } else if forms.packed {
            std::fs::rename(packed(path, number), packed(path, number + 1))?;
        }
    }
    Ok(())
}
// ANCHOR_END: shift

fn remove(path: &Path, number: u32) -> io::Result<()> {
    for name in [packed(path, number), numbered(path, number)] {
        match std::fs::remove_file(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Removes what a kill has left half done, and files beyond `files`.
pub(super) fn repair(path: &Path, files: u32) -> io::Result<()> {
    for name in [next(path), packing(path)] {
        match std::fs::remove_file(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    for (number, forms) in rotated(path)? {
        if number >= files {
            remove(path, number)?;
        } else if forms.plain && forms.packed {
            std::fs::remove_file(packed(path, number))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there(path: &Path) -> Vec<String> {
        let names = std::fs::read_dir(path.parent().unwrap()).unwrap();
        let mut names: Vec<String> = names
            .map(|entry| {
                let entry = entry.unwrap();
                let text = std::fs::read_to_string(entry.path()).unwrap();
                format!("{}={text}", entry.file_name().to_string_lossy())
            })
            .collect();
        names.sort();
        names
    }

    fn scene(names: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in names {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let path = dir.path().join("log");
        (dir, path)
    }

    #[test]
    fn files_move_up_to_the_first_gap() {
        let (_dir, path) = scene(&[("log.1", "a"), ("log.2.gz", "b"), ("log.4", "c")]);
        shift(&path, 5).unwrap();
        assert_eq!(there(&path), ["log.2=a", "log.3.gz=b", "log.4=c"]);
        std::fs::write(numbered(&path, 1), "d").unwrap();
        shift(&path, 5).unwrap();
        assert_eq!(there(&path), ["log.2=d", "log.3=a", "log.4.gz=b"]);
        shift(&path, 5).unwrap();
        assert_eq!(there(&path), ["log.2=d", "log.3=a", "log.4.gz=b"]);
    }

    #[test]
    fn where_both_forms_are_there_the_plain_one_counts() {
        let (_dir, path) = scene(&[("log.1", "a"), ("log.1.gz", "half"), ("log.x", "no")]);
        shift(&path, 5).unwrap();
        assert_eq!(there(&path), ["log.2=a", "log.x=no"]);
    }

    #[test]
    fn what_a_kill_leaves_is_put_in_order() {
        let names = ["log", "log.1", "log.1.gz", "log.2.gz", "log.3", "log.next", "log.gz.new"];
        let (_dir, path) = scene(&names.map(|name| (name, "")));
        repair(&path, 3).unwrap();
        assert_eq!(there(&path), ["log.1=", "log.2.gz=", "log="]);
    }
}
