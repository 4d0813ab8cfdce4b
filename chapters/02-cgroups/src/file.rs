//! Reading and writing the kernel's small files with the fewest calls: open, one read or write,
//! close.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

/// Reads `name` in the directory `dir`.
pub(crate) fn read_at(dir: BorrowedFd<'_>, name: &str) -> nix::Result<String> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let fd = nix::fcntl::openat(dir, name, flags, Mode::empty())?;
    read_all(std::os::fd::AsFd::as_fd(&fd))
}

/// Reads the file `path`.
pub(crate) fn read(path: &Path) -> nix::Result<String> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let fd = nix::fcntl::open(path, flags, Mode::empty())?;
    read_all(std::os::fd::AsFd::as_fd(&fd))
}

/// Reads from the current position to the end.
pub(crate) fn read_all(fd: BorrowedFd<'_>) -> nix::Result<String> {
    read_bytes(fd).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// As [`read_all`], as bytes.
pub(crate) fn read_bytes(fd: BorrowedFd<'_>) -> nix::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match nix::unistd::read(fd, &mut buffer) {
            Err(Errno::EINTR) => {}
            other => {
                let length = other?;
                bytes.extend_from_slice(&buffer[..length]);
                // A short read of a kernel file, or of a pipe with one message, is its end.
                if length < buffer.len() {
                    return Ok(bytes);
                }
            }
        }
    }
}

/// Writes `bytes` to `name` in the directory `dir`, in one write.
pub(crate) fn write_at(dir: BorrowedFd<'_>, name: &str, bytes: &[u8]) -> nix::Result<()> {
    let fd = nix::fcntl::openat(dir, name, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    write(std::os::fd::AsFd::as_fd(&fd), bytes)
}

/// One write; the kernel takes a value whole or not at all.
pub(crate) fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> nix::Result<()> {
    loop {
        match nix::unistd::write(fd, bytes) {
            Err(Errno::EINTR) => {}
            other => return other.map(drop),
        }
    }
}

/// The directories in `dir`; none where it is gone.
pub(crate) fn directories(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Waits until the kernel says that a file such as `cgroup.events` has changed (POLLPRI), at most
/// `timeout`; `false` where nothing happened.
pub(crate) fn changed(fd: BorrowedFd<'_>, timeout: std::time::Duration) -> nix::Result<bool> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    debug_assert!(fd.as_raw_fd() >= 0);
    let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(fd, PollFlags::POLLPRI)], timeout) {
        Err(Errno::EINTR) => Ok(true),
        other => Ok(other? > 0),
    }
}
