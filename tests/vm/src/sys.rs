//! The one piece of `unsafe` of this crate: what is set up between fork and exec of QEMU.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};

/// Makes the child of `command` inherit the descriptors `keep`, and die with the thread that
/// spawns it (`PR_SET_PDEATHSIG`, prctl(2)), however that thread ends.
///
/// The caller keeps the descriptors open until the command is spawned.
pub fn tie_to_caller(command: &mut Command, keep: Vec<RawFd>) {
    let before_exec = move || {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
        for &fd in &keep {
            // SAFETY: fork copied the descriptor table, and the caller holds `fd` open until after
            // the spawn, so it is open here; the borrow ends with this statement.
            let fd = unsafe { BorrowedFd::borrow_raw(fd) };
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure calls only prctl, sigprocmask and fcntl, which are
    // async-signal-safe, and allocates nothing: `keep` was moved in before the fork.
    unsafe { command.pre_exec(before_exec) };
}

nix::ioctl_read_bad!(get_window_size, nix::libc::TIOCGWINSZ, nix::libc::winsize);

/// Rows and columns of a terminal; `None` where it does not know them.
pub fn window_size(terminal: &impl AsRawFd) -> Option<(u16, u16)> {
    let mut size = nix::libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one winsize, which lives across the call.
    unsafe { get_window_size(terminal.as_raw_fd(), &raw mut size) }.ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}
