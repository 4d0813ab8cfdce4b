//! A person in front of a container: keys go in, output comes out, and what signals us, signals it.

use std::io::{IsTerminal, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use corten_namespaces::terminal::{self, RawMode};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{MsgFlags, Shutdown, send, shutdown};

use crate::client::Client;
use crate::detach::{Scanned, Scanner};
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

/// Who is told of signals and of the terminal's size: a supervisor, or a daemon that has one.
pub trait Told {
    /// A signal for the container's first process. It may have ended this very moment.
    fn signal(&mut self, number: i32);

    /// Our terminal's size is now this, and the container's shall be; or that of its exec.
    fn resize(&mut self, rows: u16, columns: u16, exec: Option<u32>);
}

impl Told for Client {
    fn signal(&mut self, number: i32) {
        let _ = self.perform(Operation::Signal { number, all: false });
    }

    fn resize(&mut self, rows: u16, columns: u16, exec: Option<u32>) {
        // A terminal of the wrong size is better than none.
        let _ = self.perform(Operation::Resize { rows, columns, exec });
    }
}

/// How the person's part has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The streams have ended.
    Ended,
    /// She has typed the keys by which she leaves.
    Detached,
}

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
    /// Whether signals are passed on; else they are for this process, as if nobody stood here.
    proxy: bool,
    /// Keys that are looked for on this side of the streams.
    keys: Vec<u8>,
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
        Ok(Front { signals, before, terminal, stdin, exec: None, proxy: true, keys: Vec::new() })
    }

    /// The streams are those of an exec.
    pub fn of_exec(mut self, exec: u32) -> Front {
        self.exec = Some(exec);
        // Docker does not pass signals on to execs.
        self.proxy = false;
        self
    }

    /// Whether signals are passed on to the container, as they are otherwise.
    #[must_use]
    pub fn passing_signals(mut self, pass: bool) -> Front {
        self.proxy = pass;
        self
    }

    /// Looks for the keys by which one leaves here, where nobody does at the streams' other end.
    #[must_use]
    pub fn leaving_by(mut self, keys: Vec<u8>) -> Front {
        self.keys = keys;
        self
    }

    // ANCHOR: run
    /// Serves until `streams` end: the container has ended, or the person has left it. Our own
    /// terminal, where the container's hangs on it, is raw meanwhile.
    ///
    /// # Errors
    /// Where our own streams fail.
    pub fn run(&self, told: &mut dyn Told, streams: OwnedFd) -> Result<Left> {
        let stdin = std::io::stdin();
        let hangs_on = self.terminal && self.stdin && stdin.is_terminal();
        let enter = || hangs_on.then(|| RawMode::enter(stdin.as_fd())).transpose();
        let mut raw = enter()?;
        if self.terminal && std::io::stdout().is_terminal() {
            self.resize(told);
        }
        let mut decoder = Decoder::new(self.terminal);
        let keys = Scanner::new(self.keys.clone());
        let mut input = Input { open: self.stdin, held: Vec::new(), told: !self.stdin, keys };
        loop {
            let ready = self.wait(&streams, &input)?;
            if ready.signal {
                for own in self.forward(told)? {
                    drop(raw.take());
                    self.obey(own)?;
                    raw = enter()?;
                }
            }
            if ready.output && !decoder.pass_on(&streams)? {
                break;
            }
            let leaves = ready.input && input.read(stdin.as_fd())?;
            input.pass_on(&streams);
            if leaves {
                drop(raw);
                return Ok(Left::Detached);
            }
        }
        drop(raw);
        Ok(Left::Ended)
    }
    // ANCHOR_END: run

    fn wait(&self, streams: &OwnedFd, input: &Input) -> Result<Ready> {
        let stdin = std::io::stdin();
        let mut of_streams = PollFlags::POLLIN;
        of_streams.set(PollFlags::POLLOUT, !input.held.is_empty());
        let signals = PollFd::new(self.signals.as_fd(), PollFlags::POLLIN);
        let mut fds = vec![signals, PollFd::new(streams.as_fd(), of_streams)];
        // What is held goes first: a container that does not read makes the person wait.
        if input.open && input.held.is_empty() {
            fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => return Ok(Ready::default()),
            other => other.during("wait for the container")?,
        };
        let ready = |place: usize| {
            let events = fds.get(place).and_then(PollFd::revents).unwrap_or(PollFlags::empty());
            !(events - PollFlags::POLLOUT).is_empty()
        };
        Ok(Ready { signal: ready(0), output: ready(1), input: ready(2) })
    }

    /// Passes signals on; gives those that are for this process.
    fn forward(&self, told: &mut dyn Told) -> Result<Vec<Signal>> {
        let mut own = Vec::new();
        while let Some(info) = self.signals.read_signal().during("read a signal")? {
            let number = info.ssi_signo.cast_signed();
            if number == libc::SIGWINCH {
                if self.terminal {
                    self.resize(told);
                }
            } else if self.proxy {
                told.signal(number);
            } else {
                own.extend(Signal::try_from(number));
            }
        }
        Ok(own)
    }

    /// Takes a signal as if it had never been blocked. Most end this process; the container goes on.
    fn obey(&self, signal: Signal) -> Result<()> {
        let mut blocked = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.before), Some(&mut blocked))
            .during("unblock signals")?;
        nix::sys::signal::raise(signal).during("raise a signal")?;
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&blocked), None).during("block signals")
    }

    fn resize(&self, told: &mut dyn Told) {
        let (rows, columns) = terminal::size(std::io::stdout().as_fd());
        told.resize(rows, columns, self.exec);
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

/// What has come.
#[derive(Debug, Default)]
struct Ready {
    signal: bool,
    output: bool,
    input: bool,
}

/// What a person types.
#[derive(Debug)]
struct Input {
    /// Whether more may come.
    open: bool,
    /// What the container has not taken yet. Waiting for it to do so, we would not take its output,
    /// and it would wait for us.
    held: Vec<u8>,
    /// Whether the container knows that no more will come.
    told: bool,
    /// The keys by which she leaves.
    keys: Scanner,
}

impl Input {
    /// Takes in what was typed; tells whether she leaves.
    fn read(&mut self, stdin: BorrowedFd<'_>) -> Result<bool> {
        let mut buffer = [0; 4096];
        match nix::unistd::read(stdin, &mut buffer) {
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            // A terminal that has hung up.
            Err(Errno::EIO) | Ok(0) => self.open = false,
            Ok(length) => match self.keys.scan(buffer.get(..length).unwrap_or_default()) {
                Scanned::Input(typed) => self.held.extend(typed),
                Scanned::Detach(typed) => {
                    self.held.extend(typed);
                    return Ok(true);
                }
            },
            Err(errno) => return Err(errno).during("read standard input"),
        }
        Ok(false)
    }

    /// Passes on as much as the container takes, and the end.
    fn pass_on(&mut self, streams: &OwnedFd) {
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        while !self.held.is_empty() {
            match send(streams.as_raw_fd(), &self.held, flags) {
                Ok(sent) => drop(self.held.drain(..sent)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                // The container has ended, or reads no more.
                Err(_) => {
                    self.held.clear();
                    self.open = false;
                }
            }
        }
        if !self.open && !self.told {
            let _ = shutdown(streams.as_raw_fd(), Shutdown::Write);
            self.told = true;
        }
    }
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
