//! Deletions in a layer.
//!
//! A tar archive can add files but not take any away, so layers borrow a convention of AUFS: an
//! empty file `.wh.NAME` deletes NAME of the layers below, and `.wh..wh..opq` in a directory
//! deletes all that the layers below have in it (OCI image-spec, layer.md, "Whiteouts"). On disk
//! the overlay file system has its own convention: a character device 0/0 called NAME, and an
//! xattr on the directory.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::path::EntryPath;

const PREFIX: &[u8] = b".wh.";
/// AUFS keeps its own files under names that begin so.
const AUFS_PREFIX: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// The name of the entry that makes its directory opaque.
pub const OPAQUE_NAME: &str = ".wh..wh..opq";

/// What the name of an entry says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// An entry as any other.
    Plain,
    /// This name is to be deleted from the same directory of the layers below.
    Whiteout(OsString),
    /// Everything in this directory is to be deleted from the layers below.
    Opaque,
    /// AUFS's own book-keeping, nothing to do with the image.
    Ignored,
}

/// The name of the entry that deletes `name`.
pub fn hiding(name: &OsStr) -> OsString {
    OsStr::from_bytes(&[PREFIX, name.as_bytes()].concat()).to_owned()
}

// ANCHOR: meaning
/// Reads the meaning from a path.
///
/// # Errors
/// The reason, where a whiteout names nothing that can be deleted, or holds other entries.
pub fn meaning(path: &EntryPath) -> Result<Meaning, String> {
    let Some(name) = path.name().map(OsStr::as_bytes) else {
        return Ok(Meaning::Plain);
    };
    for component in path.parent().components() {
        let component = component.as_os_str().as_bytes();
        if component.starts_with(AUFS_PREFIX) {
            return Ok(Meaning::Ignored);
        }
        if component.starts_with(PREFIX) {
            return Err("it lies inside a whiteout, which deletes a name and holds nothing".into());
        }
    }
    if name == OPAQUE {
        return Ok(Meaning::Opaque);
    }
    if name.starts_with(AUFS_PREFIX) {
        return Ok(Meaning::Ignored);
    }
    match name.strip_prefix(PREFIX) {
        None => Ok(Meaning::Plain),
        Some(b"" | b"." | b"..") => Err("this whiteout names nothing that can be deleted".into()),
        Some(hidden) => Ok(Meaning::Whiteout(OsStr::from_bytes(hidden).to_owned())),
    }
}
// ANCHOR_END: meaning

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str) -> Result<Meaning, String> {
        meaning(&EntryPath::of_entry(path.as_bytes(), 4096).unwrap())
    }

    #[test]
    fn whiteout_names_are_those_of_the_image_spec() {
        assert_eq!(of("a/.wh.b"), Ok(Meaning::Whiteout("b".into())));
        assert_eq!(of(".wh..hidden"), Ok(Meaning::Whiteout(".hidden".into())));
        assert_eq!(of("a/.wh..wh..opq"), Ok(Meaning::Opaque));
        assert_eq!(of("a/b.wh.c"), Ok(Meaning::Plain));
        assert_eq!(of(".wh"), Ok(Meaning::Plain));
        assert_eq!(of("./"), Ok(Meaning::Plain));
    }

    #[test]
    fn the_book_keeping_of_aufs_is_ignored() {
        assert_eq!(of(".wh..wh.plnk"), Ok(Meaning::Ignored));
        assert_eq!(of(".wh..wh.plnk/132.456"), Ok(Meaning::Ignored));
    }

    #[test]
    fn a_whiteout_of_nothing_is_refused() {
        for bad in [".wh.", "a/.wh..", "a/.wh...", ".wh.dir/file"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
