//! Connections that are taken over: the streams of a container or an exec.
//!
//! Docker's clients ask for `Upgrade: tcp`. After the 101 the connection is no HTTP any more: what the
//! client writes is input, what it reads is output, in frames where there is no terminal. Its end of
//! writing is the input's end and not the output's.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

use crate::backend::Feed;
use crate::connection::Connection;
use crate::frame::Wrapping;
use crate::target::Client;
use crate::version::Version;

/// Output without frames.
pub const RAW: &str = "application/vnd.docker.raw-stream";
/// Output in frames.
pub const FRAMED: &str = "application/vnd.docker.multiplexed-stream";

/// How large a piece is copied at once.
const PIECE: usize = 16 << 10;

/// How long a client may take to read the headers before it is sent data. The Python SDK reads headers
/// by a buffer which it then drops: what came together with them is lost.
const HEADERS: Duration = Duration::from_millis(50);

/// How often a client that writes no more is looked after.
const LOOK: Duration = Duration::from_secs(1);

/// How long a client may take to close a connection after the end of output.
const LINGER: Duration = Duration::from_secs(10);

/// How long the end of a program may come after that of its output: it may have closed that.
const KNOWN: Duration = Duration::from_secs(2);

/// The content type of output.
pub fn kind(tty: bool, version: Version) -> &'static str {
    if !tty && version >= Version(1, 42) { FRAMED } else { RAW }
}

/// Whether the client asks for the connection.
pub fn is_wanted(headers: &HeaderMap) -> bool {
    headers.contains_key(UPGRADE)
}

// ANCHOR: upgrade
/// The answer 101; the connection is `take`'s when it was sent.
pub fn upgrade<F>(
    request: Request,
    kind: &'static str,
    take: impl FnOnce(Hijacked) -> F + Send + 'static,
) -> Response
where
    F: Future<Output = ()> + Send + 'static,
{
    let upgrading = hyper::upgrade::on(request);
    tokio::spawn(async move {
        match upgrading.await {
            Ok(upgraded) => match upgraded.downcast::<TokioIo<Client>>() {
                Ok(parts) => {
                    let (connection, early) = parts.io.into_inner().into_parts(parts.read_buf);
                    take(Hijacked::new(connection, early).await).await;
                }
                Err(_) => tracing::warn!("a connection cannot be taken over"),
            },
            Err(why) => tracing::debug!(%why, "a client has left before it had its streams"),
        }
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("tcp"));
    response
}
// ANCHOR_END: upgrade

// ANCHOR: headers
async fn wait_for_headers(connection: &Connection) {
    let begin = tokio::time::Instant::now();
    while connection.unread() > 0 && begin.elapsed() < HEADERS {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
// ANCHOR_END: headers

/// A connection that is no HTTP any more.
#[derive(Debug)]
pub struct Hijacked {
    connection: Connection,
    /// What the client has written with its request.
    early: Bytes,
}

impl Hijacked {
    /// A connection whose client has been answered; `early` is what has been read of it since.
    pub(crate) async fn new(connection: Connection, early: Bytes) -> Hijacked {
        wait_for_headers(&connection).await;
        Hijacked { connection, early }
    }

    /// Writes something, as a program's output.
    ///
    /// # Errors
    /// Where the client has left.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.connection.write_all(bytes).await
    }

    /// Nothing more will be written.
    pub async fn end(mut self) {
        let _ = self.connection.shutdown().await;
        let mut rest = [0; 1024];
        let drain = async { while self.connection.read(&mut rest).await.is_ok_and(|n| n > 0) {} };
        let _ = tokio::time::timeout(LINGER, drain).await;
    }

    /// Completes when the client has left.
    pub async fn left(&self) {
        while !self.connection.is_closed() {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Copies in both directions until the program's output ends, or the client has left. Where `ended`
    /// is given, the client is told of the end of output when that has come, too: it asks then how the
    /// program has ended.
    pub async fn serve(
        self,
        streams: OwnedFd,
        wrapping: Wrapping,
        ended: Option<oneshot::Receiver<()>>,
    ) {
        // Either end may go away at any moment: that is the usual end, and nobody is to be told.
        if let Err(why) = self.copy(streams, wrapping, ended).await {
            tracing::debug!(%why, "streams have ended");
        }
    }

    // ANCHOR: copy
    async fn copy(
        self,
        streams: OwnedFd,
        wrapping: Wrapping,
        ended: Option<oneshot::Receiver<()>>,
    ) -> io::Result<()> {
        let (from_program, to_program) = stream(streams)?.into_split();
        // Whether the client is there is asked of the socket itself.
        let watched = {
            use std::os::fd::AsFd;
            self.connection.as_fd().try_clone_to_owned()?
        };
        let (from_client, mut to_client) = tokio::io::split(self.connection);
        let input = input(self.early, from_client, to_program, watched);
        tokio::pin!(input);
        tokio::select! {
            done = output(from_program, wrapping, &mut to_client) => done?,
            () = &mut input => return Ok(()),
        }
        known(ended).await;
        let _ = to_client.shutdown().await;
        // Closed with input that nobody has read, a socket tells its other end of an error.
        let _ = tokio::time::timeout(LINGER, input).await;
        Ok(())
    }
    // ANCHOR_END: copy
}

/// Waits a moment until it is known how a program has ended whose output has.
async fn known(ended: Option<oneshot::Receiver<()>>) {
    if let Some(ended) = ended {
        let _ = tokio::time::timeout(KNOWN, ended).await;
    }
}

/// A supervisor's end of streams, for the runtime.
fn stream(streams: OwnedFd) -> io::Result<UnixStream> {
    let streams = std::os::unix::net::UnixStream::from(streams);
    streams.set_nonblocking(true)?;
    UnixStream::from_std(streams)
}

async fn output(
    mut from: OwnedReadHalf,
    mut wrapping: Wrapping,
    to: &mut WriteHalf<Connection>,
) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    loop {
        let length = match from.read(&mut buffer).await {
            Err(why) if why.kind() == io::ErrorKind::ConnectionReset => 0,
            other => other?,
        };
        if length == 0 {
            return Ok(());
        }
        let piece = buffer.get(..length).unwrap_or_default();
        match &wrapping {
            Wrapping::Same => to.write_all(piece).await?,
            _ => to.write_all(&wrapping.pass(piece)).await?,
        }
        to.flush().await?;
    }
}

// ANCHOR: input
/// Completes only when the client has left: its end of writing is not that.
async fn input(
    early: Bytes,
    mut from: ReadHalf<Connection>,
    mut to: OwnedWriteHalf,
    watched: OwnedFd,
) {
    let mut buffer = vec![0; 4096];
    let mut open = to.write_all(&early).await.is_ok();
    loop {
        let length = match from.read(&mut buffer).await {
            Ok(length) => length,
            Err(_) => return,
        };
        if length == 0 {
            break;
        }
        // What nobody reads any more is passed over, so that the client's end is seen.
        open = open && to.write_all(buffer.get(..length).unwrap_or_default()).await.is_ok();
    }
    drop(buffer);
    let _ = to.shutdown().await;
    // The half is kept: dropped, it would close both directions.
    let _kept = to;
    let mut pause = Duration::from_millis(10);
    while !is_gone(&watched) {
        tokio::time::sleep(pause).await;
        pause = LOOK.min(pause * 2);
    }
}
// ANCHOR_END: input

fn is_gone(socket: &OwnedFd) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::empty())];
    let gone = PollFlags::POLLHUP | PollFlags::POLLERR;
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
        && fds[0].revents().is_some_and(|events| events.intersects(gone))
}

