//! Waiting for what is elsewhere, so that a build can be ended meanwhile.
//!
//! A server may be silent for ever, and a thread that waits for its answer hears of nothing else. So
//! another thread talks to it, and what it receives comes through a pipe, which poll(2) can wait for
//! together with [`Cancel`]. When nobody reads the pipe any more that thread ends with its next byte.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::{disposed, http_date, name_of};
use crate::error::{At, Error, Result};
use crate::run::Cancel;

/// What a response says of the file.
#[derive(Debug)]
pub(super) struct Head {
    /// Its name, where the address or the server names it.
    pub name: Option<String>,
    /// When it was changed last.
    pub modified: Option<SystemTime>,
}

/// A file on its way.
pub(super) struct Fetch {
    stream: Until<File>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Fetch {
    /// Asks for `url`, and waits for the head of the response.
    pub(super) fn begin(url: &str, cancel: &Cancel) -> Result<(Head, Fetch)> {
        let (stream, to) = nix::unistd::pipe2(OFlag::O_CLOEXEC).at("make", "a pipe")?;
        let (tell, head) = channel();
        let address = url.to_owned();
        let thread = std::thread::Builder::new()
            .name("fetch".into())
            .spawn(move || transfer(&address, &tell, File::from(to)))
            .at("start", "a thread")?;
        let stream = File::from(stream);
        wait(&[stream.as_fd()], cancel).map_err(|_| Error::Cancelled)?;
        let mut fetch = Fetch { stream: Until::new(stream, cancel), thread: Some(thread) };
        // It is told before the first byte, and before the end.
        match head.recv() {
            Ok(head) => Ok((head, fetch)),
            Err(_) => {
                Err(fetch.end().err().unwrap_or_else(|| Error::invalid(url, "has no answer")))
            }
        }
    }

    /// How the transfer has ended.
    fn end(&mut self) -> Result<()> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(ended)) => ended,
            Some(Err(_)) => Err(Error::refused("the transfer has failed")),
            None => Ok(()),
        }
    }
}

impl Read for Fetch {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.stream.read(buffer)?;
        if length == 0 && !buffer.is_empty() {
            self.end().map_err(io::Error::other)?;
        }
        Ok(length)
    }
}

/// Reads from a file, a pipe or a socket until somebody ends the build.
pub struct Until<R> {
    from: R,
    cancel: Cancel,
}

impl<R: Read + AsFd> Until<R> {
    /// Reads from `from`.
    pub fn new(from: R, cancel: &Cancel) -> Until<R> {
        Until { from, cancel: cancel.clone() }
    }
}

impl<R: Read + AsFd> Read for Until<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        wait(&[self.from.as_fd()], &self.cancel)?;
        self.from.read(buffer)
    }
}

// ANCHOR: wait
/// Waits until one of `fds` can be read or is at its end; tells which.
fn wait(fds: &[BorrowedFd<'_>], cancel: &Cancel) -> io::Result<Vec<bool>> {
    let ended = cancel.as_fd();
    let wanted = fds.iter().chain([&ended]).map(|fd| PollFd::new(*fd, PollFlags::POLLIN));
    let mut all: Vec<PollFd<'_>> = wanted.collect();
    loop {
        match poll(&mut all, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            other => other?,
        };
        let mut ready: Vec<bool> = all.iter().map(|fd| fd.any().unwrap_or(true)).collect();
        if ready.pop() == Some(true) {
            return Err(io::Error::other("the build was interrupted"));
        }
        return Ok(ready);
    }
}
// ANCHOR_END: wait

/// The other thread: asks, tells the head, and writes the body.
fn transfer(url: &str, tell: &Sender<Head>, mut to: File) -> Result<()> {
    let failed = |why: String| Error::invalid(url, why);
    let mut response =
        agent().get(url).call().map_err(|error| failed(format!("failed to GET {url}: {error}")))?;
    let status = response.status();
    if !status.is_success() {
        return Err(failed(format!("failed to GET {url} with status {status}")));
    }
    let header = |name: &str| {
        let value = response.headers().get(name).and_then(|value| value.to_str().ok());
        value.map(str::to_owned)
    };
    let name = name_of(url).or_else(|| header("content-disposition").as_deref().and_then(disposed));
    let modified = header("last-modified").as_deref().and_then(http_date);
    if tell.send(Head { name, modified }).is_err() {
        return Ok(());
    }
    let mut body = response.body_mut().with_config().limit(u64::MAX).reader();
    io::copy(&mut body, &mut to).at("receive", url)?;
    Ok(())
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(Duration::from_secs(30)))
        .timeout_recv_response(Some(Duration::from_secs(300)))
        .build()
        .into()
}

/// Runs a program to its end, as [`Command::output`] does; where the build is ended, the program is, too.
pub(super) fn output(command: &mut Command, cancel: &Cancel) -> io::Result<Output> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A group of its own: what it has started ends with it.
    let mut child = command.process_group(0).spawn()?;
    let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else {
        return child.wait_with_output();
    };
    let of = |fd: OwnedFd| (File::from(fd), Vec::new(), false);
    let mut streams = [of(out.into()), of(err.into())];
    while streams.iter().any(|(_, _, ended)| !ended) {
        let open: Vec<usize> = (0..2).filter(|at| !streams[*at].2).collect();
        let fds: Vec<BorrowedFd<'_>> = open.iter().map(|at| streams[*at].0.as_fd()).collect();
        let ready = match wait(&fds, cancel) {
            Ok(ready) => ready,
            Err(error) => {
                // Not politely: it has inherited which signals this process blocks.
                let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
                child.wait()?;
                return Err(error);
            }
        };
        for (at, _) in open.iter().zip(ready).filter(|(_, ready)| *ready) {
            let (stream, bytes, ended) = &mut streams[*at];
            let mut buffer = [0; 4096];
            let length = stream.read(&mut buffer)?;
            bytes.extend_from_slice(&buffer[..length]);
            *ended = length == 0;
        }
    }
    let [(_, stdout, _), (_, stderr, _)] = streams;
    Ok(Output { status: child.wait()?, stdout, stderr })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    /// Ends a build a moment after this; what waits must hear of it.
    fn soon() -> Cancel {
        let cancel = Cancel::new().unwrap();
        let told = cancel.clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            told.cancel();
        });
        cancel
    }

    #[test]
    fn a_silent_server_does_not_keep_a_build_from_its_end() {
        for says in ["", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("http://{}/file", listener.local_addr().unwrap());
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                stream.write_all(says.as_bytes()).unwrap();
                stream
            });
            let dir = tempfile::tempdir().unwrap();
            let ended = super::super::download(&url, dir.path(), None, &soon());
            assert!(ended.unwrap_err().is_cancelled(), "{says:?}");
            drop(server.join().unwrap());
        }
    }

    #[test]
    fn a_program_is_ended_with_the_build() {
        let begin = std::time::Instant::now();
        assert!(output(Command::new("sleep").arg("1000"), &soon()).is_err());
        assert!(begin.elapsed() < Duration::from_secs(100));
        let cancel = Cancel::new().unwrap();
        let both =
            output(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]), &cancel);
        let both = both.unwrap();
        assert_eq!((both.stdout, both.stderr), (b"out\n".to_vec(), b"err\n".to_vec()));
        assert_eq!(both.status.code(), Some(3));
    }

    #[test]
    fn what_is_cut_off_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/file", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").unwrap();
        });
        let dir = tempfile::tempdir().unwrap();
        let ended = super::super::download(&url, dir.path(), None, &Cancel::new().unwrap());
        assert!(ended.unwrap_err().to_string().contains("receive"));
    }
}
