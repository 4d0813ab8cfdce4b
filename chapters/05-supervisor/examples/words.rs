//! Exercise 5.4: a supervisor that loses a program's last words, and one that does not.
//!
//! `cargo run -p corten-supervisor --example words -- PROGRAM ARGUMENTS…`
#![deny(unsafe_code)]

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use corten_namespaces::sys;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

// ANCHOR: broken
/// Runs `command`, gives what it writes to `take`, and returns how it ended.
///
/// # Errors
/// Where it cannot be started, or its output not be read.
pub fn broken(command: &mut Command, take: &mut dyn FnMut(&[u8])) -> io::Result<ExitStatus> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut output = child.stdout.take().ok_or(ErrorKind::BrokenPipe)?;
    let pidfd = sys::pidfd_open(child.id().cast_signed())?;
    let mut buffer = [0; 4096];
    loop {
        let ready = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = [ready(pidfd.as_fd()), ready(output.as_fd())];
        poll(&mut fds, PollTimeout::NONE)?;
        if fds[0].any() == Some(true) {
            return child.wait();
        }
        let length = output.read(&mut buffer)?;
        take(&buffer[..length]);
    }
}
// ANCHOR_END: broken

// ANCHOR: mended
/// Runs `command`, gives what it writes to `take`, and returns how it ended.
///
/// # Errors
/// Where it cannot be started, or its output not be read.
pub fn mended(command: &mut Command, take: &mut dyn FnMut(&[u8])) -> io::Result<ExitStatus> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut output = child.stdout.take().ok_or(ErrorKind::BrokenPipe)?;
    let pidfd = sys::pidfd_open(child.id().cast_signed())?;
    fcntl(&output, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    let capacity = fcntl(&output, FcntlArg::F_GETPIPE_SZ)?;
    let (mut buffer, mut open) = ([0; 4096], true);
    loop {
        let ready = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = vec![ready(pidfd.as_fd())];
        // A pipe at its end is ready for ever.
        fds.extend(open.then(|| ready(output.as_fd())));
        poll(&mut fds, PollTimeout::NONE)?;
        let ended = fds[0].any() == Some(true);
        // What it has written is in the pipe by now; so is nothing more than a pipe holds. Another
        // process may go on writing, so neither the end of the file nor silence is waited for.
        let mut left = usize::try_from(capacity).map_err(io::Error::other)?;
        while open && left > 0 {
            match output.read(&mut buffer) {
                Ok(0) => open = false,
                Ok(length) => {
                    take(&buffer[..length]);
                    left = left.saturating_sub(length);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if ended {
            return child.wait();
        }
    }
}
// ANCHOR_END: mended

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some((program, arguments)) = words.split_first() else {
        eprintln!("usage: words PROGRAM ARGUMENTS…");
        return ExitCode::FAILURE;
    };
    let mut print = |bytes: &[u8]| drop(io::stdout().write_all(bytes));
    match mended(Command::new(program).args(arguments), &mut print) {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("words: {error}");
            ExitCode::FAILURE
        }
    }
}
