//! The steps that build the tree of a container: everything below its root, and the root itself.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::sys::stat::{Mode, SFlag};

use super::{Child, Detail, Failure, Outcome, Report, with};
use crate::mount::{Mount, Source, Target, attribute};
use crate::root::RESOLVE;
use crate::sys;

impl Child<'_> {
    // ANCHOR: attach_root
    pub(super) fn attach_root(&mut self, at: &CStr, mount: Option<&OwnedFd>) -> Outcome {
        let target = open_directory(at)?;
        let tree = match mount {
            Some(mount) => mount.try_clone().map_err(|_| Errno::EMFILE)?,
            None => sys::mount::clone_tree(libc::AT_FDCWD, at, true)?,
        };
        sys::mount::move_mount(tree.as_fd(), target.as_raw_fd())?;
        self.root = Some(tree);
        Ok(())
    }
    // ANCHOR_END: attach_root

    // ANCHOR: open
    /// Opens `path`, relative to the container's root, inside of which it stays.
    pub(super) fn open(&self, path: &CStr, flags: OFlag) -> nix::Result<OwnedFd> {
        let flags = (flags | OFlag::O_CLOEXEC).bits() as u64;
        let root = self.root()?.as_raw_fd();
        // A rename elsewhere in the tree may race with `..`: openat2(2) says to try again.
        for _ in 0..128 {
            match sys::openat2(root, path, flags, 0, RESOLVE) {
                Err(Errno::EAGAIN) => {}
                other => return other,
            }
        }
        Err(Errno::EAGAIN)
    }
    // ANCHOR_END: open

    // ANCHOR: place
    /// A handle on the place where something is to be mounted; what is missing of it is made.
    pub(super) fn place(&self, target: &Target, kind: Kind) -> nix::Result<OwnedFd> {
        let mut here = self.open(c".", OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        let mut left = target.prefixes().len();
        for (path, name) in target.prefixes() {
            left -= 1;
            let kind = if left == 0 { kind } else { Kind::Directory };
            here = match self.open(path, OFlag::O_PATH) {
                Err(Errno::ENOENT) => {
                    match kind {
                        Kind::Directory => {
                            nix::sys::stat::mkdirat(&here, &**name, Mode::from_bits_truncate(0o755))
                        }
                        Kind::File => {
                            let regular = SFlag::S_IFREG.bits() | 0o644;
                            sys::mknodat(here.as_raw_fd(), name, regular, 0)
                        }
                    }?;
                    self.open(path, OFlag::O_PATH)?
                }
                other => other?,
            };
        }
        Ok(here)
    }
    // ANCHOR_END: place

    // ANCHOR: mount
    pub(super) fn mount(&self, mount: &Mount) -> Outcome {
        match &mount.source {
            Source::FileSystem { kind, options } => {
                let target = self.place(&mount.target, Kind::Directory)?;
                let tree = self.file_system(kind, options, mount.attributes)?;
                Ok(sys::mount::move_mount(tree.as_fd(), target.as_raw_fd())?)
            }
            Source::Bind { source, recursive } => {
                let tree = sys::mount::clone_tree(libc::AT_FDCWD, source, *recursive)
                    .map_err(with(Detail::BindSource))?;
                if mount.attributes != 0 {
                    let fd = tree.as_raw_fd();
                    sys::mount::setattr(fd, c"", *recursive, mount.attributes, 0, 0)?;
                }
                let target = self.place(&mount.target, Kind::of(&tree)?)?;
                Ok(sys::mount::move_mount(tree.as_fd(), target.as_raw_fd())?)
            }
        }
    }
    // ANCHOR_END: mount

    // ANCHOR: file_system
    /// A detached mount of a new file system.
    pub(super) fn file_system(
        &self,
        kind: &CStr,
        options: &[(CString, Option<CString>)],
        attributes: u64,
    ) -> nix::Result<OwnedFd> {
        let context = sys::mount::fsopen(kind)?;
        let configured = || {
            // What mount(8) shows before `on`.
            sys::mount::set_string(context.as_fd(), c"source", kind)?;
            for (key, value) in options {
                match value {
                    Some(value) => sys::mount::set_string(context.as_fd(), key, value)?,
                    None => sys::mount::set_flag(context.as_fd(), key)?,
                }
            }
            sys::mount::create(context.as_fd())?;
            sys::mount::fsmount(context.as_fd(), attributes)
        };
        configured().inspect_err(|_| {
            let mut log = [0; Report::LOG];
            // Where there is nothing to read, the errno has to do.
            let _ = nix::unistd::read(&context, &mut log);
            self.log.set(log);
        })
    }
    // ANCHOR_END: file_system

    // ANCHOR: device
    pub(super) fn device(&self, target: &Target, host: &CStr, number: libc::dev_t) -> Outcome {
        let Some((path, name)) = target.prefixes().last() else { return Ok(()) };
        let dev = self.open(c"dev", OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        match sys::mknodat(dev.as_raw_fd(), name, SFlag::S_IFCHR.bits() | 0o666, number) {
            Ok(()) => Ok(()),
            // The /dev is the caller's own, with this device in it, as it should be.
            Err(Errno::EEXIST) => self.known_device(path, number).map(drop),
            // In a user namespace nobody may make a device, but the host's may be shown.
            Err(Errno::EPERM) => {
                let tree = sys::mount::clone_tree(libc::AT_FDCWD, host, false)
                    .map_err(with(Detail::BindSource))?;
                let target = self.place(target, Kind::File)?;
                Ok(sys::mount::move_mount(tree.as_fd(), target.as_raw_fd())?)
            }
            Err(errno) => Err(errno.into()),
        }
    }
    // ANCHOR_END: device

    /// Opens a device that was there before. What bears its name in a /dev of the caller's may be a
    /// link to anything, and would be trusted as the device: CVE-2025-31133.
    fn known_device(&self, path: &CStr, number: libc::dev_t) -> Result<OwnedFd, Failure> {
        let device = self.open(path, OFlag::O_PATH | OFlag::O_NOFOLLOW)?;
        let stat = nix::sys::stat::fstat(&device)?;
        let is_device = stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFCHR.bits();
        if is_device && stat.st_rdev == number {
            Ok(device)
        } else {
            Err(with(Detail::FalseDevice)(Errno::EEXIST))
        }
    }

    pub(super) fn link(&self, target: &Target, to: &CStr) -> Outcome {
        let Some((_, name)) = target.prefixes().last() else { return Ok(()) };
        let dev = self.open(c"dev", OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        match nix::unistd::symlinkat(to, &dev, &**name) {
            Ok(()) | Err(Errno::EEXIST) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    // ANCHOR: mask
    pub(super) fn mask(&self, target: &Target) -> Outcome {
        let Some(place) = self.existing(target)? else { return Ok(()) };
        let cover = match Kind::of(&place)? {
            Kind::Directory => self.file_system(c"tmpfs", &[], attribute::RDONLY)?,
            Kind::File => {
                let null = self.known_device(c"dev/null", libc::makedev(1, 3))?;
                sys::mount::clone_tree(null.as_raw_fd(), c"", false)?
            }
        };
        Ok(sys::mount::move_mount(cover.as_fd(), place.as_raw_fd())?)
    }
    // ANCHOR_END: mask

    pub(super) fn write_protect(&self, target: &Target) -> Outcome {
        let Some(place) = self.existing(target)? else { return Ok(()) };
        let tree = sys::mount::clone_tree(place.as_raw_fd(), c"", true)?;
        sys::mount::setattr(tree.as_raw_fd(), c"", true, attribute::RDONLY, 0, 0)?;
        Ok(sys::mount::move_mount(tree.as_fd(), place.as_raw_fd())?)
    }

    /// `None` where this kernel does not have the path: nothing to hide then.
    pub(super) fn existing(&self, target: &Target) -> nix::Result<Option<OwnedFd>> {
        let Some((path, _)) = target.prefixes().last() else { return Ok(None) };
        match self.open(path, OFlag::O_PATH) {
            Err(Errno::ENOENT) => Ok(None),
            other => other.map(Some),
        }
    }

    // ANCHOR: pivot
    pub(super) fn pivot_root(&self) -> Outcome {
        nix::unistd::fchdir(self.root()?)?;
        sys::mount::pivot_root_here()?;
        // The old root lies on the new one now, and the current directory is in it.
        sys::mount::umount_detach(c".")?;
        Ok(nix::unistd::chdir(c"/")?)
    }
    // ANCHOR_END: pivot
}

/// Whether something is mounted on a directory or on a file.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Directory,
    File,
}

impl Kind {
    pub(super) fn of(fd: &OwnedFd) -> nix::Result<Kind> {
        let mode = nix::sys::stat::fstat(fd)?.st_mode;
        let directory = mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits();
        Ok(if directory { Kind::Directory } else { Kind::File })
    }
}

pub(super) fn open_directory(path: &CStr) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    nix::fcntl::openat(AT_FDCWD, path, flags, Mode::empty())
}
