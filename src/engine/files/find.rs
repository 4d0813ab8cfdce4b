//! Paths in a container, by Docker's rules.
//!
//! A path of the user is cleaned as text; whether it ends in `/` or `/.` stays known, for then a
//! link at its end is followed, and a directory must be there.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use corten_namespaces::Root;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::libc;
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Files;
use crate::engine::error::{At, Error, Result};
use crate::engine::path::lexical;

/// What is at a path, as Docker's clients are told it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PathStat {
    /// The last component of the path that was asked for.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// The bits of Go's `os.FileMode`.
    pub mode: u32,
    /// When its content changed, in RFC 3339.
    pub mtime: String,
    /// Where a link leads in the end; empty for what is none.
    pub link_target: String,
}

impl PathStat {
    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.mode & DIRECTORY != 0
    }

    /// Whether it is a symbolic link.
    pub fn is_link(&self) -> bool {
        self.mode & SYMLINK != 0
    }

    /// Whether it is neither file nor directory nor link.
    pub fn is_special(&self) -> bool {
        self.mode & (DEVICE | FIFO | SOCKET) != 0
    }
}

const DIRECTORY: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;
const DEVICE: u32 = 1 << 26;
const FIFO: u32 = 1 << 25;
const SOCKET: u32 = 1 << 24;
const SET_UID: u32 = 1 << 23;
const SET_GID: u32 = 1 << 22;
const CHARACTER: u32 = 1 << 21;
const STICKY: u32 = 1 << 20;

// ANCHOR: file_mode
/// A mode of the kernel as Go writes it: the permissions are the same, the rest is Go's own.
pub(super) fn file_mode(mode: u32) -> u32 {
    let kind = match mode & libc::S_IFMT {
        libc::S_IFDIR => DIRECTORY,
        libc::S_IFLNK => SYMLINK,
        libc::S_IFBLK => DEVICE,
        libc::S_IFCHR => DEVICE | CHARACTER,
        libc::S_IFIFO => FIFO,
        libc::S_IFSOCK => SOCKET,
        _ => 0,
    };
    let bit = |from: u32, to: u32| if mode & from == 0 { 0 } else { to };
    let special =
        bit(libc::S_ISUID, SET_UID) | bit(libc::S_ISGID, SET_GID) | bit(libc::S_ISVTX, STICKY);
    kind | special | mode & 0o777
}
// ANCHOR_END: file_mode

/// `/` and `path`, cleaned; a `/` or `/.` at its end stays.
pub(crate) fn cleaned(path: &Path) -> PathBuf {
    let bytes = path.as_os_str().as_bytes();
    let mut clean = lexical(path).into_os_string();
    let is_root = clean == "/";
    if base(path) == "." {
        clean.push(if is_root { "." } else { "/." });
    } else if bytes.ends_with(b"/") && !is_root {
        clean.push("/");
    }
    PathBuf::from(clean)
}

/// The last component as text: `.` for `a/.` and for nothing, `/` for the root.
pub(crate) fn base(path: &Path) -> OsString {
    let bytes = path.as_os_str().as_bytes();
    let Some(end) = bytes.iter().rposition(|&byte| byte != b'/') else {
        return if bytes.is_empty() { "." } else { "/" }.into();
    };
    let start = bytes[..end].iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
    OsStr::from_bytes(&bytes[start..=end]).to_owned()
}

/// Whether the user says by its end that it is a directory.
pub(crate) fn says_directory(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(b"/") || base(path) == "."
}

/// Something that was found.
#[derive(Debug)]
pub(crate) struct Spot {
    /// A directory itself, or the directory that holds anything else.
    pub(crate) directory: OwnedFd,
    /// The name in that; empty for a directory itself.
    pub(crate) name: PathBuf,
    /// What it is.
    pub(crate) stat: FileStat,
    /// The cleaned path.
    pub(crate) path: PathBuf,
}

impl Spot {
    /// What is at `path` of `root`.
    pub(crate) fn find(root: &Root, path: &Path) -> Result<Spot> {
        let path = cleaned(path);
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let open = |directory: OwnedFd| {
            let stat = fstat(&directory).at("stat", &path)?;
            Ok(Spot { directory, name: PathBuf::new(), stat, path: path.clone() })
        };
        if says_directory(&path) {
            return open(root.open_at(&path, flags, Mode::empty())?);
        }
        let (parent, name) = root.parent(&path)?;
        let stat = fstatat(&parent, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW);
        let stat = stat.at("stat", &path)?;
        if stat.st_mode & libc::S_IFMT == libc::S_IFDIR {
            let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let opened = nix::fcntl::openat(parent.as_fd(), name.as_os_str(), flags, Mode::empty());
            return open(opened.at("open", &path)?);
        }
        Ok(Spot { directory: parent, name: name.into(), stat, path })
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.name.as_os_str().is_empty()
    }
}