/// The answer 200 for a client that does not ask for the connection and sends its request's body in
/// chunks: output is the answer's body, and input the request's. The headers go at once, as with dockerd: such a client may start a container only
/// when it has them. `replay` comes first, where there is one; `coming` gives the streams, or what is said
/// in their place.
pub fn plain<F>(
    body: Body,
    kind: &'static str,
    mut wrapping: Wrapping,
    replay: Option<Feed>,
    coming: F,
) -> Response
where
    F: Future<Output = Result<Streams, Bytes>> + Send + 'static,
{
    let (pieces, receiver) = mpsc::channel(crate::answer::AHEAD);
    tokio::spawn(async move {
        if let Some(mut replay) = replay {
            while let Some(piece) = replay.recv().await {
                if pieces.send(piece).await.is_err() {
                    return;
                }
            }
        }
        let coming = tokio::select! {
            coming = coming => coming,
            () = pieces.closed() => return,
        };
        let (streams, ended) = match coming {
            Ok(streams) => streams,
            Err(words) => return drop(pieces.send(Ok(words)).await),
        };
        let Ok(streams) = stream(streams) else { return };
        let (mut from, to) = streams.into_split();
        tokio::spawn(input_of(body, to));
        let mut buffer = vec![0; PIECE];
        loop {
            let read = tokio::select! {
                read = from.read(&mut buffer) => read,
                () = pieces.closed() => return,
            };
            let length = read.unwrap_or(0);
            let piece = wrapping.pass(buffer.get(..length).unwrap_or_default());
            if length == 0 {
                known(ended).await;
                return;
            }
            if pieces.send(Ok(piece)).await.is_err() {
                return;
            }
        }
    });
    crate::answer::feed(kind, receiver)
}

/// The streams of a program, and where it is told that it has ended.
pub type Streams = (OwnedFd, Option<oneshot::Receiver<()>>);

async fn input_of(mut body: Body, mut to: OwnedWriteHalf) {
    let mut any = false;
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        any = true;
        if to.write_all(&data).await.is_err() {
            return;
        }
    }
    // A client that sends no body has no input, but has not ended it either.
    if any {
        let _ = to.shutdown().await;
    }
    to.forget();
}
