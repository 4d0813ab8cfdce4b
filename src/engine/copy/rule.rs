//! Where a copy goes and what it is called there: the table of `docker cp`, without a system call.
//!
//! | from | to | becomes |
//! |---|---|---|
//! | file | nothing | the file, under the new name; with a `/` at the end, an error |
//! | file | file | overwrites it |
//! | file | directory | a file in it |
//! | directory | nothing | the directory, under the new name |
//! | directory | file | an error |
//! | directory | directory | a directory in it; with `/.` at the end of the source, its content |

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::engine::error::{Error, Result};
use crate::engine::files::{base, says_directory};
use crate::engine::path::lexical;

/// What is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What it is called: `.` for the content of a directory.
    pub name: OsString,
    /// Whether it is a directory.
    pub is_directory: bool,
}

/// What is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Nothing.
    Missing,
    /// A directory.
    Directory,
    /// Anything else.
    File,
}

/// The directory into which it is unpacked, and its name there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The directory.
    pub directory: PathBuf,
    /// The name in the archive.
    pub name: PathBuf,
}

// ANCHOR: place
/// Decides where `source` goes that shall be copied to `path`, where `target` is.
///
/// # Errors
/// In the words of Docker's client.
pub fn place(source: &Source, path: &Path, target: Target) -> Result<Placed> {
    match (target, source.is_directory) {
        (Target::Directory, _) => {
            Ok(Placed { directory: path.to_owned(), name: PathBuf::from(&source.name) })
        }
        (Target::File, true) => Err(Error::refused("cannot copy directory")),
        (Target::Missing, false) if says_directory(path) => {
            Err(Error::refused("no such directory"))
        }
        (Target::File | Target::Missing, _) => {
            let whole = lexical(path);
            let directory = whole.parent().unwrap_or(Path::new("/")).to_owned();
            Ok(Placed { directory, name: PathBuf::from(base(&whole)) })
        }
    }
}
// ANCHOR_END: place

/// One end of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// A path in a container.
    Container(String, PathBuf),
    /// A path of the host.
    Host(PathBuf),
    /// A tar archive on standard input or output.
    Stream,
}

impl End {
    /// Reads an argument of `corten cp`: `CONTAINER:PATH`, `-`, or a path of the host. A path with a
    /// colon is told by its beginning, `/` or `.`.
    pub fn parse(text: &str) -> End {
        if text == "-" {
            return End::Stream;
        }
        match text.split_once(':') {
            Some((container, path)) if !text.starts_with(['/', '.']) => {
                End::Container(container.to_owned(), PathBuf::from(path))
            }
            _ => End::Host(PathBuf::from(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(name: &str, is_directory: bool, path: &str, target: Target) -> Result<Placed> {
        place(&Source { name: name.into(), is_directory }, Path::new(path), target)
    }

    #[test]
    fn every_row_of_docker_s_table_holds() {
        use Target::{Directory, File, Missing};
        for (name, is_directory, path, target, directory, called) in [
            ("f", false, "/x/new", Missing, "/x", "new"),
            ("f", false, "/x/old", File, "/x", "old"),
            ("f", false, "/x/d", Directory, "/x/d", "f"),
            ("f", false, "/x/d/", Directory, "/x/d/", "f"),
            ("d", true, "/x/new", Missing, "/x", "new"),
            ("d", true, "/x/new/", Missing, "/x", "new"),
            (".", true, "/x/new", Missing, "/x", "new"),
            ("d", true, "/x/e", Directory, "/x/e", "d"),
            (".", true, "/x/e", Directory, "/x/e", "."),
            ("f", false, "/", Directory, "/", "f"),
        ] {
            let placed = placed(name, is_directory, path, target).unwrap();
            let expected = Placed { directory: directory.into(), name: called.into() };
            assert_eq!(placed, expected, "{name} to {path}");
        }
    }

    #[test]
    fn what_cannot_be_says_why() {
        let error = |result: Result<Placed>| result.unwrap_err().to_string();
        assert_eq!(error(placed("d", true, "/x/f", Target::File)), "cannot copy directory");
        assert_eq!(error(placed("f", false, "/x/new/", Target::Missing)), "no such directory");
        assert_eq!(error(placed("f", false, "/x/new/.", Target::Missing)), "no such directory");
    }

    #[test]
    fn an_end_is_a_container_s_a_path_or_a_stream() {
        let container = |name: &str, path: &str| End::Container(name.into(), path.into());
        assert_eq!(End::parse("box:/a:b"), container("box", "/a:b"));
        assert_eq!(End::parse("box:"), container("box", ""));
        for host in ["/a:b", "./a:b", "../a:b", "file", ".:x"] {
            assert_eq!(End::parse(host), End::Host(host.into()), "{host}");
        }
        assert_eq!(End::parse("-"), End::Stream);
    }
}
