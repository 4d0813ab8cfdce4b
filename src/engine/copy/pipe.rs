//! Both ends of a copy at once, with a pipe between them: an archive is never whole in memory.

use std::io::{self, PipeReader, PipeWriter, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::engine::error::{At, Error};

/// The end that is read. Where the other end has failed, it ends in an error: what was written until
/// then must not look whole.
#[derive(Debug)]
pub struct Incoming<'a> {
    pipe: PipeReader,
    is_whole: &'a AtomicBool,
}

impl Read for Incoming<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.pipe.read(buffer)?;
        if length == 0 && !buffer.is_empty() && !self.is_whole.load(Ordering::Acquire) {
            return Err(io::Error::other("the archive was cut off"));
        }
        Ok(length)
    }
}

// ANCHOR: piped
/// Runs `produce` and `consume` at once. Of two errors, the one that caused the other is given.
pub(crate) fn piped<T, E: HangUp + Send>(
    produce: impl FnOnce(PipeWriter) -> Result<(), E> + Send,
    consume: impl FnOnce(Incoming<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let (pipe, writer) = io::pipe().at("make", Path::new("a pipe"))?;
    let is_whole = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("pack".into());
        let work = || {
            let end = writer.try_clone().at("copy", Path::new("a descriptor"))?;
            produce(writer)?;
            is_whole.store(true, Ordering::Release);
            drop(end);
            Ok(())
        };
        let thread = thread.spawn_scoped(scope, work).at("start", Path::new("a thread"))?;
        let consumed = consume(Incoming { pipe, is_whole: &is_whole });
        let produced: Result<(), E> =
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match (produced, consumed) {
            (Err(error), Err(cause)) if error.is_hang_up() => Err(cause),
            (Err(error), _) => Err(error),
            (Ok(()), consumed) => consumed,
        }
    })
}
// ANCHOR_END: piped

/// An error that may be of a pipe whose other end was closed.
pub(crate) trait HangUp: From<Error> {
    /// Whether it is.
    fn is_hang_up(&self) -> bool;
}

impl HangUp for Error {
    fn is_hang_up(&self) -> bool {
        let pipe = Some(nix::errno::Errno::EPIPE);
        match self {
            Error::Layers(error) => error.errno() == pipe,
            Error::Kernel(error) => error.errno() == pipe,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_was_cut_off_does_not_look_whole() {
        let mut got = Vec::new();
        let whole = piped(
            |mut to| to.write_all(b"whole").at("write", Path::new("it")),
            |mut from| from.read_to_end(&mut got).at("read", Path::new("it")),
        );
        assert_eq!((whole.unwrap(), got.as_slice()), (5, &b"whole"[..]));
        let mut seen = None;
        let error = piped(
            |mut to| {
                to.write_all(b"half").at("write", Path::new("it"))?;
                Err(Error::refused("no more"))
            },
            |mut from| {
                seen = Some(from.read_to_end(&mut Vec::new()).is_err());
                Ok(())
            },
        );
        assert_eq!((error.unwrap_err().to_string().as_str(), seen), ("no more", Some(true)));
    }

    #[test]
    fn the_cause_is_told_and_not_that_the_other_end_hung_up() {
        let error = piped(
            |mut to| loop {
                to.write_all(&[0; 4096]).at("write", Path::new("it"))?;
            },
            |_| Err::<(), _>(Error::refused("full")),
        );
        assert_eq!(error.unwrap_err().to_string(), "full");
    }
}
