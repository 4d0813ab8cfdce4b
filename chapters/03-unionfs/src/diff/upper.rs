//! The changes that overlay, or fuse-overlayfs, has collected in an upper directory.

use std::path::Path;

use corten_namespaces::{Context, Root};
use nix::errno::Errno;

use super::link::Links;
use super::{Change, Sink, made, root};
use crate::error::{Error, Result};
use crate::graft::Seen;
use crate::merge::is_opaque;
use crate::node::{self, Attributes};
use crate::walk::{Found, Place, Visit, Walk};

/// Who has written an upper directory.
pub(crate) enum By<'a> {
    /// The kernel. Where a directory was renamed or only the attributes of a file have changed, it
    /// leaves the content in a lower layer; that is read from this tree, which is merged with it.
    Kernel(&'a Root),
    /// fuse-overlayfs. It copies whole, and its marks may be files.
    Fuse,
}

// ANCHOR: of_upper
/// Tells what is in the upper directory `upper`, written `by` one of two; `old` is the tree without it.
///
/// # Errors
/// What the kernel or the sink answers.
pub(crate) fn of_upper(upper: &Root, by: &By<'_>, old: &Root, sink: &mut dyn Sink) -> Result<()> {
    root(upper, Some(old), sink)?;
    let (mut before, mut links) = (Place::new(old), Links::default());
    let (mut walk, merged) = match by {
        By::Kernel(merged) => (Walk::new(upper), Some(*merged)),
        By::Fuse => (Walk::marked(upper), None),
    };
    let mut after = merged.map(Place::new);
    while let Some(visit) = walk.next()? {
        let Visit::Node(found) = visit else { continue };
        let was = before.look(&found.path)?;
        if node::is_whiteout(&found.stat) {
            if was.is_some() {
                sink.change(Change::Deleted(&found.path))?;
            }
        } else if found.is_directory() {
            let redirected = match merged {
                Some(merged) if has_mark(&found, "redirect")? => Some(merged),
                _ => None,
            };
            let was_directory = was.as_ref().is_some_and(Found::is_directory);
            let hides =
                was_directory && (redirected.is_some() || is_opaque(&found, merged.is_none())?);
            directory(&found, was.as_ref(), hides, sink)?;
            if let Some(merged) = redirected {
                everything(merged, &found.path, &mut links, sink)?;
                walk.skip();
            }
        } else {
            let first = links.first(&found);
            let whole = match &mut after {
                Some(after) if has_mark(&found, "metacopy")? => after.look(&found.path)?,
                _ => None,
            };
            let content = whole.as_ref().unwrap_or(&found);
            let node = made(&found, content, was.is_some(), first.as_deref())?;
            sink.change(Change::Made(node))?;
        }
    }
    Ok(())
}
// ANCHOR_END: of_upper

fn directory(found: &Found, was: Option<&Found>, hides: bool, sink: &mut dyn Sink) -> Result<()> {
    // A directory is in the upper one also because of what is in it.
    if let (Some(was), false) = (was.filter(|was| was.is_directory()), hides)
        && Attributes::of(was)? == Attributes::of(found)?
    {
        return Ok(());
    }
    sink.change(Change::Made(made(found, found, was.is_some(), None)?))?;
    if hides {
        sink.change(Change::Emptied(&found.path))?;
    }
    Ok(())
}

/// Tells all that is below the directory `from` of `tree` as new.
pub(super) fn everything(
    tree: &Root,
    from: &Path,
    links: &mut Links,
    sink: &mut dyn Sink,
) -> Result<()> {
    all_seen(tree, from, &|_, _| Seen::Yes, links, sink)
}

/// The same of what `seen` does not leave out.
pub(super) fn all_seen(
    tree: &Root,
    from: &Path,
    seen: &dyn Fn(&Path, bool) -> Seen,
    links: &mut Links,
    sink: &mut dyn Sink,
) -> Result<()> {
    let mut walk = Walk::below(tree, from);
    while let Some(visit) = walk.next()? {
        let Visit::Node(found) = visit else { continue };
        match seen(&found.path, found.is_directory()) {
            Seen::Yes => {}
            Seen::Inside => continue,
            Seen::No => {
                if found.is_directory() {
                    walk.skip();
                }
                continue;
            }
        }
        let first = links.first(&found);
        sink.change(Change::Made(made(&found, &found, false, first.as_deref())?))?;
    }
    Ok(())
}

/// Whether overlay has left one of its marks on a node.
fn has_mark(found: &Found, mark: &str) -> Result<bool> {
    let path = found.proc_path();
    match xattr::get(path, format!("trusted.overlay.{mark}")).map_err(node::errno) {
        Ok(value) => Ok(value.is_some()),
        Err(Errno::EOPNOTSUPP) => Ok(false),
        Err(errno) => Err(errno).on("read xattrs of", &found.path).map_err(Error::from),
    }
}
