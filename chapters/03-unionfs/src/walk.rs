//! Walking a tree in an order that depends on its names alone, with few descriptors.
//!
//! A directory comes before what is in it, and the names of a directory in the order of their
//! bytes. So two walks of equal trees tell the same, on whatever file system they lie.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use corten_namespaces::{Context, Root};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, Mode};

use crate::error::{Error, Result};
use crate::node;
use crate::whiteout;

/// How a directory is opened for reading or for setting its times; a link of that name is an error.
pub(crate) const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY);

/// So many directories on the way down stay open; the others are opened again when they are needed.
const OPEN: usize = 64;

/// A node that the walk has come to.
pub(crate) struct Found {
    /// The open directory that holds it.
    pub(crate) dir: Rc<OwnedFd>,
    /// Its path in the tree.
    pub(crate) path: PathBuf,
    /// What it is.
    pub(crate) stat: FileStat,
}

impl Found {
    /// Its name in the open directory.
    pub(crate) fn name(&self) -> &OsStr {
        self.path.file_name().unwrap_or_default()
    }

    /// The path of the directory that holds it.
    pub(crate) fn parent(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// Whether it is a directory.
    pub(crate) fn is_directory(&self) -> bool {
        node::is_directory(&self.stat)
    }

    /// A path on the host by which the node itself is reached, for calls that have no form with a
    /// directory's descriptor.
    pub(crate) fn proc_path(&self) -> PathBuf {
        Path::new(&format!("/proc/thread-self/fd/{}", self.dir.as_raw_fd())).join(self.name())
    }

    /// The node itself, opened with `flags`. Whoever lives in the tree may have put something else in
    /// its place since it was found: a device, which opening would wake and reading would read, or
    /// a fifo, which would wait. So a handle comes first, which opens nothing, and what it holds is
    /// looked at.
    pub(crate) fn open(&self, flags: OFlag) -> Result<OwnedFd> {
        let handle = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let handle = nix::fcntl::openat(self.dir.as_fd(), self.name(), handle, Mode::empty())
            .on("open", &self.path)?;
        let stat = nix::sys::stat::fstat(&handle).on("stat", &self.path)?;
        if stat.st_mode & libc::S_IFMT != self.stat.st_mode & libc::S_IFMT {
            let why = "it was replaced by something else meanwhile".into();
            return Err(Error::Invalid { what: self.path.display().to_string(), why });
        }
        node::reopen(handle.as_fd(), flags).on("open", &self.path).map_err(Error::from)
    }
}

/// What a walk tells.
pub(crate) enum Visit {
    /// A node.
    Node(Found),
    /// All that is in this directory has been told.
    Leave(PathBuf),
}

struct Level {
    path: PathBuf,
    fd: Option<Rc<OwnedFd>>,
    names: std::vec::IntoIter<OsString>,
}

/// A walk of all that is below a root, without the root itself.
pub(crate) struct Walk<'a> {
    root: &'a Root,
    levels: Vec<Level>,
    /// The directory that was told last and may have to be entered.
    pending: Option<PathBuf>,
    /// Files may be marks, and are told as overlay's.
    marked: bool,
}

