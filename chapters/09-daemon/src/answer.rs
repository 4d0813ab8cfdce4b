//! Answers: JSON, pieces as they come, archives, lines of progress.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, Receiver, Sender};

use crate::backend::{Download, Feed, Sink};
use crate::call::finished;
use crate::failure::{Failure, Outcome};
use crate::negotiation::Form;

/// How long a client may take for the next piece of an archive, in either direction.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How many pieces of an answer may wait for a slow client.
pub const AHEAD: usize = 4;

/// JSON with the end of line that Go's encoder writes.
pub fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(mut bytes) => {
            bytes.push(b'\n');
            let mut response = (status, bytes).into_response();
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Err(why) => (StatusCode::INTERNAL_SERVER_ERROR, why.to_string()).into_response(),
    }
}

/// 200 with JSON that is text already.
pub fn text(mut json: String) -> Response {
    json.push('\n');
    let mut response = json.into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// 200 with JSON.
pub fn ok(value: &impl Serialize) -> Response {
    json(StatusCode::OK, value)
}

/// 201 with JSON.
pub fn created(value: &impl Serialize) -> Response {
    json(StatusCode::CREATED, value)
}

/// A status and nothing else.
pub fn empty(status: StatusCode) -> Response {
    status.into_response()
}

/// 204, or 304 where nothing has changed.
pub fn changed(changed: bool) -> Response {
    empty(if changed { StatusCode::NO_CONTENT } else { StatusCode::NOT_MODIFIED })
}

/// A body whose pieces come from elsewhere. Dropped, because the client has left, it is a channel that
/// nobody receives from: whoever sends stops.
struct Pieces(Feed);

// ANCHOR: pieces
impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}
// ANCHOR_END: pieces

/// Does something when the answer that it watches is over, or nobody wants it any more.
pub struct Left(Option<Box<dyn FnOnce() + Send>>);

impl Left {
    /// That does this.
    pub fn new(act: impl FnOnce() + Send + 'static) -> Left {
        Left(Some(Box::new(act)))
    }

    /// Watches an answer: its body is dropped with its connection.
    pub fn watch(self, response: Response) -> Response {
        response.map(|body| guarded(body, self))
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        if let Some(act) = self.0.take() {
            act();
        }
    }
}

/// The same body; `guard` is dropped with it, be it read to its end or not.
pub(crate) fn guarded<G: Send + Unpin + 'static>(body: Body, guard: G) -> Body {
    Body::new(Guarded { body, _guard: guard })
}

struct Guarded<G> {
    body: Body,
    _guard: G,
}

impl<G: Unpin> HttpBody for Guarded<G> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// 200 and the pieces.
pub fn feed(kind: &'static str, feed: Feed) -> Response {
    let mut response = Body::new(Pieces(feed)).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Lines of JSON as records of RFC 7464: before each is a record separator, by which a reader finds the
/// next one where one was cut off.
struct Records {
    at_start: bool,
}

/// ASCII's record separator.
const SEPARATOR: u8 = 0x1e;

impl Records {
    /// A piece may begin and end in the middle of a line.
    fn separated(&mut self, piece: &[u8]) -> Bytes {
        let mut records = Vec::with_capacity(piece.len() + 1);
        for line in piece.split_inclusive(|byte| *byte == b'\n') {
            if self.at_start {
                records.push(SEPARATOR);
            }
            records.extend_from_slice(line);
            self.at_start = line.ends_with(b"\n");
        }
        records.into()
    }
}

/// 200 and the lines, in the form that the client has chosen.
pub fn lines(form: Form, feed: Feed) -> Response {
    let pieces = Pieces(feed);
    let body = match form {
        Form::Sequence => {
            let mut records = Records { at_start: true };
            let separated =
                move |frame: Frame<Bytes>| frame.map_data(|piece| records.separated(&piece));
            Body::new(pieces.map_frame(separated))
        }
        Form::Json | Form::Lines(_) => Body::new(pieces),
    };
    let mut response = body.into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(form.kind()));
    response
}

/// The end of a channel into which a thread writes an archive. It waits for the client, but not for
/// ever.
struct Outgoing {
    pieces: Sender<io::Result<Bytes>>,
    runtime: Handle,
}

// ANCHOR: outgoing
impl Write for Outgoing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // One piece is at most what a socket takes at once.
        let piece = Bytes::copy_from_slice(bytes.get(..64 << 10).unwrap_or(bytes));
        let length = piece.len();
        let sent = self.runtime.block_on(self.pieces.send_timeout(Ok(piece), PATIENCE));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
// ANCHOR_END: outgoing

