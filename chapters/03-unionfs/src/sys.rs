//! The system calls that neither nix nor chapter 1 wraps: all `unsafe` of this crate.
//!
//! They are ioctls of btrfs and of file systems that share blocks, one about the writing of dirty
//! pages, a program that inherits a descriptor, and the call that gives a thread its own umask.
#![allow(unsafe_code)]

use std::ffi::{CString, OsStr, c_int};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;

fn check(result: c_int) -> nix::Result<()> {
    if result < 0 { Err(Errno::last()) } else { Ok(()) }
}

// ANCHOR: ficlone
/// ioctl_ficlone(2): makes the empty file `to` share all blocks of `from`. Whoever writes to one of
/// them later gets blocks of its own.
///
/// # Errors
/// `EOPNOTSUPP` where the file system cannot share blocks, `EXDEV` across file systems, `EINVAL`
/// where one of the two is no regular file.
pub(crate) fn clone_file(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> nix::Result<()> {
    // SAFETY: FICLONE takes a descriptor by value, so the kernel follows no pointer of ours; both
    // descriptors are borrowed and therefore open.
    check(unsafe { libc::ioctl(to.as_raw_fd(), libc::FICLONE, from.as_raw_fd()) })
}
// ANCHOR_END: ficlone

/// `struct btrfs_ioctl_vol_args` (linux/btrfs.h).
#[repr(C)]
struct VolumeArgs {
    fd: i64,
    name: [u8; 4088],
}

const BTRFS: u32 = 0x94;
const SNAP_CREATE: libc::Ioctl = libc::_IOW::<VolumeArgs>(BTRFS, 1);
const SUBVOL_CREATE: libc::Ioctl = libc::_IOW::<VolumeArgs>(BTRFS, 14);
const SNAP_DESTROY: libc::Ioctl = libc::_IOW::<VolumeArgs>(BTRFS, 15);

// ANCHOR: btrfs
fn volume(
    parent: BorrowedFd<'_>,
    request: libc::Ioctl,
    name: &OsStr,
    from: Option<BorrowedFd<'_>>,
) -> nix::Result<()> {
    let name = name.as_bytes();
    let mut args = VolumeArgs { fd: from.map_or(-1, |fd| fd.as_raw_fd().into()), name: [0; 4088] };
    // One byte stays zero: the kernel reads a string.
    if name.len() >= args.name.len() || name.contains(&0) {
        return Err(Errno::ENAMETOOLONG);
    }
    args.name[..name.len()].copy_from_slice(name);
    // SAFETY: all three requests read one VolumeArgs, laid out as in linux/btrfs.h and of the size
    // that is part of the request's number; it lives across the call and its name ends with a NUL.
    check(unsafe { libc::ioctl(parent.as_raw_fd(), request, &raw const args) })
}
// ANCHOR_END: btrfs

/// Makes the empty subvolume `name` in `parent` (ioctl BTRFS_IOC_SUBVOL_CREATE).
///
/// # Errors
/// `ENOTTY` where `parent` is not on btrfs, `EEXIST`, `EPERM`.
pub(crate) fn create_subvolume(parent: BorrowedFd<'_>, name: &OsStr) -> nix::Result<()> {
    volume(parent, SUBVOL_CREATE, name, None)
}

/// Makes `name` in `parent` a writable snapshot of the subvolume `from` (ioctl
/// BTRFS_IOC_SNAP_CREATE).
///
/// # Errors
/// `EINVAL` where `from` is not the root of a subvolume, `EXDEV` across file systems, `EEXIST`.
pub(crate) fn snapshot(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    from: BorrowedFd<'_>,
) -> nix::Result<()> {
    volume(parent, SNAP_CREATE, name, Some(from))
}

/// Removes the subvolume `name` in `parent` with all that is in it, at once; the blocks are freed
/// later (ioctl BTRFS_IOC_SNAP_DESTROY).
///
/// # Errors
/// `ENOTTY` where `parent` is not on btrfs, `EINVAL` where `name` is no subvolume, `ENOTEMPTY` where
/// it holds another one.
pub(crate) fn destroy_subvolume(parent: BorrowedFd<'_>, name: &OsStr) -> nix::Result<()> {
    volume(parent, SNAP_DESTROY, name, None)
}

/// sync_file_range(2) with SYNC_FILE_RANGE_WRITE: lets the disk begin with the dirty pages of a file
/// and waits for nothing. It makes nothing durable.
///
/// # Errors
/// `ESPIPE` for what is no file, `EIO`.
pub(crate) fn begin_writing(fd: BorrowedFd<'_>) -> nix::Result<()> {
    // SAFETY: takes integers only, and `fd` is borrowed, so it is open. Length 0 is all of the file.
    check(unsafe { libc::sync_file_range(fd.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) })
}

// ANCHOR: inherits
/// Lets the program that is started have the descriptor `fd`, under its number, and beside its standard
/// streams no other: also none that we were started with. No signal is blocked or ignored in it. `fd`
/// loses close-on-exec in the child alone, so no other child of ours inherits it.
pub(crate) fn inherits_only(command: &mut Command, fd: BorrowedFd<'_>) {
    // A number, which the caller may have closed by then: fcntl(2) answers EBADF.
    let fd = fd.as_raw_fd();
    // SAFETY: the closure runs in the child between fork and execve, where only async-signal-safe calls
    // are allowed. It makes system calls and allocates nothing; close_range(2) only marks what execve
    // closes.
    unsafe {
        command.pre_exec(move || {
            corten_namespaces::sys::reset_signals();
            let cloexec = libc::CLOSE_RANGE_CLOEXEC as c_int;
            check(libc::close_range(3, libc::c_uint::MAX, cloexec))?;
            check(libc::fcntl(fd, libc::F_SETFD, 0)).map_err(std::io::Error::from)
        })
    };
}
// ANCHOR_END: inherits

// ANCHOR: own_umask
/// Whether something is mounted on `name` in `parent`, in the mount namespace of `parent` (statx(2),
/// `STATX_ATTR_MOUNT_ROOT`, Linux 5.8). unlinkat(2) refuses such a name only in the namespace of the
/// caller; in another one it takes the mount away.
///
/// # Errors
/// `ENOENT`.
pub(crate) fn is_mount_point(parent: BorrowedFd<'_>, name: &OsStr) -> nix::Result<bool> {
    let name = CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: statx is plain integers, for which all zeroes is a valid value.
    let mut stat: libc::statx = unsafe { std::mem::zeroed() };
    let flags = libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: the name is NUL-terminated, and `stat` lives across the call.
    let done = unsafe {
        libc::statx(parent.as_raw_fd(), name.as_ptr(), flags, libc::STATX_TYPE, &raw mut stat)
    };
    check(done)?;
    Ok(stat.stx_attributes & libc::STATX_ATTR_MOUNT_ROOT as u64 != 0)
}

/// Gives this thread an umask of its own, 0, so that open(2) and mkdir(2) make what they are asked
/// for. The threads of a program share one umask until one of them leaves with `CLONE_FS`.
///
/// # Errors
/// Where a seccomp filter forbids unshare(2).
pub(crate) fn own_umask() -> nix::Result<()> {
    // SAFETY: takes an integer only. It changes the calling thread's umask, current directory and
    // root to private copies; no memory.
    check(unsafe { libc::unshare(libc::CLONE_FS) })?;
    nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    Ok(())
}
// ANCHOR_END: own_umask

/// `BTRFS_SUPER_MAGIC`, as nix compares it.
pub(crate) const BTRFS_MAGIC: nix::sys::statfs::FsType = nix::sys::statfs::BTRFS_SUPER_MAGIC;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structure_has_the_size_that_its_requests_name() {
        assert_eq!(size_of::<VolumeArgs>(), 4096);
    }
}
