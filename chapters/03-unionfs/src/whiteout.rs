//! Deletions in a layer.
//!
//! A tar archive can add files but not take any away, so layers borrow a convention of AUFS: an
//! empty file `.wh.NAME` deletes NAME of the layers below, and `.wh..wh..opq` in a directory
//! deletes all that the layers below have in it (OCI image-spec, layer.md, "Whiteouts"). On disk
//! the overlay file system has its own convention: a character device 0/0 called NAME, and an
//! xattr on the directory. Not every file system takes those; fuse-overlayfs also reads the archive's.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::sys::stat::FileStat;

use crate::node;
use crate::overlay::OverlayXattr;
use crate::path::EntryPath;

const PREFIX: &[u8] = b".wh.";
/// AUFS keeps its own files under names that begin so.
const AUFS_PREFIX: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// The name of the entry that makes its directory opaque.
pub const OPAQUE_NAME: &str = ".wh..wh..opq";

/// How the directory of an unpacked layer says what it takes away from the layers below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marks {
    /// As overlay does: a character device 0/0 in the place of a name, and this xattr on a directory.
    Overlay(OverlayXattr),
    /// As the archive does: files `.wh.NAME` and `.wh..wh..opq`, which every file system holds. In an
    /// unpacked layer no other file has such a name.
    Files,
}

impl Default for Marks {
    fn default() -> Marks {
        Marks::Overlay(OverlayXattr::default())
    }
}

// ANCHOR: own_xattrs
/// The xattrs by which overlay and fuse-overlayfs keep their books. Both believe whatever they find
/// there: that a directory is another one, that a file belongs to root. So none comes in with a layer,
/// and none goes out.
const OWN_XATTRS: [&[u8]; 5] = [
    b"trusted.overlay.",
    b"user.overlay.",
    b"user.fuseoverlayfs.",
    b"security.fuseoverlayfs.",
    b"user.containers.",
];
// ANCHOR_END: own_xattrs

/// Whether an xattr belongs to the file system that stacks the layers, not to the image.
pub(crate) fn is_own_xattr(name: &[u8]) -> bool {
    OWN_XATTRS.iter().any(|prefix| name.starts_with(prefix))
}

/// The name that a file on the disk speaks of, where its name is a mark.
pub(crate) fn marked(name: &OsStr) -> Option<&OsStr> {
    name.as_bytes().strip_prefix(PREFIX).map(OsStr::from_bytes)
}

/// The name in the tree: the one that a mark speaks of, or its own.
pub(crate) fn shown(name: &OsStr) -> &OsStr {
    marked(name).unwrap_or(name)
}

// ANCHOR: as_overlay
/// What a node is to overlay, where files are marks: `.wh.NAME` is a whiteout in the place of NAME.
/// `None` for what is only book-keeping; fuse-overlayfs also makes devices of such names.
pub(crate) fn as_overlay(name: OsString, stat: FileStat) -> Option<(OsString, FileStat)> {
    let Some(hidden) = marked(&name) else { return Some((name, stat)) };
    let own = name.as_bytes().starts_with(AUFS_PREFIX) || node::is_whiteout(&stat);
    (!own).then(|| (hidden.to_owned(), node::whiteout(stat)))
}
// ANCHOR_END: as_overlay

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

/// The path of the mark that deletes `path`.
pub(crate) fn beside(path: &Path) -> PathBuf {
    path.with_file_name(hiding(path.file_name().unwrap_or_default()))
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