/// 200 and an archive. Where it cannot be finished the answer breaks off.
pub fn archive(download: Download) -> Response {
    let (pieces, receiver) = mpsc::channel(AHEAD);
    let mut to = Outgoing { pieces: pieces.clone(), runtime: Handle::current() };
    let written = tokio::task::spawn_blocking(move || download(&mut to));
    // A client that reads nothing makes a task wait for this, and no thread.
    tokio::spawn(async move {
        if let Err(failure) = finished(written).await {
            tracing::info!(message = %failure.message, "an archive was broken off");
            let _ = pieces.send(Err(io::Error::other(failure.message))).await;
        }
    });
    feed("application/x-tar", receiver)
}

/// A line of a stream of progress.
pub fn line(value: &Value) -> Bytes {
    let mut bytes = serde_json::to_vec(value).unwrap_or_default();
    bytes.extend_from_slice(b"\r\n");
    bytes.into()
}

// ANCHOR: progress
/// Lines of progress. What goes wrong before the first line is the answer's status; later it is a line
/// of its own.
///
/// # Errors
/// What `work` gives before its first line.
pub async fn progress(
    work: impl FnOnce(Sink<'_>) -> Outcome<()> + Send + 'static,
) -> Outcome<Response> {
    let (last, mut lines) = mpsc::channel::<Result<Bytes, Failure>>(256);
    let (sender, runtime) = (last.clone(), Handle::current());
    let done = tokio::task::spawn_blocking(move || {
        let mut gone = false;
        work(&mut |value| {
            // The work is finished though nobody looks any more, as with dockerd's push; and a client
            // that does not read holds up nothing but itself.
            if !gone {
                gone = runtime.block_on(sender.send_timeout(Ok(line(&value)), PATIENCE)).is_err();
            }
        })
    });
    // A client that reads nothing makes a task wait for this, and no thread.
    tokio::spawn(async move {
        if let Err(failure) = finished(done).await {
            let _ = last.send(Err(failure)).await;
        }
    });
    let first = match lines.recv().await {
        Some(Err(failure)) => return Err(failure),
        Some(Ok(line)) => Some(line),
        None => None,
    };
    let (pieces, receiver) = mpsc::channel(AHEAD);
    tokio::spawn(forward(first, lines, pieces));
    Ok(feed("application/json", receiver))
}
// ANCHOR_END: progress

async fn forward(
    first: Option<Bytes>,
    mut lines: Receiver<Result<Bytes, Failure>>,
    pieces: Sender<io::Result<Bytes>>,
) {
    let mut next = first.map(Ok);
    loop {
        let piece = match next.take() {
            Some(first) => first,
            None => match lines.recv().await {
                Some(line) => line,
                None => return,
            },
        };
        let piece = piece.unwrap_or_else(|failure| {
            let message = &failure.message;
            line(&json!({"errorDetail": {"message": message}, "error": message}))
        });
        if pieces.send(Ok(piece)).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does something where there is one thread that may wait, and sees that it is free soon.
    fn with_one_thread(ask: impl Future<Output = Response>) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            // The answer is there, and nobody reads it.
            let _unread = ask.await;
            let next = tokio::task::spawn_blocking(|| ());
            let next = tokio::time::timeout(Duration::from_secs(10), next).await;
            assert!(next.is_ok(), "a thread waits for a client");
        });
        runtime.shutdown_background();
    }

    #[test]
    fn what_goes_wrong_makes_no_thread_wait_for_a_client_that_does_not_read() {
        with_one_thread(async {
            archive(Box::new(|to| {
                (0..AHEAD).for_each(|_| drop(to.write(b"x")));
                Err(Failure::internal("it cannot be read"))
            }))
        });
        with_one_thread(async {
            let told = progress(|sink| {
                // So many fill what is between the work and the client.
                (0..256 + AHEAD + 1).for_each(|at| sink(json!({"status": at})));
                Err(Failure::internal("the registry is gone"))
            });
            told.await.unwrap()
        });
    }

    #[test]
    fn a_record_begins_with_a_separator_wherever_it_is_cut() {
        let text = b"{\"a\":1}\n{\"b\":2}\n{}\n";
        for length in 1..=text.len() {
            let mut records = Records { at_start: true };
            let pieces: Vec<Bytes> =
                text.chunks(length).map(|piece| records.separated(piece)).collect();
            assert_eq!(pieces.concat(), b"\x1e{\"a\":1}\n\x1e{\"b\":2}\n\x1e{}\n");
        }
    }

    #[tokio::test]
    async fn work_that_panics_does_not_look_done() {
        let failure = progress(|_| panic!("on purpose")).await.unwrap_err();
        assert!(failure.status == 500 && failure.message.contains("panicked"), "{failure:?}");
        let body = archive(Box::new(|_| panic!("on purpose"))).into_body();
        assert!(BodyExt::collect(body).await.is_err());
    }
}
