//! In front of a container elsewhere: its streams, our terminal, our signals.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

use corten_daemon::backend::{Attach, Attached, Backend, Exit, Feed};
use corten_daemon::frame::Apart;
use corten_supervisor::front::{Front, Left, Told};
use serde_json::json;
use tokio::sync::oneshot::Receiver;

use crate::cli::making::Streams;
use crate::cli::{Error, Result};

/// How often the terminal of a program that is just being started is tried to be sized.
const TRIES: u32 = 10;
/// How long after.
const PAUSE: Duration = Duration::from_millis(20);

/// Who is told of signals and sizes.
struct Daemon<'a> {
    engine: &'a dyn Backend,
    container: &'a str,
    exec: Option<&'a str>,
}

impl Told for Daemon<'_> {
    fn signal(&mut self, number: i32) {
        // It may have ended this very moment.
        let _ = self.engine.kill(self.container, Some(&number.to_string()));
    }

    fn resize(&mut self, rows: u16, columns: u16, _: Option<u32>) {
        if (rows, columns) == (0, 0) {
            return;
        }
        for _ in 0..TRIES {
            let done = match self.exec {
                Some(exec) => self.engine.resize_exec(exec, rows, columns),
                None => self.engine.resize(self.container, rows, columns),
            };
            // A program that is not there yet has no terminal. One of the wrong size is better than none.
            if done.is_ok() {
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// Attaches to a container; gives its streams.
pub(in crate::cli) fn attach(
    engine: &dyn Backend,
    container: &str,
    to: Streams,
    keys: Option<&str>,
) -> Result<OwnedFd> {
    let Streams { stdin, stdout, stderr } = to;
    let wanted = Attach {
        logs: false,
        stream: true,
        stdin,
        stdout,
        stderr,
        detach_keys: keys.map(str::to_owned),
    };
    let Attached { streams, .. } = engine.attach(container, &wanted)?;
    let gone = || Error::refused(format!("container {container} is gone"));
    let streams = streams.ok_or_else(gone)?;
    streams.blocking_recv().map_err(|_| gone())
}

/// Stands before a container, or an exec in it, until the streams end; then its end is asked for. `None`
/// where the person has left it.
pub(in crate::cli) fn accompany(
    engine: &dyn Backend,
    container: &str,
    front: &Front,
    streams: OwnedFd,
    end: Receiver<Exit>,
) -> Result<Option<u8>> {
    let mut told = Daemon { engine, container, exec: None };
    if front.run(&mut told, streams)? == Left::Detached {
        return Ok(None);
    }
    let lost = |_| Error::refused("the daemon has gone, and with it how the container ended");
    let exit = end.blocking_recv().map_err(lost)?;
    if let Some(why) = exit.error {
        super::super::warn(&why);
    }
    Ok(Some(status(exit.status)))
}

/// The same for an exec, whose end is looked up.
pub(in crate::cli) fn exec_status(
    engine: &dyn Backend,
    container: &str,
    exec: &str,
    front: &Front,
    streams: OwnedFd,
) -> Result<u8> {
    let mut told = Daemon { engine, container, exec: Some(exec) };
    if front.run(&mut told, streams)? == Left::Detached {
        return Ok(0);
    }
    // The end of a program may be known a moment after that of its output.
    for _ in 0..100 {
        let own = engine.inspect_exec(exec)?;
        if own["Running"] != json!(true) {
            return Ok(status(own["ExitCode"].as_i64().unwrap_or_default()));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(0)
}

/// An exit status as processes have it.
fn status(status: i64) -> u8 {
    u8::try_from(status & 0xff).unwrap_or(u8::MAX)
}

/// Prints pieces of output as they come; frames say of which stream each is.
pub(in crate::cli) fn follow(tty: bool, mut feed: Feed) -> Result<()> {
    let mut frames = Apart::default();
    let mut print = |stream: u8, bytes: &[u8]| match stream {
        2 => io::stderr().write_all(bytes),
        _ => io::stdout().write_all(bytes),
    };
    while let Some(piece) = feed.blocking_recv() {
        let piece = piece.map_err(|why| Error::refused(format!("the log broke off: {why}")))?;
        let printed = match tty {
            true => print(1, &piece),
            false => frames.take(&piece, &mut print),
        };
        if printed.is_err() {
            // Whoever reads us has seen enough.
            return Ok(());
        }
    }
    let _ = io::stdout().flush();
    Ok(())
}
