//! The directory that a layer is unpacked into, while it grows.
//!
//! Everything is made by its name in an open directory, with as few system calls as it takes: this
//! thread has the umask 0, so open(2) and mkdir(2) make the right mode at once, and only what belongs
//! to others is given away.

mod directories;
mod links;
mod marks;

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use corten_namespaces::{Context, Root};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{self, Mode};

use crate::apply::{Lower, Options};
use crate::archive::{Device, Entry, Kind, Reader, Source};
use crate::copy::Copied;
use crate::error::{Error, Result};
use crate::node::{self, Attributes, Dress, Owner};
use crate::path::{EntryPath, show};
use crate::remove::remove_tree;
use crate::sys;
use crate::walk::{DIRECTORY, root_fd};
use crate::whiteout::Marks;
use directories::{Directories, Directory, Here};
use marks::{UNMARK, deletes};

/// A directory that the layer did not list, and nothing below it tells its attributes.
const MISSING: Mode = Mode::from_bits_truncate(0o755);

/// The disk may begin with a file of this size while the next ones are unpacked.
const LARGE: u64 = 1 << 20;

/// A default ACL that its directory gets when nothing more is made in it.
struct DefaultAcl {
    path: PathBuf,
    inode: u64,
    value: Vec<u8>,
}

/// The tree of one layer.
pub(crate) struct Tree<'a> {
    root: &'a Root,
    options: &'a Options,
    lower: &'a Lower<'a>,
    open: Directories,
    /// Whose what this thread makes is.
    owner: Owner,
    default_acls: Vec<DefaultAcl>,
    root_is_listed: bool,
    opaque_root: bool,
    /// Some deletion is marked by a file.
    has_marks: bool,
    /// What was copied because names are separate, and whether blocks are shared for that.
    copied: Copied,
    share: bool,
}

impl<'a> Tree<'a> {
    /// Begins in the empty directory `root`.
    pub(crate) fn new(root: &'a Root, options: &'a Options, lower: &'a Lower<'a>) -> Result<Self> {
        let fd = root_fd(root)?;
        // A default ACL of the place where layers are kept would pass to all that is made in it.
        node::clear_xattrs(fd.as_fd()).on("remove xattrs of", root.label())?;
        Ok(Tree {
            root,
            options,
            lower,
            open: Directories::default(),
            owner: Owner::of_this_thread(),
            default_acls: Vec::new(),
            root_is_listed: false,
            opaque_root: false,
            has_marks: false,
            copied: Copied::default(),
            share: true,
        })
    }

    /// Makes an entry, with its content and attributes.
    pub(crate) fn add<S: Source>(&mut self, entry: &Entry, archive: &mut Reader<S>) -> Result<()> {
        let path = &entry.path;
        let Some(name) = path.name() else {
            // The archive's reader has seen to it that the root is a directory.
            self.open.leave_all()?;
            self.root_is_listed = true;
            return self.root(entry.into());
        };
        let here = self.enter(path)?;
        self.make(&here, name, entry, archive).map_err(|error| match error.errno() {
            // A link led back up, and an entry through it replaced the directory that is open.
            Some(Errno::ENOENT) => {
                let why = "its directory was replaced under another name".into();
                Error::Refused { entry: path.shown(), why }
            }
            _ => error,
        })
    }

    fn make<S: Source>(
        &mut self,
        here: &Here,
        name: &OsStr,
        entry: &Entry,
        archive: &mut Reader<S>,
    ) -> Result<()> {
        let path = &entry.path;
        match &entry.kind {
            Kind::Directory => self.directory(here, name, entry),
            Kind::HardLink(target) => self.hard_link(here.fd.as_fd(), name, path, target),
            Kind::File { size } => self.file(here, name, entry, *size, archive),
            // Overlay takes such a device for a whiteout, and not every file system has one.
            Kind::Char(Device { major: 0, minor: 0 }) if self.options.marks == Marks::Files => {
                self.remove_if_there(here.fd.as_fd(), name, path.as_path())?;
                self.hide(path, name)
            }
            kind => {
                let parent = here.fd.as_fd();
                let make = || node::make_node(parent, name, kind, entry.mode);
                self.replacing(path, parent, name, make)?;
                let made = self.owner.made(here.gives_group);
                node::dress_new_node(parent, name, kind, entry.into(), made)
                    .on("set the attributes of", path.as_path())
                    .map_err(Error::from)
            }
        }
    }

    // ANCHOR: file
    fn file<S: Source>(
        &mut self,
        here: &Here,
        name: &OsStr,
        entry: &Entry,
        size: u64,
        archive: &mut Reader<S>,
    ) -> Result<()> {
        let (path, parent) = (&entry.path, here.fd.as_fd());
        let make = || node::make_file_with(parent, name, entry.mode);
        let file = File::from(self.replacing(path, parent, name, make)?);
        let mut end = 0;
        archive.content(|at, bytes| {
            end = at + bytes.len() as u64;
            let written = file.write_all_at(bytes, at);
            written.map_err(node::errno).on("write", path.as_path()).map_err(Error::from)
        })?;
        if end < size {
            file.set_len(size).on("write", path.as_path())?;
        }
        if end >= LARGE {
            // The syncfs(2) at the end finds less to do. Where it fails, it finds more.
            let _ = sys::begin_writing(file.as_fd());
        }
        node::dress_new(file.as_fd(), entry.into(), self.owner.made(here.gives_group))
            .on("set the attributes of", path.as_path())
            .map_err(Error::from)
    }
    // ANCHOR_END: file

