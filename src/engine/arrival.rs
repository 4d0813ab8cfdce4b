//! Reading a layer while it is still being downloaded.
//!
//! ```text
//! registry ──▶ chapter 6: digest, file that grows ──▶ the store's blob
//!                                 └──▶ Arriving ──▶ chapter 3: decompression, digest, files
//! ```
//!
//! So a pull takes as long as the slower of the two, and not both. What is read here is not verified
//! yet. That is sound because chapter 3 gives a layer its name only when the digest of the plain
//! stream is the one that the image's configuration has, and the image gets its name only when every
//! blob is verified.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use corten_registry::{Digest, Event, Store};

/// What is known of the layers of one pull.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    layers: HashMap<Digest, Arrival>,
    /// Counts the events: whoever has read to the end of a file waits for the next one.
    events: u64,
    /// The pull is over: what is not complete will never be.
    over: bool,
}

#[derive(Debug, Clone)]
enum Arrival {
    /// In a file that grows, which can be read from its beginning.
    Growing(Arc<File>),
    /// In the store.
    Complete,
}

impl Arrivals {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that panics holds nothing half-changed here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of what chapter 6 has told.
    pub fn note(&self, event: &Event<'_>) {
        let (digest, arrival) = match event {
            // Where there are too many descriptors, the layer is read when it is complete.
            Event::LayerGrowing { digest, file } => {
                (digest, file.try_clone().ok().map(|file| Arrival::Growing(Arc::new(file))))
            }
            Event::LayerExists { digest, .. } | Event::LayerDone { digest } => {
                (digest, Some(Arrival::Complete))
            }
            Event::LayerBytes { digest, .. } => (digest, None),
            _ => return,
        };
        let mut state = self.lock();
        if let Some(arrival) = arrival {
            state.layers.insert((*digest).clone(), arrival);
        }
        state.events += 1;
        self.changed.notify_all();
    }

    /// Whether the whole layer is in the store.
    pub fn is_complete(&self, digest: &Digest) -> bool {
        matches!(self.lock().layers.get(digest), Some(Arrival::Complete))
    }

    /// The pull has ended, one way or the other.
    pub fn over(&self) {
        self.lock().over = true;
        self.changed.notify_all();
    }
}

/// The bytes of one layer, as they come.
pub(super) struct Arriving<'a> {
    arrivals: &'a Arrivals,
    store: &'a Store,
    digest: Digest,
    file: Option<Arc<File>>,
    offset: u64,
}

impl<'a> Arriving<'a> {
    pub fn new(arrivals: &'a Arrivals, store: &'a Store, digest: Digest) -> Arriving<'a> {
        Arriving { arrivals, store, digest, file: None, offset: 0 }
    }

    /// Waits until there is a file to read from, or more in it than there was at event `seen`.
    /// Gives the number of the last event, and whether the file is complete.
    fn wait(&mut self, seen: Option<u64>) -> io::Result<(u64, bool)> {
        let mut state = self.arrivals.lock();
        loop {
            match (state.layers.get(&self.digest), &self.file) {
                (Some(Arrival::Complete), Some(_)) => return Ok((state.events, true)),
                (Some(Arrival::Complete), None) => {
                    let file = self.store.open_blob(&self.digest).map_err(io::Error::other)?;
                    self.file = Some(Arc::new(file));
                    return Ok((state.events, true));
                }
                (Some(Arrival::Growing(file)), None) => {
                    self.file = Some(Arc::clone(file));
                    return Ok((state.events, false));
                }
                (Some(Arrival::Growing(_)), Some(_)) if seen != Some(state.events) => {
                    return Ok((state.events, false));
                }
                _ if state.over => return Err(io::Error::other("the download was given up")),
                _ => {}
            }
            state = self.arrivals.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Read for Arriving<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut seen = None;
        loop {
            // First what is known, then what is there: what comes in between counts for later.
            let (events, complete) = self.wait(seen)?;
            let Some(file) = &self.file else { continue };
            let n = file.read_at(buffer, self.offset)?;
            self.offset += n as u64;
            if n > 0 || complete || buffer.is_empty() {
                return Ok(n);
            }
            seen = Some(events);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn digest(bytes: &[u8]) -> Digest {
        Digest::sha256(bytes)
    }

    #[test]
    fn a_file_that_grows_is_read_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("images")).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        let (arrivals, digest) = (Arrivals::default(), digest(b"whole"));
        let (begun, has_begun) = std::sync::mpsc::channel();
        let text = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut arriving = Arriving::new(&arrivals, &store, digest.clone());
                let (mut first, mut text) = ([0], String::new());
                arriving.read_exact(&mut first).unwrap();
                begun.send(()).unwrap();
                arriving.read_to_string(&mut text).unwrap();
                format!("{}{text}", char::from(first[0]))
            });
            arrivals.note(&Event::LayerGrowing { digest: &digest, file: &file });
            for (done, byte) in (1..).zip("whole".bytes()) {
                file.write_all(&[byte]).unwrap();
                arrivals.note(&Event::LayerBytes { digest: &digest, done });
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            // Whoever begins later reads the store's, where this is not.
            has_begun.recv().unwrap();
            arrivals.note(&Event::LayerDone { digest: &digest });
            reader.join().unwrap()
        });
        assert_eq!(text, "whole");
    }

    #[test]
    fn a_download_that_is_given_up_is_an_error_and_not_an_end() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("images")).unwrap();
        let file = tempfile::tempfile().unwrap();
        let (arrivals, digest) = (Arrivals::default(), digest(b"whole"));
        arrivals.note(&Event::LayerGrowing { digest: &digest, file: &file });
        arrivals.over();
        let mut text = String::new();
        let mut reader = Arriving::new(&arrivals, &store, digest);
        let error = reader.read_to_string(&mut text).unwrap_err();
        assert!(error.to_string().contains("given up"), "{error}");
    }
}
