//! The changes that overlay has collected in an upper directory.

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

// ANCHOR: of_upper
/// Tells what is in the upper directory `upper`. `merged` is the tree with it, `old` the tree without
/// it. Where a directory was renamed or only the attributes of a file have changed, overlay leaves
/// the content in a lower layer; it is read from the merged tree.
///
/// # Errors
/// What the kernel or the sink answers.
pub(crate) fn of_upper(upper: &Root, merged: &Root, old: &Root, sink: &mut dyn Sink) -> Result<()> {
    root(upper, Some(old), sink)?;
    let (mut before, mut after) = (Place::new(old), Place::new(merged));
    let mut links = Links::default();
    let mut walk = Walk::new(upper);
    while let Some(visit) = walk.next()? {
        let Visit::Node(found) = visit else { continue };
        let was = before.look(&found.path)?;
        if node::is_whiteout(&found.stat) {
            if was.is_some() {
                sink.change(Change::Deleted(&found.path))?;
            }
        } else if found.is_directory() {
            let redirected = has_mark(&found, "redirect")?;
            directory(&found, was.as_ref(), redirected, sink)?;
            if redirected {
                everything(merged, &found.path, &mut links, sink)?;
                walk.skip();
            }
        } else {
            let first = links.first(&found);
            let whole = match has_mark(&found, "metacopy")? {
                true => after.look(&found.path)?,
                false => None,
            };
            let content = whole.as_ref().unwrap_or(&found);
            let node = made(&found, content, was.is_some(), first.as_deref())?;
            sink.change(Change::Made(node))?;
        }
    }
    Ok(())
}
// ANCHOR_END: of_upper

fn directory(
    found: &Found,
    was: Option<&Found>,
    redirected: bool,
    sink: &mut dyn Sink,
) -> Result<()> {
    let was_directory = was.filter(|was| was.is_directory());
    let hides = was_directory.is_some() && (redirected || is_opaque(found)?);
    // A directory is in the upper one also because of what is in it.
    if let (Some(was), false) = (was_directory, hides)
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
