//! Unpacking an archive into a tree that is in use: what `cp` into a container does.
//!
//! A layer is unpacked where nobody else is ([`apply`](crate::apply())). Here somebody may live, and
//! move links and directories around while we write. So every directory is resolved inside the root
//! when it is needed, what is made is made under a name in it that must be free, and attributes are
//! set through the descriptor of what was made, never by its name again. Whiteouts mean nothing here.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use corten_namespaces::{Context, Root};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{self, FileStat, Mode};
use nix::unistd::UnlinkatFlags;

use crate::apply::Limits;
use crate::archive::{Entry, Kind, Reader, Source, Time};
use crate::compression::Compression;
use crate::error::{Error, Result};
use crate::node::{self, Attributes};
use crate::pipeline::{self, Piped};
use crate::remove::remove_tree;
use crate::walk::DIRECTORY;

const HANDLE: OFlag = OFlag::O_PATH.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// A directory above an entry that the archive does not list.
const MISSING: Mode = Mode::from_bits_truncate(0o755);

/// How to unpack.
#[derive(Debug, Clone, Copy)]
pub struct Extract {
    /// A directory never takes the place of something else, nor something else that of a directory.
    pub keep_kinds: bool,
    /// Whose all of it shall be, instead of the archive's owners.
    pub owner: Option<(u32, u32)>,
    /// Leaves out what gives rights to whoever finds it: device nodes, set-user-id and set-group-id.
    pub harmless: bool,
    /// What the archive may ask for.
    pub limits: Limits,
}

