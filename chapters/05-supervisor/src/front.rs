//! A person in front of a container: keys go in, output comes out, and what signals us, signals it.

use std::io::{IsTerminal, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use corten_namespaces::terminal::{self, RawMode};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::client::Client;
use crate::error::{Context, Result};
use crate::protocol::Operation;

/// Signals that are passed on: all that somebody sends on purpose.
const FORWARDED: [Signal; 9] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGTERM,
    Signal::SIGCONT,
    Signal::SIGWINCH,
];

/// Passes streams and signals on until the container's streams end.
#[derive(Debug)]
pub struct Front {
    signals: SignalFd,
    before: SigSet,
    /// Whether the container has a terminal.
    terminal: bool,
    /// Whether keys are passed on.
    stdin: bool,
    /// The exec whose streams these are; the container's without.
    exec: Option<u32>,
    /// Whether signals are passed on.
    proxy: bool,
}

impl Front {
    /// From now on signals wait for [`Front::run`].
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn new(terminal: bool, stdin: bool) -> Result<Front> {
        let mask: SigSet = FORWARDED.into_iter().collect();
        let mut before = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&mask), Some(&mut before))
            .during("block signals")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&mask, flags).during("open a signalfd")?;
        Ok(Front { signals, before, terminal, stdin, exec: None, proxy: true })
    }

    /// The streams are those of an exec.
    pub fn of_exec(mut self, exec: u32) -> Front {
        self.exec = Some(exec);
        // Docker does not pass signals on to execs.
        self.proxy = false;
        self
    }

    // ANCHOR: run
    /// Serves until `streams` end: the container has ended, or the person has left it. Our own
    /// terminal, where the container's hangs on it, is raw meanwhile.
    ///
    /// # Errors
    /// Where our own streams fail.
    pub fn run(&self, client: &mut Client, streams: OwnedFd) -> Result<()> {
        let stdin = std::io::stdin();
        let hangs_on = self.terminal && self.stdin && stdin.is_terminal();
        let raw = hangs_on.then(|| RawMode::enter(stdin.as_fd())).transpose()?;
        if self.terminal && std::io::stdout().is_terminal() {
            self.resize(client);
        }
        let mut decoder = Decoder::new(self.terminal);
        let mut keys = self.stdin;
        loop {
            let (signal, output, input) = self.wait(&streams, keys)?;
            if signal {
                self.forward(client)?;
            }
            if output && !decoder.pass_on(&streams)? {
                break;
            }
            if input && !pass_on_input(stdin.as_fd(), &streams)? {
                keys = false;
                let _ = nix::sys::socket::shutdown(
                    streams.as_raw_fd(),
                    nix::sys::socket::Shutdown::Write,
                );
            }
        }
        drop(raw);
        Ok(())
    }
    // ANCHOR_END: run

    fn wait(&self, streams: &OwnedFd, keys: bool) -> Result<(bool, bool, bool)> {
        let stdin = std::io::stdin();
        let wanted = PollFlags::POLLIN;
        let mut fds =
            vec![PollFd::new(self.signals.as_fd(), wanted), PollFd::new(streams.as_fd(), wanted)];
        if keys {
            fds.push(PollFd::new(stdin.as_fd(), wanted));
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => return Ok((false, false, false)),
            other => other.during("wait for the container")?,
        };
        let ready = |fd: Option<&PollFd<'_>>| {
            fd.and_then(PollFd::revents).is_some_and(|events| !events.is_empty())
        };
        Ok((ready(fds.first()), ready(fds.get(1)), ready(fds.get(2))))
    }

    fn forward(&self, client: &mut Client) -> Result<()> {
        while let Some(info) = self.signals.read_signal().during("read a signal")? {
            let number = info.ssi_signo.cast_signed();
            if number == libc::SIGWINCH {
                if self.terminal {
                    self.resize(client);
                }
            } else if self.proxy {
                // It may have ended this very moment.
                let _ = client.perform(Operation::Signal { number, all: false });
            }
        }
        Ok(())
    }

    fn resize(&self, client: &mut Client) {
        let (rows, columns) = terminal::size(std::io::stdout().as_fd());
        // A terminal of the wrong size is better than none.
        let _ = client.perform(Operation::Resize { rows, columns, exec: self.exec });
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.before), None);
    }
}

/// Takes Docker's frames apart; without frames everything is standard output.
#[derive(Debug)]
struct Decoder {
    raw: bool,
    /// What is read of the next header.
    header: Vec<u8>,
    /// The stream of the frame, and what is left of it.
    frame: (u8, usize),
    buffer: Vec<u8>,
}

impl Decoder {
    fn new(raw: bool) -> Decoder {
        Decoder { raw, header: Vec::with_capacity(8), frame: (0, 0), buffer: vec![0; 64 << 10] }
    }

    /// Passes on one piece; tells whether there may be more.
    fn pass_on(&mut self, streams: &OwnedFd) -> Result<bool> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = match nix::unistd::read(streams, &mut buffer) {
            Err(Errno::EINTR) => return Ok(true),
            Err(Errno::ECONNRESET) | Ok(0) => return Ok(false),
            other => other.during("read the container's output")?,
        };
        let mut rest = buffer.get(..read).unwrap_or_default();
        while !rest.is_empty() {
            rest = self.take(rest)?;
        }
        self.buffer = buffer;
        Ok(true)
    }

    fn take<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8]> {
        if self.raw {
            write(1, bytes)?;
            return Ok(&[]);
        }
        let (stream, left) = self.frame;
        if left > 0 {
            let (now, rest) = bytes.split_at(left.min(bytes.len()));
            write(stream, now)?;
            self.frame.1 -= now.len();
            return Ok(rest);
        }
        let (now, rest) = bytes.split_at((8 - self.header.len()).min(bytes.len()));
        self.header.extend_from_slice(now);
        if let [stream, _, _, _, a, b, c, d] = self.header[..] {
            self.frame = (stream, u32::from_be_bytes([a, b, c, d]) as usize);
            self.header.clear();
        }
        Ok(rest)
    }
}

fn write(stream: u8, bytes: &[u8]) -> Result<()> {
    let written = if stream == 2 {
        std::io::stderr().write_all(bytes)
    } else {
        let mut out = std::io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush())
    };
    written.during("write the container's output")
}

/// Passes on what was typed; tells whether there may be more.
fn pass_on_input(stdin: BorrowedFd<'_>, streams: &OwnedFd) -> Result<bool> {
    let mut buffer = [0; 4096];
    let read = match nix::unistd::read(stdin, &mut buffer) {
        Err(Errno::EINTR | Errno::EAGAIN) => return Ok(true),
        // A terminal that has hung up.
        Err(Errno::EIO) | Ok(0) => return Ok(false),
        other => other.during("read standard input")?,
    };
    let mut rest = buffer.get(..read).unwrap_or_default();
    while !rest.is_empty() {
        let flags = nix::sys::socket::MsgFlags::MSG_NOSIGNAL;
        match nix::sys::socket::send(streams.as_raw_fd(), rest, flags) {
            Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            // The container has ended, or reads no more.
            Err(_) => return Ok(false),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_apart_wherever_they_are_cut() {
        let mut decoder = Decoder::new(false);
        let frames = [&[1, 0, 0, 0, 0, 0, 0, 3][..], b"abc", &[2, 0, 0, 0, 0, 0, 0, 0]].concat();
        for byte in frames {
            let one = [byte];
            let mut rest = &one[..];
            while !rest.is_empty() {
                rest = decoder.take(rest).unwrap();
            }
        }
        assert_eq!(decoder.frame, (2, 0));
        assert!(decoder.header.is_empty());
    }
}
