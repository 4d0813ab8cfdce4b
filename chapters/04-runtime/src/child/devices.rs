//! Device nodes and links in the container's tree, and the copy of a directory.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use corten_namespaces::error::{Context, KernelError};
use corten_namespaces::sys;
use corten_namespaces::sys::mount as kernel;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag};
use nix::unistd::{Gid, Uid};
use std::os::fd::AsFd;

use super::Child;
use super::place::{self, Kind, LastLink};
use crate::create::step::Device;
use crate::error::Result;
use crate::mount::Inside;

impl Child {
    // ANCHOR: device
    pub(super) fn device(&self, device: &Device) -> Result<()> {
        let path = device.target.path();
        let (directory, name) = self.directory_of(path)?;
        let Device { mode, number, owner, .. } = *device;
        let make = || -> nix::Result<()> {
            match sys::mknodat(directory.as_raw_fd(), &name, mode, number) {
                Ok(()) => {
                    let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
                    let nofollow = AtFlags::AT_SYMLINK_NOFOLLOW;
                    nix::unistd::fchownat(&directory, &*name, Some(uid), Some(gid), nofollow)?;
                    // mknod's mode has been cut by the umask of a hook or an ACL of the directory.
                    nix::sys::stat::fchmodat(
                        &directory,
                        &*name,
                        Mode::from_bits_truncate(mode & 0o7777),
                        FchmodatFlags::FollowSymlink,
                    )
                }
                // A link in its place would be trusted as the device: CVE-2025-31133.
                Err(Errno::EEXIST) => {
                    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                    let there = nix::fcntl::openat(&directory, &*name, flags, Mode::empty())?;
                    let stat = nix::sys::stat::fstat(&there)?;
                    let same = stat.st_mode & libc::S_IFMT == mode & libc::S_IFMT
                        && (mode & libc::S_IFMT == libc::S_IFIFO || stat.st_rdev == number);
                    if same { Ok(()) } else { Err(Errno::EEXIST) }
                }
                // In a user namespace nobody may make a device, but the host's may be shown.
                Err(Errno::EPERM) => self.bind_device(path),
                Err(errno) => Err(errno),
            }
        };
        make().map_err(|errno| {
            let error = KernelError::new("make the device", Some(path), errno);
            let error = match errno {
                Errno::EEXIST => error.with_remedy("something else has its name"),
                _ => error,
            };
            corten_namespaces::Error::from(error).into()
        })
    }
    // ANCHOR_END: device

    fn bind_device(&self, path: &Path) -> nix::Result<()> {
        let host =
            std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
        let tree = kernel::clone_tree(libc::AT_FDCWD, &host, false)?;
        let root = self.root.as_ref().ok_or(Errno::EBADF)?;
        let place = place::find(root, path, Kind::File, LastLink::Keep)?;
        kernel::move_mount(tree.as_fd(), place.as_raw_fd())
    }

    /// The directory that holds `path`, made where it is missing, and the last name.
    fn directory_of(&self, path: &Path) -> Result<(OwnedFd, std::ffi::CString)> {
        let parent = path.parent().unwrap_or(Path::new("/"));
        let directory = place::find(self.root()?, parent, Kind::Directory, LastLink::Follow)
            .on("find or make", parent)?;
        let name = std::ffi::CString::new(path.file_name().unwrap_or_default().as_bytes())
            .map_err(|_| Errno::EINVAL)
            .on("name", path)?;
        Ok((directory, name))
    }

    pub(super) fn link(&self, at: &Inside, to: &Path) -> Result<()> {
        let (directory, name) = self.directory_of(at.path())?;
        let make = || nix::unistd::symlinkat(to, &directory, &*name);
        let made = match make() {
            Err(Errno::EEXIST) => {
                // An image may bring a /dev of its own, of which what is no link stays.
                match nix::fcntl::readlinkat(&directory, &*name) {
                    Ok(there) if Path::new(&there) == to => Ok(()),
                    Ok(_) => crate::sys::mount::unlink(directory.as_raw_fd(), &name)
                        .and_then(|()| make()),
                    Err(_) => Ok(()),
                }
            }
            other => other,
        };
        Ok(made.on("make the link", at.path())?)
    }
}

// ANCHOR: copy_up
/// Copies what is in the directory `from` into the directory `to`, without following links.
pub(super) fn copy_up(from: &OwnedFd, to: &OwnedFd) -> nix::Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    copy_metadata(from, to)?;
    let mut entries = Dir::openat(from, ".", flags, Mode::empty())?;
    let names: Vec<_> = entries
        .iter()
        .filter_map(std::result::Result::ok)
        .map(|entry| entry.file_name().to_owned())
        .filter(|name| name.as_bytes() != b"." && name.as_bytes() != b"..")
        .collect();
    for name in names {
        let there = nix::fcntl::openat(
            from,
            &*name,
            OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        let stat = nix::sys::stat::fstat(&there)?;
        match SFlag::from_bits_truncate(stat.st_mode & libc::S_IFMT) {
            SFlag::S_IFDIR => {
                nix::sys::stat::mkdirat(to, &*name, Mode::from_bits_truncate(0o700))?;
                let copy = nix::fcntl::openat(to, &*name, flags, Mode::empty())?;
                copy_up(&there, &copy)?;
            }
            SFlag::S_IFLNK => {
                let target = nix::fcntl::readlinkat(&there, "")?;
                nix::unistd::symlinkat(&*target, to, &*name)?;
                own(to, &name, stat)?;
            }
            SFlag::S_IFREG => {
                let read = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let source = nix::fcntl::openat(from, &*name, read, Mode::empty())?;
                let write = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
                let copy = nix::fcntl::openat(to, &*name, write, Mode::from_bits_truncate(0o600))?;
                std::io::copy(&mut std::fs::File::from(source), &mut std::fs::File::from(copy))
                    .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
                own(to, &name, stat)?;
            }
            _ => {
                sys::mknodat(to.as_raw_fd(), &name, stat.st_mode, stat.st_rdev)?;
                own(to, &name, stat)?;
            }
        }
    }
    Ok(())
}
// ANCHOR_END: copy_up

fn own(to: &OwnedFd, name: &std::ffi::CStr, stat: nix::sys::stat::FileStat) -> nix::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    nix::unistd::fchownat(to, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    if stat.st_mode & libc::S_IFMT == libc::S_IFLNK {
        return Ok(());
    }
    let mode = Mode::from_bits_truncate(stat.st_mode & 0o7777);
    nix::sys::stat::fchmodat(to, name, mode, FchmodatFlags::FollowSymlink)
}

fn copy_metadata(from: &OwnedFd, to: &OwnedFd) -> nix::Result<()> {
    let stat = nix::sys::stat::fstat(from)?;
    own(to, c".", stat)
}
