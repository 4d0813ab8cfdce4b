//! A pseudoterminal of the test's, in the place of the user's terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::termios::{Termios, tcgetattr};

pub struct Pty {
    master: File,
    slave: OwnedFd,
    seen: String,
}

impl Pty {
    pub fn new(rows: u16, columns: u16) -> Pty {
        let ends = nix::pty::openpty(None, None).unwrap();
        use nix::fcntl::{FcntlArg, FdFlag, fcntl};
        for fd in [&ends.master, &ends.slave] {
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
        }
        let pty = Pty { master: ends.master.into(), slave: ends.slave, seen: String::new() };
        pty.resize(rows, columns);
        pty
    }

    pub fn stdio(&self) -> Stdio {
        self.slave.try_clone().unwrap().into()
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        corten_namespaces::sys::tty::set_size(self.master.as_raw_fd(), rows, columns).unwrap();
    }

    pub fn settings(&self) -> Termios {
        tcgetattr(self.slave.as_fd()).unwrap()
    }

    pub fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Reads until `text` has been shown.
    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        let begun = Instant::now();
        while !self.seen.contains(text) {
            assert!(begun.elapsed() < Duration::from_secs(20), "no {text:?} in {:?}", self.seen);
            self.advance();
        }
    }

    /// All that was shown so far.
    pub fn seen(&mut self) -> &str {
        while self.advance() {}
        &self.seen
    }

    fn advance(&mut self) -> bool {
        let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut fds, 50u8).unwrap() > 0;
        if ready {
            let mut buffer = [0; 4096];
            let length = self.master.read(&mut buffer).unwrap_or(0);
            self.seen += &String::from_utf8_lossy(&buffer[..length]);
            return length > 0;
        }
        false
    }
}
