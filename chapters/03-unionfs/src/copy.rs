//! Copying a tree with everything that a layer can hold: hard links, holes, xattrs, devices, times.
//!
//! Where the file system can share blocks between files (btrfs, XFS), no content is copied at all.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use corten_namespaces::{Context, Root};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{self, Mode};
use nix::unistd::Whence;

use crate::archive::Kind;
use crate::error::{Error, Result};
use crate::node::{self, Attributes};
use crate::sys;
use crate::walk::{Found, Place, Visit, Walk, identity, root_fd};

/// What has been copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files whose blocks are shared with the original.
    pub shared: u64,
    /// Files whose content was copied.
    pub copied: u64,
    /// Bytes that were copied; holes do not count.
    pub bytes: u64,
}

/// Copies all that is in `from`, and the attributes of `from` itself, to the empty directory `to`.
///
/// # Errors
/// What the kernel answers, with the path in the tree. What has been copied until then stays.
pub fn copy_tree(from: &Root, to: &Root) -> Result<Copied> {
    let mut copy = Copy {
        to,
        place: Place::new(to),
        links: HashMap::new(),
        directories: Vec::new(),
        share: true,
        copied: Copied::default(),
    };
    let mut walk = Walk::new(from);
    while let Some(visit) = walk.next()? {
        match visit {
            Visit::Node(found) => copy.node(&found)?,
            Visit::Leave(path) => copy.leave(&path)?,
        }
    }
    let attributes = Attributes::of_directory(root_fd(from)?.as_fd()).on("stat", from.label())?;
    node::dress_wholly(root_fd(to)?.as_fd(), &attributes)
        .on("set the attributes of", to.label())?;
    Ok(copy.copied)
}

struct Copy<'a> {
    to: &'a Root,
    place: Place<'a>,
    /// Where a file with several names was copied to.
    links: HashMap<(u64, u64), PathBuf>,
    /// The attributes of the directories that are being filled; set when nothing more is made in
    /// them.
    directories: Vec<Attributes>,
    /// Until the file system says no.
    share: bool,
    copied: Copied,
}

impl Copy<'_> {
    fn node(&mut self, found: &Found) -> Result<()> {
        let path = found.path.as_path();
        let (to, name) = (self.place.at(found.parent())?, found.name());
        let attributes = Attributes::of(found)?;
        if found.is_directory() {
            self.directories.push(attributes);
            return stat::mkdirat(&*to, name, Mode::S_IRWXU).on("mkdir", path).map_err(Error::from);
        }
        if found.stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&identity(&found.stat)) {
                let (dir, first) = self.to.parent(first)?;
                return nix::unistd::linkat(&dir, first.as_os_str(), &*to, name, AtFlags::empty())
                    .on("link", path)
                    .map_err(Error::from);
            }
            self.links.insert(identity(&found.stat), path.to_path_buf());
        }
        copy_node(found, &attributes, to.as_fd(), name, &mut self.share, &mut self.copied)
    }

    fn leave(&mut self, path: &Path) -> Result<()> {
        let Some(attributes) = self.directories.pop() else { return Ok(()) };
        let fd = self.place.at(path)?;
        node::dress_wholly(fd.as_fd(), &attributes)
            .on("set the attributes of", path)
            .map_err(Error::from)
    }
}

/// Makes `name` in the directory `to` like `found`, which is no directory; `share` and `copied` as for
/// [`copy_content`].
pub(crate) fn copy_node(
    found: &Found,
    attributes: &Attributes,
    to: BorrowedFd<'_>,
    name: &OsStr,
    share: &mut bool,
    copied: &mut Copied,
) -> Result<()> {
    let path = found.path.as_path();
    match node::kind(found)? {
        Kind::File { size } => {
            let from = File::from(found.open(OFlag::O_RDONLY)?);
            let file = File::from(node::make_file(to, name).on("make", path)?);
            copy_content(&from, &file, size, share, copied).on("copy", path)?;
            node::dress_wholly(file.as_fd(), attributes)
        }
        kind => {
            node::make_node(to, name, &kind, attributes.mode).on("make", path)?;
            node::dress_node(to, name, &kind, attributes)
        }
    }
    .on("set the attributes of", path)
    .map_err(Error::from)
}

// ANCHOR: content
/// Shares the blocks where that is possible (`share`, until the file system says no), otherwise copies
/// what lies between the holes.
pub(crate) fn copy_content(
    from: &File,
    to: &File,
    size: u64,
    share: &mut bool,
    copied: &mut Copied,
) -> nix::Result<()> {
    if *share {
        match sys::clone_file(from.as_fd(), to.as_fd()) {
            Ok(()) => {
                copied.shared += 1;
                return Ok(());
            }
            Err(Errno::EOPNOTSUPP | Errno::EXDEV | Errno::ENOTTY | Errno::EINVAL) => {
                *share = false;
            }
            Err(errno) => return Err(errno),
        }
    }
    copied.copied += 1;
    each_segment(from, size, |start, end| {
        copied.bytes += end - start;
        copy_range(from, to, start, end)
    })?;
    nix::unistd::ftruncate(to, size as i64)
}
// ANCHOR_END: content

// ANCHOR: segments
/// Tells the pieces of a file that hold data, in order, up to `size`.
pub(crate) fn each_segment(
    file: &File,
    size: u64,
    mut tell: impl FnMut(u64, u64) -> nix::Result<()>,
) -> nix::Result<()> {
    let seek = |at: u64, whence| nix::unistd::lseek(file, at as i64, whence).map(|at| at as u64);
    let mut at = 0;
    while at < size {
        let start = match seek(at, Whence::SeekData) {
            Ok(start) => start,
            // No data after this point.
            Err(Errno::ENXIO) => break,
            // A file system without holes: everything is data.
            Err(Errno::EINVAL) => at,
            Err(errno) => return Err(errno),
        };
        let end = seek(start, Whence::SeekHole).unwrap_or(size).min(size);
        if start >= end {
            break;
        }
        tell(start, end)?;
        at = end;
    }
    Ok(())
}
// ANCHOR_END: segments

fn copy_range(from: &File, to: &File, start: u64, end: u64) -> nix::Result<()> {
    let (mut read, mut written) = (start as i64, start as i64);
    while (read as u64) < end {
        let wanted = usize::try_from(end - read as u64).unwrap_or(usize::MAX);
        match nix::fcntl::copy_file_range(from, Some(&mut read), to, Some(&mut written), wanted) {
            // The file has become shorter.
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(Errno::EXDEV | Errno::ENOSYS | Errno::EOPNOTSUPP | Errno::EINVAL) => {
                return copy_by_hand(from, to, read as u64, end).map_err(node::errno);
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn copy_by_hand(from: &File, to: &File, mut at: u64, end: u64) -> io::Result<()> {
    let mut buffer = vec![0; 128 * 1024];
    while at < end {
        let wanted = buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
        let length = from.read_at(&mut buffer[..wanted], at)?;
        if length == 0 {
            break;
        }
        to.write_all_at(&buffer[..length], at)?;
        at += length as u64;
    }
    Ok(())
}
