//! The user's terminal in raw mode, and back again on every way out.
//!
//! In raw mode the keys go to the container as they are pressed: the *container's* terminal echoes
//! them and turns Ctrl-C into a signal. A program that ends without undoing that leaves the user's
//! shell without echo. So the old settings are put back by [`Drop`], and by a panic hook, since the
//! release build aborts on panic and drops nothing.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::error::{Context, Result};
use crate::sys;

// ANCHOR: raw
/// A terminal in raw mode; dropped, it is as before.
#[derive(Debug)]
pub struct RawMode {
    terminal: Arc<OwnedFd>,
    before: Termios,
}

impl RawMode {
    /// Turns the terminal `fd` raw (termios(3), cfmakeraw).
    ///
    /// # Errors
    /// `ENOTTY` where it is no terminal.
    pub fn enter(fd: BorrowedFd<'_>) -> Result<RawMode> {
        let before = tcgetattr(fd).during("read the terminal's settings")?;
        let terminal = Arc::new(fd.try_clone_to_owned().during("duplicate the terminal")?);
        let (hook_terminal, hook_before) = (Arc::downgrade(&terminal), Mutex::new(before.clone()));
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if let (Some(terminal), Ok(before)) = (hook_terminal.upgrade(), hook_before.lock()) {
                restore(terminal.as_fd(), &before);
            }
            previous(info);
        }));
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(fd, SetArg::TCSANOW, &raw).during("set the terminal to raw mode")?;
        Ok(RawMode { terminal, before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore(self.terminal.as_fd(), &self.before);
    }
}
// ANCHOR_END: raw

fn restore(terminal: BorrowedFd<'_>, settings: &Termios) {
    // The terminal may have hung up; there is nothing to restore then.
    let _ = tcsetattr(terminal, SetArg::TCSANOW, settings);
}

/// The window's size as rows and columns; 24 by 80 where `fd` is no terminal or does not know.
pub fn size(fd: BorrowedFd<'_>) -> (u16, u16) {
    match sys::tty::size(fd.as_raw_fd()) {
        Ok((rows, columns)) if rows > 0 && columns > 0 => (rows, columns),
        _ => (24, 80),
    }
}
