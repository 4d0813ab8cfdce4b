//! A container in the foreground: its terminal is ours, and what signals us, signals it.
//!
//! One poll(2) loop over descriptors: the signals that came (signalfd(2)), the container's end (its
//! pidfd), our input and the master of its terminal. No thread and no signal handler, so nothing
//! happens between two lines of code that the reader does not see.

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::error::{Context, Result};
use crate::spawn::{Container, Exit};
use crate::sys;
use crate::terminal::{self, RawMode};

/// Signals that are passed on, as `docker run --sig-proxy` does: all that somebody sends on
/// purpose. SIGCHLD and SIGPIPE are about this process, SIGSEGV and its like are its own faults,
/// and job control belongs to the shell that started it.
const FORWARDED: [Signal; 10] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGTERM,
    Signal::SIGCONT,
    Signal::SIGWINCH,
    Signal::SIGIO,
];

/// Catches signals from before the container starts until after it has ended.
#[derive(Debug)]
pub struct Relay {
    signals: SignalFd,
    before: SigSet,
}

impl Relay {
    /// Blocks the signals and takes them by descriptor from now on. Made before
    /// [`Plan::spawn`](crate::Plan::spawn), so that none can end this process in between. SIGCHLD
    /// gets its default action, for good: where a caller left it ignored, the kernel would collect
    /// the container and its status were lost.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn new() -> Result<Relay> {
        sys::reset_signal(libc::SIGCHLD);
        let mask: SigSet = FORWARDED.into_iter().collect();
        let mut before = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&mask), Some(&mut before))
            .during("block signals")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&mask, flags).during("open a signalfd")?;
        Ok(Relay { signals, before })
    }

    // ANCHOR: relay
    /// Serves the container until it ends. Our terminal, if its terminal hangs on it, is raw
    /// meanwhile.
    ///
    /// # Errors
    /// Where our own terminal or poll(2) fails; the container is killed then.
    pub fn run(&self, container: &mut Container) -> Result<Exit> {
        let stdin = std::io::stdin();
        let raw = match container.terminal() {
            Some(_) if stdin.is_terminal() => Some(RawMode::enter(stdin.as_fd())?),
            _ => None,
        };
        let mut pipe = Keyboard { open: container.terminal().is_some(), pending: VecDeque::new() };
        // With the other end open here, too, the terminal never hangs up before the container ends,
        // even while nothing inside has it open; poll would report that without pause.
        let _held = match container.terminal() {
            Some(master) => {
                set_non_blocking(master)?;
                let slave = sys::tty::open_peer(master.as_raw_fd());
                Some(slave.during("open the other end of the terminal")?)
            }
            None => None,
        };
        loop {
            let ready = wait(self.signals.as_fd(), container, stdin.as_fd(), &pipe)?;
            if ready.signal {
                self.forward(container, stdin.as_fd())?;
            }
            if let Some(master) = container.terminal() {
                if ready.output {
                    // Once, and the signals and keys have their turn, however much it writes.
                    show(master)?;
                }
                pipe.advance(stdin.as_fd(), master, ready.input);
            }
            if ready.ended {
                // What it wrote last is still in the terminal's buffer, which is smaller than what
                // is read here; others that have the terminal may go on writing.
                if let Some(master) = container.terminal() {
                    for _ in 0..LAST_READS {
                        if !show(master)? {
                            break;
                        }
                    }
                }
                drop(raw);
                return container.wait();
            }
        }
    }
    // ANCHOR_END: relay

    fn forward(&self, container: &Container, stdin: BorrowedFd<'_>) -> Result<()> {
        while let Some(info) = self.signals.read_signal().during("read a signal")? {
            // The number is one that we blocked by name.
            let signal = info.ssi_signo as i32;
            if let Some(master) = container.terminal().filter(|_| signal == libc::SIGWINCH) {
                let (rows, columns) = terminal::size(stdin);
                // Without a window any more there is nothing to resize.
                let _ = sys::tty::set_size(master.as_raw_fd(), rows, columns);
                continue;
            }
            // A key of the terminal has reached the container already, unless it has a session of
            // its own.
            let from_keyboard = info.ssi_code == libc::SI_KERNEL;
            if container.has_session() || !from_keyboard {
                match container.signal(signal) {
                    Err(error) if error.errno() == Some(Errno::ESRCH) => {}
                    other => other?,
                }
            }
        }
        Ok(())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // The mask was valid before.
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.before), None);
    }
}

struct Ready {
    signal: bool,
    ended: bool,
    input: bool,
    output: bool,
}

fn wait(
    signals: BorrowedFd<'_>,
    container: &Container,
    stdin: BorrowedFd<'_>,
    pipe: &Keyboard,
) -> Result<Ready> {
    let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
    let mut fds = vec![readable(signals), readable(container.pidfd())];
    if let Some(master) = container.terminal() {
        let mut events = PollFlags::POLLIN;
        if !pipe.pending.is_empty() {
            events |= PollFlags::POLLOUT;
        }
        fds.push(PollFd::new(master, events));
        // While the container does not read, we do not either: the kernel's buffers push back.
        if pipe.open && pipe.pending.is_empty() {
            fds.push(readable(stdin));
        }
    }
    loop {
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => {}
            other => {
                other.during("poll")?;
                break;
            }
        }
    }
    let any = |n: usize| fds.get(n).is_some_and(|fd| fd.any().unwrap_or(true));
    Ok(Ready { signal: any(0), ended: any(1), output: any(2), input: any(3) })
}

/// What was typed and is not yet taken.
struct Keyboard {
    open: bool,
    pending: VecDeque<u8>,
}

impl Keyboard {
    fn advance(&mut self, stdin: BorrowedFd<'_>, master: BorrowedFd<'_>, ready: bool) {
        if ready {
            let mut buffer = [0; 4096];
            match nix::unistd::read(stdin, &mut buffer) {
                Ok(0) => {
                    self.open = false;
                    // End-of-file as a key, Ctrl-D: a terminal has no other.
                    self.pending.push_back(4);
                }
                Ok(length) => self.pending.extend(&buffer[..length]),
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                Err(_) => self.open = false,
            }
        }
        while !self.pending.is_empty() {
            match nix::unistd::write(master, self.pending.make_contiguous()) {
                Ok(length) => drop(self.pending.drain(..length)),
                // Full: poll says when there is room. Anything else: the container is going.
                Err(_) => return,
            }
        }
    }
}

/// How often the terminal is read after the end. A read gives up to 4 KiB, and the kernel holds at
/// most 64 KiB for the reader.
const LAST_READS: usize = 32;

/// Copies some of what the container wrote to our standard output; false where there is no more for
/// now.
fn show(master: BorrowedFd<'_>) -> Result<bool> {
    let mut buffer = [0; 16 * 1024];
    match nix::unistd::read(master, &mut buffer) {
        // EIO: the last process has closed its end (pty(7)).
        Ok(0) | Err(Errno::EAGAIN | Errno::EIO) => Ok(false),
        Err(Errno::EINTR) => Ok(true),
        Ok(length) => {
            use std::io::Write;
            let mut out = std::io::stdout().lock();
            let written = buffer.get(..length).map_or(Ok(()), |text| out.write_all(text));
            written.and_then(|()| out.flush()).during("write to standard output").map(|()| true)
        }
        Err(errno) => Err(errno).during("read the container's terminal"),
    }
}

fn set_non_blocking(fd: BorrowedFd<'_>) -> Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = fcntl(fd, FcntlArg::F_GETFL).during("read descriptor flags")?;
    let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
    fcntl(fd, FcntlArg::F_SETFL(flags)).during("set descriptor flags").map(drop)
}
