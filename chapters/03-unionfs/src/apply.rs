//! Unpacking a layer into a directory of its own.

use std::cell::OnceCell;
use std::io::Read;

use corten_namespaces::{Context, Root};

use crate::archive::{Reader, Summary};
use crate::compression::Compression;
use crate::digest::{BlobDigest, DiffId};
use crate::error::{Error, Result};
use crate::pipeline::{self, Piped};
use crate::tree::Tree;
use crate::whiteout::{self, Marks, Meaning};

/// How much a layer may ask for, counted while it is unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the plain stream, and bytes of all files together (a sparse file counts in full).
    pub max_bytes: u64,
    /// Entries: files, directories, links, whiteouts.
    pub max_entries: u64,
    /// Bytes of one path, and of one link's target.
    pub max_path: usize,
    /// Bytes of extended headers (long names, xattrs) of one entry.
    pub max_headers: usize,
}

impl Default for Limits {
    /// Generous for real images: 64 GiB, four million entries, paths as Linux has them (4096),
    /// 1 MiB of headers.
    fn default() -> Self {
        Limits { max_bytes: 64 << 30, max_entries: 4 << 20, max_path: 4096, max_headers: 1 << 20 }
    }
}

/// How to unpack.
#[derive(Debug, Default)]
pub struct Options {
    /// What the layer may ask for.
    pub limits: Limits,
    /// How deletions are marked.
    pub marks: Marks,
    /// Each name is a file of its own, also where the archive has a hard link. What is copied for that
    /// counts against `limits` by itself.
    pub separate_names: bool,
    /// A layer at the bottom has nothing to hide: its whiteouts are left out, so that its directory
    /// is the tree itself, also without overlay.
    pub bottom: bool,
    /// The unpacked layers below, topmost first. A directory that the layer does not list but has
    /// entries in takes its owner, mode, times and xattrs from there.
    pub lower: Vec<Root>,
    /// Also hash the stream as it comes.
    pub hash_stream: bool,
}

/// What was unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// The SHA-256 of the plain stream, to its very end.
    pub diff_id: DiffId,
    /// The SHA-256 of the stream as it came, where [`Options::hash_stream`] asked for it.
    pub stream: Option<BlobDigest>,
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes of the plain stream.
    pub bytes: u64,
    /// The layer hides everything below it. Overlay does not look for that mark on the root of a
    /// layer, so whoever mounts it must leave the layers below out.
    pub opaque_root: bool,
}

/// The layers below, known at once or only when the first entry asks for them.
pub(crate) enum Lower<'a> {
    /// Topmost first.
    Known(&'a [Root]),
    /// Whatever the function gives, which may have to wait for it.
    Later(OnceCell<Vec<Root>>, &'a (dyn Fn() -> Result<Vec<Root>> + Sync)),
}

impl<'a> Lower<'a> {
    pub(crate) fn later(ask: &'a (dyn Fn() -> Result<Vec<Root>> + Sync)) -> Lower<'a> {
        Lower::Later(OnceCell::new(), ask)
    }

    pub(crate) fn roots(&self) -> Result<&[Root]> {
        match self {
            Lower::Known(roots) => Ok(roots),
            Lower::Later(cell, ask) => {
                if cell.get().is_none() {
                    let _ = cell.set(ask()?);
                }
                Ok(cell.get().map_or(&[], Vec::as_slice))
            }
        }
    }
}

/// Unpacks the layer `stream` into `dir`, which should be empty and reachable by root only.
///
/// # Errors
/// [`Error::Refused`], [`Error::Malformed`] or [`Error::Limit`] where the layer is hostile or
/// broken, [`Error::Read`] where the stream is, [`Error::Kernel`] where a file cannot be made. What
/// has been unpacked until then stays in `dir`, and nowhere else: the caller removes it, as
/// [`LayerStore::ensure`](crate::LayerStore::ensure) does.
pub fn apply(
    stream: impl Read + Send,
    compression: Compression,
    dir: &Root,
    options: &Options,
) -> Result<Applied> {
    apply_on(stream, compression, dir, options, || Lower::Known(&options.lower))
}

// ANCHOR: apply_on
pub(crate) fn apply_on<'a>(
    stream: impl Read + Send,
    compression: Compression,
    dir: &Root,
    options: &Options,
    lower: impl FnOnce() -> Lower<'a> + Send,
) -> Result<Applied> {
    std::thread::scope(|scope| {
        let (plain, digest) = pipeline::start(scope, stream, compression, options.hash_stream)?;
        // A thread of its own also for this last stage, because it takes an umask of its own.
        let thread = std::thread::Builder::new().name("layer-write".into());
        let work = move || {
            crate::sys::own_umask().during("unshare the umask")?;
            write(plain, dir, options, &lower())
        };
        let thread = thread.spawn_scoped(scope, work)?;
        let applied = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(Applied { stream: digest.recv().ok(), ..applied })
    })
}

/// The last stage: reads the entries and makes them.
fn write(plain: Piped, dir: &Root, options: &Options, lower: &Lower<'_>) -> Result<Applied> {
    let mut archive = Reader::new(plain, options.limits);
    let mut tree = Tree::new(dir, options, lower)?;
    while let Some(entry) = archive.next_entry()? {
        let refused = |why| Error::Refused { entry: entry.path.shown(), why };
        match whiteout::meaning(&entry.path).map_err(refused)? {
            Meaning::Ignored => {}
            Meaning::Opaque => tree.hide_all(&entry.path)?,
            Meaning::Whiteout(name) => tree.hide(&entry.path, &name)?,
            Meaning::Plain => tree.add(&entry, &mut archive)?,
        }
    }
    let opaque_root = tree.finish()?;
    let Summary { diff_id, entries, bytes } = archive.finish()?;
    Ok(Applied { diff_id, stream: None, entries, bytes, opaque_root })
}
// ANCHOR_END: apply_on
