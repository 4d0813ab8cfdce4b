//! The stages between a compressed stream and the reader of its entries, each in a thread of its own:
//! reading (and hashing what is read), decompressing, hashing the plain stream. The reader of the
//! entries, which writes the files, is the last one.
//!
//! Between two stages is a queue of few buffers, which go round: whoever is too fast waits, and a
//! layer of any size takes the same small memory.

use std::io::{self, ErrorKind, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::Scope;

use sha2::{Digest as _, Sha256};

use crate::archive::Source;
use crate::compression::Compression;
use crate::digest::{BlobDigest, DiffId};
use crate::error::{Error, Result};

// ANCHOR: sizes
/// Large enough that handing it on costs nothing beside what is done with it, small enough to stay in
/// a processor's second-level cache.
const BUFFER: usize = 256 * 1024;
/// Buffers that may wait between two stages: enough for one stage to go on while the other writes a
/// small file, few enough to be no memory worth mentioning.
const QUEUE: usize = 8;
// ANCHOR_END: sizes

/// A piece of a stream that goes to several stages, or why there is none.
type Piece = io::Result<Arc<Vec<u8>>>;

/// The front end of the pipeline: the plain stream, piece by piece.
pub(crate) struct Piped {
    pieces: Receiver<Piece>,
    current: Option<Arc<Vec<u8>>>,
    /// Where buffers go that nobody needs any more.
    used: Sender<Vec<u8>>,
    hash: Receiver<DiffId>,
}

/// What the first stage finds out.
pub(crate) type StreamDigest = Receiver<BlobDigest>;

// ANCHOR: start
/// Starts the stages in threads of `scope`. They end when the stream does, when one of them fails, or
/// when the [`Piped`] is dropped.
pub(crate) fn start<'scope>(
    scope: &'scope Scope<'scope, '_>,
    stream: impl Read + Send + 'scope,
    compression: Compression,
    hash_stream: bool,
) -> Result<(Piped, StreamDigest)> {
    let (to_inflate, compressed) = sync_channel(QUEUE);
    let (taken, back) = channel();
    let (to_parse, pieces) = sync_channel(QUEUE);
    let (to_hash, hashing) = sync_channel(QUEUE);
    let (used, free) = channel();
    let (tell_digest, stream_digest) = channel();
    let (tell_hash, hash) = channel();
    let reused = used.clone();
    stage(scope, "read", move || {
        let queue = (to_inflate, back);
        read(stream, hash_stream, &queue, &tell_digest);
    })?;
    stage(scope, "inflate", move || {
        let outputs = Outputs { to_parse, to_hash, free };
        inflate(Chunks::new(compressed, taken), compression, &outputs);
    })?;
    stage(scope, "hash", move || {
        let _ = tell_hash.send(DiffId::from_bytes(sha256(hashing, &reused)));
    })?;
    Ok((Piped { pieces, current: None, used, hash }, stream_digest))
}
// ANCHOR_END: start

fn stage<'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() + Send + 'scope,
) -> Result<()> {
    let thread = std::thread::Builder::new().name(format!("layer-{name}"));
    thread.spawn_scoped(scope, work).map(drop).map_err(Error::from)
}

