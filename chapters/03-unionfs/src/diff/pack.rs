//! A part of a tree as a tar stream, under another name.

use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use corten_namespaces::{Context, Root};
use nix::errno::Errno;

use super::{Change, LayerWriter, Node, Sink, link, made, upper};
use crate::archive::Kind;
use crate::error::{Error, Result};
use crate::graft::Seen;
use crate::node::Attributes;
use crate::path::EntryPath;
use crate::walk::{Place, root_fd};

// ANCHOR: pack
/// Writes what is at `path` of `tree` to `to`, with all that is below it, as a tar stream in which
/// it is called `name`; the empty path is the tree itself. A link at `path` is written as a link.
///
/// The tree may be in use, and by somebody who wants to harm: nothing outside of it is read, and
/// nothing but regular files is opened.
///
/// # Errors
/// What the kernel or `to` answers. What was written until then has no end, so no reader takes it
/// for whole.
pub fn pack(tree: &Root, path: &Path, name: &Path, to: impl Write) -> Result<()> {
    pack_as(tree, path, &Packing { name, owner: None, seen: &|_, _| Seen::Yes }, to)
}
// ANCHOR_END: pack

/// How a part of a tree is packed.
#[derive(Clone, Copy)]
pub struct Packing<'a> {
    /// What it is called in the archive.
    pub name: &'a Path,
    /// Whose all of it shall be, instead of its owners.
    pub owner: Option<(u32, u32)>,
    /// What of it goes in, by its path below and whether it is a directory. Of a directory that counts
    /// with something in it only, the rest of the path is made by whoever unpacks it.
    pub seen: &'a dyn Fn(&Path, bool) -> Seen,
}

/// The same as [`pack`], by `how`.
///
/// # Errors
/// As [`pack`].
pub fn pack_as(tree: &Root, path: &Path, how: &Packing<'_>, to: impl Write) -> Result<()> {
    write(LayerWriter::new(to), tree, path, how)?.finish().map(drop)
}

/// Several whole trees in one archive, each under the name that is said beside it; files of the caller's
/// making come behind, root's, with their names and content.
///
/// # Errors
/// As [`pack`].
pub fn pack_all(
    trees: &[(&Root, Packing<'_>)],
    more: &[(&Path, &[u8])],
    to: impl Write,
) -> Result<()> {
    let mut writer = LayerWriter::new(to);
    for (tree, how) in trees {
        writer = write(writer, tree, Path::new(""), how)?;
    }
    for (name, content) in more {
        writer.file(name, content)?;
    }
    writer.finish().map(drop)
}

fn write<W: Write>(
    writer: LayerWriter<W>,
    tree: &Root,
    path: &Path,
    how: &Packing<'_>,
) -> Result<LayerWriter<W>> {
    let mut sink = Renamed { how, writer };
    let mut links = link::Links::default();
    if path.as_os_str().is_empty() {
        let attributes =
            Attributes::of_directory(root_fd(tree)?.as_fd()).on("stat", tree.label())?;
        let (path, kind) = (Path::new(""), Kind::Directory);
        sink.change(Change::Made(Node { path, kind, attributes, existed: false, source: None }))?;
        upper::all_seen(tree, Path::new(""), how.seen, &mut links, &mut sink)?;
    } else {
        let found = Place::new(tree).look(path)?;
        let found = found.ok_or(Errno::ENOENT).on("stat", path)?;
        sink.node(made(&found, &found, false, None)?, how.name)?;
    }
    Ok(sink.writer)
}

struct Renamed<'a, W: Write> {
    how: &'a Packing<'a>,
    writer: LayerWriter<W>,
}

impl<W: Write> Renamed<'_, W> {
    fn node(&mut self, mut node: Node<'_>, path: &Path) -> Result<()> {
        if let Some((uid, gid)) = self.how.owner {
            (node.attributes.uid, node.attributes.gid) = (uid, gid);
        }
        self.writer.change(Change::Made(Node { path, ..node }))
    }

    fn inside(&self, path: &Path) -> PathBuf {
        let name = self.how.name;
        if path.as_os_str().is_empty() { name.to_path_buf() } else { name.join(path) }
    }
}

impl<W: Write> Sink for Renamed<'_, W> {
    fn change(&mut self, change: Change<'_>) -> Result<()> {
        let Change::Made(mut node) = change else {
            let why = "has no deletions".into();
            return Err(Error::Invalid { what: "a whole tree".into(), why });
        };
        if let Kind::HardLink(first) = &node.kind {
            node.kind = Kind::HardLink(EntryPath::trusted(&self.inside(first.as_path())));
        }
        let path = self.inside(node.path);
        self.node(node, &path)
    }
}