    fn root(&mut self, to: Dress<'_>) -> Result<()> {
        let fd = root_fd(self.root)?;
        node::clear_xattrs(fd.as_fd()).on("remove xattrs of", self.root.label())?;
        node::dress_open(fd.as_fd(), to).on("set the attributes of", self.root.label())?;
        self.keep_default_acl(fd.as_fd(), Path::new(""), to)
    }

    /// Hides `name`, beside the whiteout at `path`, in the layers below.
    pub(crate) fn hide(&mut self, path: &EntryPath, name: &OsStr) -> Result<()> {
        let here = self.enter(path)?;
        let parent = here.fd.as_fd();
        if self.options.bottom {
            return Ok(());
        }
        // A whiteout speaks of the layers below, not of what this layer itself has made.
        match node::look(parent, name).on("stat", path.as_path())? {
            None => self.mark_deleted(parent, name, path.as_path())?,
            Some(stat) if node::is_directory(&stat) => {
                let fd = node::open_dir(parent, name).on("open", path.as_path())?;
                self.make_opaque(&fd, path.as_path())?;
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// Hides all that the layers below have in the directory of the mark at `path`.
    pub(crate) fn hide_all(&mut self, path: &EntryPath) -> Result<()> {
        let dir = self.enter(path)?;
        if self.options.bottom {
            return Ok(());
        }
        if path.parent() == Path::new("") {
            self.opaque_root = true;
        }
        self.make_opaque(&dir.fd, path.as_path())
    }

    /// Puts the last times and the default ACLs in place. Tells whether the layer hides everything
    /// below it.
    pub(crate) fn finish(mut self) -> Result<bool> {
        if !self.root_is_listed
            && let Some(attributes) = self.attributes_below(Path::new("/"))?
        {
            // Before the directories are left: their times are put back last.
            self.open.leave_all()?;
            self.root((&attributes).into())?;
        }
        self.open.leave_all()?;
        for acl in std::mem::take(&mut self.default_acls) {
            let opened = self.root.open_at(&acl.path, DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty());
            // The directory may have been replaced since.
            let Ok(fd) = opened else { continue };
            if stat::fstat(&fd).on("stat", &acl.path)?.st_ino == acl.inode {
                node::set_xattr(fd.as_fd(), OsStr::new(node::DEFAULT_ACL), &acl.value)
                    .on("set the default ACL of", &acl.path)?;
            }
        }
        Ok(self.opaque_root)
    }

    fn directory(&mut self, here: &Here, name: &OsStr, entry: &Entry) -> Result<()> {
        let (path, parent) = (entry.path.as_path(), here.fd.as_fd());
        let mode = Mode::from_bits_truncate(entry.mode & 0o1777);
        let make = || stat::mkdirat(parent, name, mode);
        let hides = match make() {
            Ok(()) => self.unmark(parent, name).on(UNMARK, path)?,
            Err(Errno::EEXIST) => {
                let found = node::look(parent, name).on("stat", path)?;
                if found.as_ref().is_some_and(node::is_directory) {
                    return self.directory_again(parent, name, entry);
                }
                self.remove(parent, name, path)?;
                make().on("make the directory", path)?;
                found.as_ref().is_some_and(node::is_whiteout)
            }
            Err(errno) => return Err(errno).on("make the directory", path).map_err(Error::from),
        };
        let fd = node::open_dir(parent, name).on("open", path)?;
        if hides {
            // Deleted and made again: it must not show what the layers below have in it.
            self.make_opaque(&fd, path)?;
        }
        // Its times are set when it is left.
        let made = self.owner.made(here.gives_group);
        node::dress_new_directory(fd.as_fd(), entry.into(), made)
            .on("set the attributes of", path)?;
        self.keep_default_acl(fd.as_fd(), path, entry.into())?;
        self.open.enter(Directory::made(path, fd, node::time_spec(entry.mtime), entry.mode))
    }

    /// A directory that an earlier entry has made or needed.
    fn directory_again(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        entry: &Entry,
    ) -> Result<()> {
        let path = entry.path.as_path();
        let fd = node::open_dir(parent, name).on("open", path)?;
        node::clear_xattrs(fd.as_fd()).on("remove xattrs of", path)?;
        node::dress_open(fd.as_fd(), entry).on("set the attributes of", path)?;
        self.keep_default_acl(fd.as_fd(), path, entry.into())
    }

    /// Makes something under a name, and where the name is taken removes what has it: of two
    /// entries of one name, the later counts.
    fn replacing<T>(
        &mut self,
        path: &EntryPath,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        make: impl Fn() -> nix::Result<T>,
    ) -> Result<T> {
        let made = match make() {
            Err(Errno::EEXIST) => {
                self.remove(parent, name, path.as_path())?;
                make()
            }
            other => other,
        };
        let made = made.on("make", path.as_path())?;
        self.unmark(parent, name).on(UNMARK, path.as_path())?;
        Ok(made)
    }

    fn remove(&mut self, parent: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<()> {
        remove_tree(parent, name).on("replace", path).map_err(Error::from)
    }

    fn remove_if_there(&mut self, parent: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<()> {
        match node::look(parent, name).on("stat", path)? {
            Some(_) => self.remove(parent, name, path),
            None => Ok(()),
        }
    }

    /// Remembers the default ACL of a directory, to be set when nothing more is made in it.
    fn keep_default_acl(&mut self, fd: BorrowedFd<'_>, path: &Path, to: Dress<'_>) -> Result<()> {
        let acl = to.xattrs.iter().find(|(name, _)| name == node::DEFAULT_ACL);
        if acl.is_none() && self.default_acls.is_empty() {
            return Ok(());
        }
        let inode = stat::fstat(fd).on("stat", path)?.st_ino;
        self.default_acls.retain(|acl| acl.inode != inode);
        if let Some((_, value)) = acl {
            let (path, value) = (path.to_path_buf(), value.clone());
            self.default_acls.push(DefaultAcl { path, inode, value });
        }
        Ok(())
    }

    // ANCHOR: enter
    /// The directory that holds `path`, made where it is missing.
    fn enter(&mut self, path: &EntryPath) -> Result<Here> {
        let parent = path.parent();
        loop {
            let above = self.open.leave_for(parent)?;
            let child = above.and_then(|above| above.child(parent));
            if let Some(here) = self.open.here(parent) {
                return Ok(here);
            }
            let fd = match child {
                Some(fd) => fd,
                None => match self.root.open_at(slash(parent), DIRECTORY, Mode::empty()) {
                    Err(error) if leads_nowhere(&error) => self.make_parents(path)?,
                    other => other?,
                },
            };
            self.open.enter(Directory::found(parent.to_path_buf(), fd)?)?;
        }
    }
    // ANCHOR_END: enter

    /// Makes the directories above `path` that the layer did not list.
    fn make_parents(&mut self, path: &EntryPath) -> Result<OwnedFd> {
        let mut fd = self.root.open_at("/", DIRECTORY, Mode::empty())?;
        let mut walked = PathBuf::new();
        for name in path.parent() {
            walked.push(name);
            fd = match self.root.open_at(&walked, DIRECTORY, Mode::empty()) {
                Ok(found) => found,
                Err(error) if leads_nowhere(&error) => {
                    self.make_parent(&fd, name, path, &walked)?
                }
                Err(error) => return Err(error.into()),
            };
        }
        Ok(fd)
    }

    fn make_parent(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        path: &EntryPath,
        walked: &Path,
    ) -> Result<OwnedFd> {
        let found = node::look(parent.as_fd(), name).on("stat", walked)?;
        let mut hides = found.as_ref().is_some_and(node::is_whiteout);
        if found.is_some() && !hides {
            // A file, or a link that leads nowhere.
            let above = show(walked.as_os_str().as_encoded_bytes());
            let why = format!("{above}, above it, is no directory");
            return Err(Error::Refused { entry: path.shown(), why });
        }
        if hides {
            self.remove(parent.as_fd(), name, walked)?;
        }
        node::keeping_times(parent.as_fd(), || {
            stat::mkdirat(parent, name, MISSING)?;
            hides |= self.unmark(parent.as_fd(), name)?;
            Ok(())
        })
        .on("make the directory", walked)?;
        let fd = node::open_dir(parent.as_fd(), name).on("open", walked)?;
        let mut attributes = Attributes::of_directory(fd.as_fd()).on("stat", walked)?;
        // Not a group from the directory above.
        (attributes.mode, attributes.uid, attributes.gid) = (MISSING.bits(), 0, 0);
        attributes.xattrs.clear();
        if hides {
            self.make_opaque(&fd, walked)?;
        } else if let Some(below) = self.attributes_below(walked)? {
            attributes = below;
        }
        node::dress_open(fd.as_fd(), &attributes).on("set the attributes of", walked)?;
        self.keep_default_acl(fd.as_fd(), walked, (&attributes).into())?;
        Ok(fd)
    }

    /// What the layers below have for the directory `path`.
    fn attributes_below(&self, path: &Path) -> Result<Option<Attributes>> {
        for lower in self.lower.roots()? {
            match lower.open_at(path, DIRECTORY, Mode::empty()) {
                Ok(fd) => {
                    return Ok(Some(Attributes::of_directory(fd.as_fd()).on("stat", path)?));
                }
                Err(error) if error.errno() == Some(Errno::ENOENT) => {
                    if self.options.marks == Marks::Files && deletes(lower, path)? {
                        return Ok(None);
                    }
                }
                // Deleted there, or a file.
                Err(error) if error.errno() == Some(Errno::ENOTDIR) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }
}

fn slash(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new("/") } else { path }
}

/// A component is missing, is no directory, or is a link that goes round in circles.
fn leads_nowhere(error: &corten_namespaces::Error) -> bool {
    matches!(error.errno(), Some(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP))
}