/// Reads a buffer full, or what there is before the end.
fn fill(stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The first stage. That a piece could not be handed on means that nobody wants it any more.
fn read(
    mut stream: impl Read,
    hash: bool,
    (to, back): &(SyncSender<io::Result<Vec<u8>>>, Receiver<Vec<u8>>),
    digest: &Sender<BlobDigest>,
) {
    let mut sha = Sha256::new();
    loop {
        let mut buffer: Vec<u8> = back.try_recv().unwrap_or_default();
        buffer.resize(BUFFER, 0);
        let read = fill(&mut stream, &mut buffer);
        let length = *read.as_ref().unwrap_or(&0);
        buffer.truncate(length);
        if hash {
            sha.update(&buffer);
        }
        let last = length < BUFFER;
        if length > 0 && to.send(Ok(buffer)).is_err() {
            return;
        }
        match read {
            Err(error) => {
                let _ = to.send(Err(error));
                return;
            }
            Ok(_) if last => break,
            Ok(_) => {}
        }
    }
    if hash {
        let _ = digest.send(BlobDigest::from_bytes(sha.finalize().into()));
    }
}

struct Outputs {
    to_parse: SyncSender<Piece>,
    to_hash: SyncSender<Arc<Vec<u8>>>,
    free: Receiver<Vec<u8>>,
}

/// The second stage.
fn inflate(compressed: Chunks, compression: Compression, outputs: &Outputs) {
    let mut plain = match compression.decode(compressed) {
        Ok(plain) => plain,
        Err(error) => {
            let _ = outputs.to_parse.send(Err(error));
            return;
        }
    };
    loop {
        let mut buffer = outputs.free.try_recv().unwrap_or_default();
        buffer.resize(BUFFER, 0);
        match fill(&mut plain, &mut buffer) {
            Err(error) => {
                let _ = outputs.to_parse.send(Err(error));
                return;
            }
            Ok(0) => return,
            Ok(length) => {
                buffer.truncate(length);
                let piece = Arc::new(buffer);
                let hashed = outputs.to_hash.send(Arc::clone(&piece));
                if hashed.is_err() || outputs.to_parse.send(Ok(piece)).is_err() {
                    return;
                }
            }
        }
    }
}

/// The third stage.
fn sha256(pieces: Receiver<Arc<Vec<u8>>>, used: &Sender<Vec<u8>>) -> [u8; 32] {
    let mut sha = Sha256::new();
    for piece in pieces {
        sha.update(&*piece);
        recycle(piece, used);
    }
    sha.finalize().into()
}

/// Gives a buffer back, where nobody else has it any more.
fn recycle(piece: Arc<Vec<u8>>, used: &Sender<Vec<u8>>) {
    if let Some(buffer) = Arc::into_inner(piece) {
        let _ = used.send(buffer);
    }
}

impl Source for Piped {
    fn next(&mut self) -> Result<&[u8]> {
        if let Some(piece) = self.current.take() {
            recycle(piece, &self.used);
        }
        match self.pieces.recv() {
            Ok(Ok(piece)) => self.current = Some(piece),
            Ok(Err(error)) => return Err(error.into()),
            // The second stage has hung up: the end.
            Err(_) => {}
        }
        Ok(self.piece())
    }

    fn piece(&self) -> &[u8] {
        self.current.as_ref().map_or(&[], |piece| piece)
    }

    fn diff_id(self) -> Result<DiffId> {
        let gone = |_| Error::from(io::Error::other("the thread that hashes is gone"));
        self.hash.recv().map_err(gone)
    }
}

/// What comes out of a queue, as a reader.
struct Chunks {
    queue: Receiver<io::Result<Vec<u8>>>,
    current: Vec<u8>,
    at: usize,
    /// Where read buffers go.
    taken: Sender<Vec<u8>>,
}

impl Chunks {
    fn new(queue: Receiver<io::Result<Vec<u8>>>, taken: Sender<Vec<u8>>) -> Chunks {
        Chunks { queue, current: Vec::new(), at: 0, taken }
    }
}

impl io::BufRead for Chunks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.current.len()
            && let Ok(next) = self.queue.recv()
        {
            let read = std::mem::replace(&mut self.current, next?);
            self.at = 0;
            let _ = self.taken.send(read);
        }
        Ok(&self.current[self.at..])
    }

    fn consume(&mut self, length: usize) {
        self.at += length;
    }
}

impl Read for Chunks {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let available = io::BufRead::fill_buf(self)?;
        let length = available.len().min(into.len());
        into[..length].copy_from_slice(&available[..length]);
        self.at += length;
        Ok(length)
    }
}

/// A stream that is read and hashed where it is asked for, without threads.
pub(crate) struct Direct<R> {
    stream: R,
    buffer: Vec<u8>,
    length: usize,
    hash: Sha256,
}

impl<R: Read> Direct<R> {
    /// The plain stream `stream`.
    pub(crate) fn new(stream: R) -> Direct<R> {
        Direct { stream, buffer: vec![0; BUFFER], length: 0, hash: Sha256::new() }
    }
}

impl<R: Read> Source for Direct<R> {
    fn next(&mut self) -> Result<&[u8]> {
        self.length = fill(&mut self.stream, &mut self.buffer)?;
        self.hash.update(&self.buffer[..self.length]);
        Ok(self.piece())
    }

    fn piece(&self) -> &[u8] {
        &self.buffer[..self.length]
    }

    fn diff_id(self) -> Result<DiffId> {
        Ok(DiffId::from_bytes(self.hash.finalize().into()))
    }
}