// ANCHOR: evaluate
/// Where `path` leads in the end, as text: of use for messages and questions, and for paths that
/// are resolved again. What is not there is taken as it is written.
pub(crate) fn evaluate(root: &Root, path: &Path) -> PathBuf {
    /// As many links as the kernel follows.
    const LINKS: u32 = 40;
    let owned = |component: Component<'_>| component.as_os_str().to_owned();
    let mut left: VecDeque<OsString> = path.components().map(owned).collect();
    let (mut reached, mut links) = (PathBuf::from("/"), 0);
    while let Some(component) = left.pop_front() {
        match component.as_bytes() {
            b"/" => reached = PathBuf::from("/"),
            b"." => {}
            b".." => drop(reached.pop()),
            _ => {
                let next = reached.join(&component);
                let target = root.resolve_nofollow(&next).ok();
                let target = target.and_then(|fd| nix::fcntl::readlinkat(&fd, "").ok());
                match target {
                    Some(target) if links < LINKS => {
                        links += 1;
                        for component in Path::new(&target).components().rev() {
                            left.push_front(owned(component));
                        }
                    }
                    _ => reached = next,
                }
            }
        }
    }
    reached
}
// ANCHOR_END: evaluate

impl Files {
    /// Finds what is at a path.
    pub(crate) fn find(&self, path: &Path) -> Result<Spot> {
        Spot::find(&self.root, path).map_err(|error| self.not_found(path, error))
    }

    /// Dockerd's sentence where nothing is there.
    pub(crate) fn not_found(&self, path: &Path, error: Error) -> Error {
        match &error {
            Error::Kernel(kernel) if kernel.errno() == Some(Errno::ENOENT) => {
                Error::NoSuchPath { path: path.display().to_string(), container: self.name.clone() }
            }
            _ => error,
        }
    }

    /// What is at `path`; a link itself, unless the path ends in `/`.
    ///
    /// # Errors
    /// [`Error::NoSuchPath`].
    pub fn stat(&self, path: &Path) -> Result<PathStat> {
        Ok(self.describe(&self.find(path)?))
    }

    pub(crate) fn describe(&self, spot: &Spot) -> PathStat {
        let mode = file_mode(spot.stat.st_mode);
        let nanoseconds =
            i128::from(spot.stat.st_mtime) * 1_000_000_000 + i128::from(spot.stat.st_mtime_nsec);
        let time = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds);
        let link_target = match mode & SYMLINK {
            0 => String::new(),
            _ => evaluate(&self.root, &spot.path).to_string_lossy().into_owned(),
        };
        PathStat {
            name: base(&spot.path).to_string_lossy().into_owned(),
            size: spot.stat.st_size,
            mode,
            mtime: time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default(),
            link_target,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_go_s() {
        // What dockerd says of /tmp.
        assert_eq!(file_mode(libc::S_IFDIR | 0o1777), 2_148_532_735);
        assert_eq!(file_mode(libc::S_IFREG | 0o4755), SET_UID | 0o755);
        assert_eq!(file_mode(libc::S_IFLNK | 0o777), 0o1000000777);
        assert_eq!(file_mode(libc::S_IFCHR | 0o666), DEVICE | CHARACTER | 0o666);
    }

    #[test]
    fn the_end_of_a_path_says_whether_it_is_a_directory() {
        for (path, clean, last) in [
            ("", "/.", "."),
            ("/", "/", "/"),
            (".", "/.", "."),
            ("a", "/a", "a"),
            ("/a/", "/a/", "a"),
            ("/a/b/../.", "/a/.", "."),
            ("../../x//", "/x/", "x"),
        ] {
            let path = cleaned(Path::new(path));
            assert_eq!((path.to_str().unwrap(), base(&path).to_str().unwrap()), (clean, last));
        }
        assert!(says_directory(Path::new("/a/.")) && says_directory(Path::new("/")));
        assert!(!says_directory(Path::new("/a")) && !says_directory(Path::new("/a.")));
    }

    #[test]
    fn links_are_followed_as_text_and_stay_inside() {
        let dir = tempfile::tempdir().unwrap();
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, dir.path().join(name));
        std::fs::create_dir(dir.path().join("d")).unwrap();
        link("../../../d", "up").unwrap();
        link("/up/missing", "far").unwrap();
        link("round", "round").unwrap();
        let root = Root::open(dir.path()).unwrap();
        let evaluate = |path: &str| evaluate(&root, Path::new(path)).display().to_string();
        assert_eq!(evaluate("/up/x"), "/d/x");
        assert_eq!(evaluate("/far"), "/d/missing");
        assert_eq!(evaluate("/round"), "/round");
        assert_eq!(evaluate("/"), "/");
    }
}
