//! Paths inside a container's root, resolved by the kernel.
//!
//! A path that comes from an image, a config file or a user is hostile: `../../etc/shadow`, or
//! `etc -> /etc` as a symbolic link, or a link that another process swaps in between a check and
//! its use. Joining strings cannot win that race. openat2(2) with `RESOLVE_IN_ROOT` can: the kernel
//! walks the path as if the descriptor were `/`, absolute links and `..` included, and never leaves
//! it. [`Root`] is the only way by which Corten touches a path in a container.

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use crate::error::{Context, Error, KernelError, Result};
use crate::sys;

// ANCHOR: resolve
/// How openat2(2) shall walk a path below a root: never out of it, never through a magic link
/// such as /proc/PID/root, which would leave it all the same.
pub const RESOLVE: u64 = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS;
// ANCHOR_END: resolve

// ANCHOR: root
/// An open directory that is `/` for every path that is resolved through it.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    /// For messages only; never used to find a file again.
    path: PathBuf,
}
// ANCHOR_END: root

impl Root {
    /// Opens the directory `path`, which is trusted: symbolic links in it are followed.
    ///
    /// # Errors
    /// `ENOENT` where it is missing, `ENOTDIR` where it is no directory.
    pub fn open(path: impl AsRef<Path>) -> Result<Root> {
        let path = path.as_ref();
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = nix::fcntl::open(path, flags, Mode::empty()).on("open the root", path)?;
        Ok(Root { fd, path: path.to_path_buf() })
    }

    /// Takes a descriptor of a directory; `label` stands for it in messages.
    pub fn from_fd(fd: OwnedFd, label: impl Into<PathBuf>) -> Root {
        Root { fd, path: label.into() }
    }

    /// The path by which this root was opened, for messages only.
    pub fn label(&self) -> &Path {
        &self.path
    }

    /// Opens `path` as it is seen from inside, following symbolic links, which cannot leave the
    /// root. `mode` counts where `flags` hold `O_CREAT`. The descriptor is close-on-exec.
    ///
    /// # Errors
    /// Whatever openat2(2) answers, with the path as it is inside the root.
    pub fn open_at(&self, path: impl AsRef<Path>, flags: OFlag, mode: Mode) -> Result<OwnedFd> {
        let path = path.as_ref();
        self.openat2(self.fd.as_fd(), path, flags, mode).map_err(|e| self.error("open", path, e))
    }

    /// A handle (`O_PATH`) on whatever `path` leads to, links followed.
    ///
    /// # Errors
    /// As [`Root::open_at`].
    pub fn resolve(&self, path: impl AsRef<Path>) -> Result<OwnedFd> {
        self.open_at(path, OFlag::O_PATH, Mode::empty())
    }

    /// A handle (`O_PATH`) on `path` itself, also where it is a symbolic link.
    ///
    /// # Errors
    /// As [`Root::open_at`].
    pub fn resolve_nofollow(&self, path: impl AsRef<Path>) -> Result<OwnedFd> {
        self.open_at(path, OFlag::O_PATH | OFlag::O_NOFOLLOW, Mode::empty())
    }

    /// The directory that holds `path`, resolved inside the root, and the last component: what the
    /// `*at` calls (mkdirat, symlinkat, mknodat, linkat, unlinkat, fchownat …) need to act on a
    /// name without following it.
    ///
    /// # Errors
    /// [`Error::Invalid`] where `path` names no entry (empty, `/`, or ending in `..`).
    pub fn parent(&self, path: impl AsRef<Path>) -> Result<(OwnedFd, OsString)> {
        let path = path.as_ref();
        let Some(Component::Normal(name)) = path.components().next_back() else {
            return Err(Error::invalid(
                path.display().to_string(),
                "names no entry of a directory (empty, `/` or ending in `..`)",
            ));
        };
        let parent = path.parent().unwrap_or(Path::new("/"));
        let fd = self.open_at(
            if parent.as_os_str().is_empty() { Path::new("/") } else { parent },
            OFlag::O_PATH | OFlag::O_DIRECTORY,
            Mode::empty(),
        )?;
        Ok((fd, name.to_owned()))
    }

    /// Makes the directory `path` and all that are missing above it, with `mode` less the umask,
    /// and opens it (`O_PATH`). Existing directories keep their mode.
    ///
    /// A symbolic link on the way is followed inside the root; one that dangles is `ENOENT`,
    /// because making its target would let an image choose names anywhere in its root.
    ///
    /// # Errors
    /// `ENOTDIR` where a component is there and no directory.
    pub fn create_dir_all(&self, path: impl AsRef<Path>, mode: Mode) -> Result<OwnedFd> {
        let path = path.as_ref();
        let directory = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let mut walked = PathBuf::from("/");
        let mut here = self.open_at("/", directory, Mode::empty())?;
        for component in path.components() {
            match component {
                Component::RootDir | Component::CurDir | Component::Prefix(_) => continue,
                // Lexical `..` after a symbolic link differs from the kernel's: resolve the whole
                // prefix from the root each time instead.
                Component::ParentDir | Component::Normal(_) => walked.push(component),
            }
            here = match self.open_at(&walked, directory, Mode::empty()) {
                Ok(fd) => fd,
                Err(error) if error.errno() == Some(Errno::ENOENT) => {
                    let Component::Normal(name) = component else {
                        return Err(error);
                    };
                    match nix::sys::stat::mkdirat(here.as_fd(), name, mode) {
                        Ok(()) | Err(Errno::EEXIST) => {}
                        Err(errno) => return Err(self.error("mkdir", &walked, errno)),
                    }
                    self.open_at(&walked, directory, Mode::empty())?
                }
                Err(error) => return Err(error),
            };
        }
        Ok(here)
    }

    fn openat2(
        &self,
        from: BorrowedFd<'_>,
        path: &Path,
        flags: OFlag,
        mode: Mode,
    ) -> nix::Result<OwnedFd> {
        let path = c_path(path)?;
        // openat2 refuses mode bits without O_CREAT or O_TMPFILE.
        let creates = flags.intersects(OFlag::O_CREAT | OFlag::O_TMPFILE);
        let mode = if creates { u64::from(mode.bits()) } else { 0 };
        // The widening keeps the bit pattern: flags are never negative.
        let flags = (flags | OFlag::O_CLOEXEC).bits() as u64;
        // EAGAIN: a rename or mount raced with the walk of `..`; openat2(2) says to try again.
        for _ in 0..128 {
            match sys::openat2(from.as_raw_fd(), &path, flags, mode, RESOLVE) {
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                other => return other,
            }
        }
        Err(Errno::EAGAIN)
    }

    fn error(&self, operation: &str, path: &Path, errno: Errno) -> Error {
        let shown = self.path.join(path.strip_prefix("/").unwrap_or(path));
        KernelError::new(operation, Some(&shown), errno).into()
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn c_path(path: &Path) -> nix::Result<CString> {
    let bytes = if path.as_os_str().is_empty() { OsStr::new(".") } else { path.as_os_str() };
    CString::new(bytes.as_bytes()).map_err(|_| Errno::EINVAL)
}
