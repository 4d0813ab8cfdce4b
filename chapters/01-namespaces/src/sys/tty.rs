//! ioctls of terminals (ioctl_tty(2)).

use std::ffi::c_int;
use std::os::fd::{OwnedFd, RawFd};

use super::{check, owned};

/// Makes the terminal `fd` the controlling one of the caller's new session.
///
/// # Errors
/// `EPERM` where the caller leads no session or has a terminal.
pub fn make_controlling(fd: RawFd) -> nix::Result<()> {
    // SAFETY: TIOCSCTTY takes an integer.
    check(unsafe { libc::ioctl(fd, libc::TIOCSCTTY, 0) }.into()).map(drop)
}

// ANCHOR: open_peer
/// Opens the slave end of the pseudoterminal `master` without a path (TIOCGPTPEER), so that no
/// /dev/pts of anybody is trusted.
///
/// # Errors
/// `EIO` where the slave is locked.
pub fn open_peer(master: RawFd) -> nix::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes the open flags as an integer and returns a new descriptor.
    owned(unsafe { libc::ioctl(master, libc::TIOCGPTPEER, flags) }.into())
}
// ANCHOR_END: open_peer

/// Unlocks the slave of `master` (what unlockpt(3) does).
///
/// # Errors
/// `ENOTTY` where it is no pseudoterminal.
pub fn unlock(master: RawFd) -> nix::Result<()> {
    let off: c_int = 0;
    // SAFETY: TIOCSPTLCK reads one int.
    check(unsafe { libc::ioctl(master, libc::TIOCSPTLCK, &raw const off) }.into()).map(drop)
}

/// The window's size: rows, columns.
///
/// # Errors
/// `ENOTTY` where `fd` is no terminal.
pub fn size(fd: RawFd) -> nix::Result<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ fills one winsize.
    check(unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, &raw mut size) }.into())?;
    Ok((size.ws_row, size.ws_col))
}

/// Sets the window's size; the kernel sends SIGWINCH to the foreground group.
///
/// # Errors
/// `ENOTTY` where `fd` is no terminal.
pub fn set_size(fd: RawFd, rows: u16, columns: u16) -> nix::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one winsize.
    check(unsafe { libc::ioctl(fd, libc::TIOCSWINSZ, &raw const size) }.into()).map(drop)
}
