//! This process's standard input and terminal, connected with a job in the guest.

use std::io::{IsTerminal, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::error::{Context, Result};
use crate::sys;

/// Rows and columns of the terminal, where there is one.
pub(crate) fn size() -> Option<(u16, u16)> {
    if std::io::stdout().is_terminal() { sys::window_size(&std::io::stdout()) } else { None }
}

/// The terminal in raw mode, so that every key reaches the guest. Restored when this value goes.
pub(crate) struct Raw {
    before: Termios,
}

impl Raw {
    fn enter() -> Result<Option<Raw>> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(&stdin).on("read the state of", "the terminal")?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(&stdin, SetArg::TCSANOW, &raw).on("set the state of", "the terminal")?;
        Ok(Some(Raw { before }))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // Nothing can be done where the terminal itself is gone.
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, &self.before);
    }
}

/// From now on SIGHUP, SIGINT, SIGQUIT and SIGTERM restore the terminal's present state and end this
/// process with status 128 + signal; QEMU dies with it. To be called before any thread is started,
/// so that all threads block these signals.
///
/// # Errors
/// Where there is no terminal on standard input.
pub fn restore_on_signals() -> Result<()> {
    let before = tcgetattr(std::io::stdin()).on("read the state of", "stdin")?;
    let signals: SigSet =
        [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM].into_iter().collect();
    signals.thread_block().on("block", "signals")?;
    thread::spawn(move || {
        let signal = signals.wait();
        drop(Raw { before });
        std::process::exit(signal.map_or(125, |signal| 128 + signal as i32));
    });
    Ok(())
}

/// Copies this process's standard input into `stdin`, to its end, or connects the terminal with
/// `terminal`. The threads end with QEMU, but for the one that waits for input: it ends with this
/// process.
pub(crate) fn connect(
    stdin: Option<UnixStream>,
    terminal: Option<UnixStream>,
) -> Result<Option<Raw>> {
    if let Some(to) = stdin {
        thread::spawn(move || {
            copy(std::io::stdin(), &to);
            // The end of file for the guest; it fails where QEMU is gone. The other direction stays
            // open until QEMU ends: on a hang-up it would forget what the guest has not read yet.
            let _ = to.shutdown(Shutdown::Write);
            let _ = (&to).read(&mut [0]);
        });
    }
    let Some(socket) = terminal else { return Ok(None) };
    let raw = Raw::enter()?;
    let from = socket.try_clone().on("duplicate", "a socket")?;
    thread::spawn(move || copy(from, std::io::stdout()));
    thread::spawn(move || copy(std::io::stdin(), &socket));
    Ok(raw)
}

/// Copies without waiting for a full block, so that what is typed is seen.
fn copy(mut from: impl Read, mut to: impl Write) {
    let mut block = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut block) {
        if to.write_all(&block[..length]).and_then(|()| to.flush()).is_err() {
            return;
        }
    }
}