impl Default for Extract {
    /// All as the archive says, up to what the file system holds.
    fn default() -> Extract {
        let limits =
            Limits { max_bytes: i64::MAX as u64, max_entries: u64::MAX, ..Limits::default() };
        Extract { keep_kinds: true, owner: None, harmless: false, limits }
    }
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extracted {
    /// Entries of the archive.
    pub entries: u64,
    /// Device nodes that were left out.
    pub devices: u64,
}

/// Unpacks `stream`, plain or compressed with gzip or zstd, into the directory `at` of `root`. Links
/// that are there are followed, as far as the root. A name that leads out is refused.
///
/// # Errors
/// [`Error::Overwrite`]; [`Error::Refused`], [`Error::Malformed`], [`Error::Limit`] where the archive
/// is hostile or broken; what the kernel answers. What was unpacked until then stays.
pub fn extract(
    stream: impl Read + Send,
    root: &Root,
    at: &Path,
    how: &Extract,
) -> Result<Extracted> {
    std::thread::scope(|scope| {
        let (plain, _) = pipeline::start(scope, stream, Compression::Detect, false)?;
        // A thread of its own, because it takes an umask of its own.
        let thread = std::thread::Builder::new().name("extract".into());
        let work = move || {
            crate::sys::own_umask().during("unshare the umask")?;
            write(plain, root, at, how)
        };
        let thread = thread.spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn write(plain: Piped, root: &Root, at: &Path, how: &Extract) -> Result<Extracted> {
    let mut archive = Reader::new(plain, how.limits).with_absolute_names();
    let mut place = Placer { root, at, how, times: Vec::new(), devices: 0 };
    while let Some(entry) = archive.next_entry()? {
        place.add(&entry, &mut archive)?;
    }
    place.finish_directories()?;
    let entries = archive.finish()?.entries;
    Ok(Extracted { entries, devices: place.devices })
}

/// Puts entries in their places.
struct Placer<'a> {
    root: &'a Root,
    at: &'a Path,
    how: &'a Extract,
    /// Directories, and the times that they get when nothing more is made in them.
    times: Vec<(PathBuf, u64, Time)>,
    devices: u64,
}

impl Placer<'_> {
    fn add<S: Source>(&mut self, entry: &Entry, archive: &mut Reader<S>) -> Result<()> {
        // The directory that is unpacked into is what it is.
        let Some(name) = entry.path.name() else { return Ok(()) };
        if self.how.harmless && matches!(entry.kind, Kind::Char(_) | Kind::Block(_)) {
            self.devices += 1;
            return Ok(());
        }
        let parent = self.at.join(entry.path.parent());
        let path = parent.join(name);
        let parent = self.directory_at(&parent)?;
        let found = node::look(parent.as_fd(), name).on("stat", &path)?;
        let found = self.clear(parent.as_fd(), name, entry, &path, found)?;
        let attributes = self.attributes(entry);
        match &entry.kind {
            Kind::Directory => {
                self.directory(parent.as_fd(), name, &path, found.is_some(), attributes)
            }
            Kind::File { size } => {
                let file = match found {
                    None => node::make_file(parent.as_fd(), name).on("make", &path)?,
                    Some(_) => mounted_file(parent.as_fd(), name).on("open", &path)?,
                };
                let file = File::from(file);
                fill(&file, &path, *size, archive)?;
                if found.is_some() {
                    return Ok(());
                }
                node::dress_wholly(file.as_fd(), &attributes)
                    .on("set the attributes of", &path)
                    .map_err(Error::from)
            }
            Kind::HardLink(target) => {
                let target = self.at.join(target.as_path());
                let (from, old) = self.root.parent(&target)?;
                // No flag: of a symbolic link the link itself gets a second name.
                nix::unistd::linkat(&from, old.as_os_str(), &parent, name, AtFlags::empty())
                    .on("link", &path)
                    .map_err(Error::from)
            }
            kind => {
                node::make_node(parent.as_fd(), name, kind, 0).on("make", &path)?;
                let handle =
                    nix::fcntl::openat(&parent, name, HANDLE, Mode::empty()).on("open", &path)?;
                node::dress_handle(handle.as_fd(), &attributes)
                    .on("set the attributes of", &path)
                    .map_err(Error::from)
            }
        }
    }

    /// The directory `path` of the root, made where it is missing.
    fn directory_at(&self, path: &Path) -> Result<OwnedFd> {
        match self.root.open_at(path, OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty()) {
            Err(error) if error.errno() == Some(Errno::ENOENT) => {
                Ok(self.root.create_dir_all(path, MISSING)?)
            }
            other => Ok(other?),
        }
    }

    // ANCHOR: clear
    /// Makes room for an entry: gives what is left in its place, a directory for a directory, or a
    /// file that is mounted there, and keeps its node.
    fn clear(
        &self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        entry: &Entry,
        path: &Path,
        found: Option<FileStat>,
    ) -> Result<Option<FileStat>> {
        let Some(found) = found else { return Ok(None) };
        let (old, new) = (node::is_directory(&found), entry.kind == Kind::Directory);
        if self.how.keep_kinds && old != new {
            let (old, new) = match old {
                true => ("directory", "non-directory"),
                false => ("non-directory", "directory"),
            };
            let why = format!("cannot overwrite {old} {path:?} with {new} {:?}", self.at);
            return Err(Error::Overwrite { why });
        }
        if old && new {
            return Ok(Some(found));
        }
        if crate::sys::is_mount_point(parent, name).on("stat", path)? {
            let fills = !old && matches!(entry.kind, Kind::File { .. });
            let busy = if fills { Ok(()) } else { Err(Errno::EBUSY) };
            return busy.on("replace", path).map(|()| Some(found)).map_err(Error::from);
        }
        let removed = match old {
            // Who lives there may move it meanwhile, but no higher than to his own root.
            true => remove_tree(parent, name),
            false => nix::unistd::unlinkat(parent, name, UnlinkatFlags::NoRemoveDir),
        };
        match removed {
            Ok(()) | Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno).on("replace", path).map_err(Error::from),
        }
    }
    // ANCHOR_END: clear

    fn attributes(&self, entry: &Entry) -> Attributes {
        let (uid, gid) = self.how.owner.unwrap_or((entry.uid, entry.gid));
        let mode = if self.how.harmless { entry.mode & 0o1777 } else { entry.mode };
        Attributes { uid, gid, mode, mtime: entry.mtime, xattrs: self.xattrs(entry) }
    }

    /// Capabilities of a file give rights, too.
    fn xattrs(&self, entry: &Entry) -> Vec<(std::ffi::OsString, Vec<u8>)> {
        let keeps = |name: &OsStr| {
            let name = name.as_encoded_bytes();
            !self.how.harmless
                || name.starts_with(b"user.")
                || name.starts_with(b"system.posix_acl")
        };
        entry.xattrs.iter().filter(|(name, _)| keeps(name)).cloned().collect()
    }

    fn directory(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
        is_there: bool,
        attributes: Attributes,
    ) -> Result<()> {
        if !is_there {
            stat::mkdirat(parent, name, Mode::S_IRWXU).on("mkdir", path)?;
        }
        let fd = node::open_dir(parent, name).on("open", path)?;
        node::dress_wholly(fd.as_fd(), &attributes).on("set the attributes of", path)?;
        let inode = stat::fstat(&fd).on("stat", path)?.st_ino;
        self.times.push((path.to_path_buf(), inode, attributes.mtime));
        Ok(())
    }

    /// Making entries in a directory has changed its times.
    fn finish_directories(&mut self) -> Result<()> {
        for (path, inode, time) in self.times.drain(..).rev() {
            let opened = self.root.open_at(&path, DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty());
            // It may have been moved since.
            let Ok(fd) = opened else { continue };
            if stat::fstat(&fd).on("stat", &path)?.st_ino == inode {
                let time = node::time_spec(time);
                stat::futimens(&fd, &time, &time).on("set the times of", &path)?;
            }
        }
        Ok(())
    }
}

/// A file that is mounted, to be filled anew.
fn mounted_file(parent: BorrowedFd<'_>, name: &OsStr) -> nix::Result<OwnedFd> {
    let handle = nix::fcntl::openat(parent, name, HANDLE, Mode::empty())?;
    if stat::fstat(&handle)?.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(Errno::EBUSY);
    }
    node::reopen(handle.as_fd(), OFlag::O_WRONLY | OFlag::O_TRUNC | OFlag::O_NONBLOCK)
}

fn fill<S: Source>(file: &File, path: &Path, size: u64, archive: &mut Reader<S>) -> Result<()> {
    let mut end = 0;
    archive.content(|at, bytes| {
        end = at + bytes.len() as u64;
        let written = file.write_all_at(bytes, at);
        written.map_err(node::errno).on("write", path).map_err(Error::from)
    })?;
    if end < size {
        file.set_len(size).on("write", path)?;
    }
    Ok(())
}