impl<'a> Walk<'a> {
    /// A walk of `root`.
    pub(crate) fn new(root: &'a Root) -> Walk<'a> {
        Walk { root, levels: Vec::new(), pending: Some(PathBuf::new()), marked: false }
    }

    /// A walk of what a layer changes, whatever its marks: all deletions are told as overlay's, in the
    /// place of the names that they delete.
    pub(crate) fn marked(root: &'a Root) -> Walk<'a> {
        Walk { marked: true, ..Walk::new(root) }
    }

    /// A walk of the directory `from` of `root`, with paths from the root.
    pub(crate) fn below(root: &'a Root, from: &Path) -> Walk<'a> {
        Walk { pending: Some(from.to_path_buf()), ..Walk::new(root) }
    }

    /// Passes over what is in the directory that was told last.
    pub(crate) fn skip(&mut self) {
        self.pending = None;
    }

    /// The next node or end of a directory; `None` at the end of the tree.
    ///
    /// # Errors
    /// What opening, reading and stat answer.
    pub(crate) fn next(&mut self) -> Result<Option<Visit>> {
        if let Some(path) = self.pending.take() {
            self.enter(path)?;
        }
        loop {
            let Some(level) = self.levels.last_mut() else { return Ok(None) };
            let Some(name) = level.names.next() else {
                let path = std::mem::take(&mut level.path);
                self.levels.pop();
                if self.levels.is_empty() {
                    return Ok(None);
                }
                return Ok(Some(Visit::Leave(path)));
            };
            let dir = match &level.fd {
                Some(fd) => Rc::clone(fd),
                None => Rc::new(open_directory(self.root, &level.path)?),
            };
            level.fd = Some(Rc::clone(&dir));
            let path = level.path.join(&name);
            // Gone since the names were read: a container that still runs.
            let Some(stat) = node::look(dir.as_fd(), &name).on("stat", &path)? else { continue };
            let mut found = Found { dir, path, stat };
            if self.marked {
                let Some((name, stat)) = whiteout::as_overlay(name, stat) else { continue };
                found.path.set_file_name(name);
                found.stat = stat;
            }
            self.pending = found.is_directory().then(|| found.path.clone());
            return Ok(Some(Visit::Node(found)));
        }
    }

    fn enter(&mut self, path: PathBuf) -> Result<()> {
        let fd = match open_directory(self.root, &path) {
            Ok(fd) => fd,
            Err(error) if error.errno() == Some(Errno::ENOENT) && !path.as_os_str().is_empty() => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let mut names = names(fd.as_fd()).on("read", &path)?;
        if self.marked {
            // A mark has the place of its name, as a device has.
            names.sort_by(|a, b| whiteout::shown(a).cmp(whiteout::shown(b)));
        }
        if let Some(far) = self.levels.len().checked_sub(OPEN) {
            self.levels[far].fd = None;
        }
        self.levels.push(Level { path, fd: Some(Rc::new(fd)), names: names.into_iter() });
        Ok(())
    }
}

/// Opens the directory `path` below `root`, where the empty path is the root itself.
pub(crate) fn open_directory(root: &Root, path: &Path) -> Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new("/") } else { path };
    root.open_at(path, DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty()).map_err(Error::from)
}

/// The names in a directory, sorted by their bytes.
pub(crate) fn names(dir: BorrowedFd<'_>) -> nix::Result<Vec<OsString>> {
    let mut entries = Dir::from_fd(node::open_dir(dir, OsStr::new("."))?)?;
    let mut names = Vec::new();
    for entry in entries.iter() {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The open directory of the last path asked for: trees are walked directory by directory.
pub(crate) struct Place<'a> {
    root: &'a Root,
    here: Option<(PathBuf, Rc<OwnedFd>)>,
}

impl<'a> Place<'a> {
    /// Nothing is open yet.
    pub(crate) fn new(root: &'a Root) -> Place<'a> {
        Place { root, here: None }
    }

    /// The directory `path`, opened.
    pub(crate) fn at(&mut self, path: &Path) -> Result<Rc<OwnedFd>> {
        if let Some((here, fd)) = &self.here
            && here == path
        {
            return Ok(Rc::clone(fd));
        }
        let fd = Rc::new(open_directory(self.root, path)?);
        self.here = Some((path.to_path_buf(), Rc::clone(&fd)));
        Ok(fd)
    }

    /// What is at `path`; `None` where nothing is, or no directory holds it.
    pub(crate) fn look(&mut self, path: &Path) -> Result<Option<Found>> {
        let parent = path.parent().unwrap_or(Path::new(""));
        let dir = match self.at(parent) {
            Ok(dir) => dir,
            Err(error)
                if matches!(error.errno(), Some(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP)) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let name = path.file_name().unwrap_or_default();
        let stat = node::look(dir.as_fd(), name).on("stat", path)?;
        Ok(stat.map(|stat| Found { dir, path: path.to_path_buf(), stat }))
    }
}

/// The number by which hard links of one file are told.
pub(crate) fn identity(stat: &FileStat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// A descriptor of a root that can be read and changed, not only looked up in.
pub(crate) fn root_fd(root: &Root) -> Result<OwnedFd> {
    open_directory(root, Path::new(""))
}
