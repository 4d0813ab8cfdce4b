//! What lasts: attach, logs, wait, stats.

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use bytes::{Buf, Bytes};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::answer::{AHEAD, feed, ok};
use crate::backend::{Attach, Attached, Condition, LogsWanted};
use crate::call::{Call, blocking};
use crate::failure::{Failure, Outcome};
use crate::frame::Wrapping;
use crate::hijack::{self, Hijacked};
use crate::takeover;

fn wanted(call: &Call) -> Attach {
    let query = &call.query;
    Attach {
        logs: query.flag("logs"),
        stream: query.flag("stream"),
        stdin: query.flag("stdin"),
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        detach_keys: query.text("detachKeys").map(str::to_owned),
    }
}

/// The largest body of an attach, which nobody reads: what follows it is input.
const OPTIONS: usize = 1 << 20;

pub(super) async fn attach(mut call: Call) -> Outcome<Response> {
    let (id, wanted) = (call.id(), wanted(&call));
    let attached = blocking(&call.daemon, move |backend| backend.attach(&id, &wanted)).await?;
    let kind = hijack::kind(attached.tty, call.version);
    if hijack::is_wanted(call.request.headers()) {
        return Ok(hijack::upgrade(call.request, kind, move |hijacked| serve(hijacked, attached)));
    }
    if takeover::is_possible(&call.request) {
        let serve = move |hijacked| serve(hijacked, attached);
        call.take_bytes(OPTIONS).await?;
        return Ok(takeover::take(call.request, kind, serve).await);
    }
    let Attached { replay, streams, .. } = attached;
    let Some(streams) = streams else {
        let (_, none) = mpsc::channel(1);
        return Ok(feed(kind, replay.unwrap_or(none)));
    };
    let coming = async { streams.await.map(|fd| (fd, None)).map_err(|_| Bytes::new()) };
    Ok(hijack::plain(call.request.into_body(), kind, Wrapping::Same, replay, coming))
}

async fn serve(mut hijacked: Hijacked, attached: Attached) {
    if let Some(mut replay) = attached.replay {
        while let Some(Ok(piece)) = replay.recv().await {
            if hijacked.write(&piece).await.is_err() {
                return;
            }
        }
    }
    let Some(streams) = attached.streams else { return hijacked.end().await };
    // The container is started later, or never.
    let streams = tokio::select! {
        streams = streams => streams,
        () = hijacked.left() => return,
    };
    if let Ok(streams) = streams {
        hijacked.serve(streams, Wrapping::Same, None).await;
    }
}

pub(super) async fn attach_ws(call: Call) -> Outcome<Response> {
    let (id, mut wanted) = (call.id(), wanted(&call));
    // There are no frames in a web socket, so what is not chosen is not told apart either.
    if !(wanted.stdin || wanted.stdout || wanted.stderr) {
        (wanted.stdin, wanted.stdout, wanted.stderr) = (true, true, true);
    }
    wanted.stream = true;
    let attached = blocking(&call.daemon, move |backend| backend.attach(&id, &wanted)).await?;
    let (mut parts, _) = call.request.into_parts();
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &())
        .await
        .map_err(|why| Failure::invalid(why.to_string()))?;
    Ok(upgrade.on_upgrade(move |socket| serve_ws(socket, attached)))
}

async fn serve_ws(mut socket: WebSocket, attached: Attached) {
    let Some(mut streams) = attached.streams else { return };
    // A web socket has no frames of that kind.
    let mut frames = Wrapping::of(attached.tty, true);
    if let Some(mut replay) = attached.replay {
        while let Some(Ok(piece)) = replay.recv().await {
            if socket.send(Message::Binary(frames.pass(&piece))).await.is_err() {
                return;
            }
        }
    }
    // What is typed before the start is for the program, too.
    let mut early = Vec::new();
    let streams = loop {
        tokio::select! {
            biased;
            streams = &mut streams => break streams,
            message = socket.recv() => match input(message) {
                Some(bytes) if early.len() + bytes.len() <= EARLY => early.extend_from_slice(&bytes),
                _ => return,
            },
        }
    };
    let Ok(streams) = streams else { return };
    let streams = std::os::unix::net::UnixStream::from(streams);
    if streams.set_nonblocking(true).is_err() {
        return;
    }
    let Ok(streams) = tokio::net::UnixStream::from_std(streams) else { return };
    let (mut from, mut to) = streams.into_split();
    let mut buffer = vec![0; 16 << 10];
    // What is typed waits until the program takes it; output does not wait for that.
    let mut typed = Bytes::from(early);
    loop {
        tokio::select! {
            written = to.write(&typed), if !typed.is_empty() => match written {
                Ok(length) => typed.advance(length),
                // A container that reads nothing any more may still write.
                Err(_) => typed.clear(),
            },
            read = from.read(&mut buffer) => {
                let length = read.unwrap_or(0);
                if length == 0 {
                    break;
                }
                let piece = frames.pass(buffer.get(..length).unwrap_or_default());
                if !piece.is_empty() && socket.send(Message::Binary(piece)).await.is_err() {
                    return;
                }
            }
            message = socket.recv(), if typed.is_empty() => match input(message) {
                Some(bytes) => typed = bytes,
                None => return,
            },
        }
    }
    let _ = socket.send(Message::Close(None)).await;
}

/// How much may be typed before a container is started.
const EARLY: usize = 64 << 10;

/// The input in a message; `None` where the client has left.
fn input(message: Option<Result<Message, axum::Error>>) -> Option<Bytes> {
    match message {
        Some(Ok(Message::Binary(bytes))) => Some(bytes),
        Some(Ok(Message::Text(text))) => Some(Bytes::copy_from_slice(text.as_bytes())),
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Some(Bytes::new()),
        Some(Ok(Message::Close(_)) | Err(_)) | None => None,
    }
}

pub(super) async fn logs(call: Call) -> Outcome<Response> {
    let query = &call.query;
    let wanted = LogsWanted {
        follow: query.flag("follow"),
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        since: query.text("since").map(str::to_owned),
        until: query.text("until").map(str::to_owned),
        timestamps: query.flag("timestamps"),
        details: query.flag("details"),
        // What is no number means all, as with dockerd.
        tail: query.text("tail").and_then(|text| text.parse().ok()),
    };
    if !wanted.stdout && !wanted.stderr {
        let text = "Bad parameters: you must choose at least one stream";
        return Err(Failure::invalid(text));
    }
    let id = call.id();
    let logs = blocking(&call.daemon, move |backend| backend.logs(&id, &wanted)).await?;
    Ok(feed(hijack::kind(logs.tty, call.version), logs.feed))
}

// ANCHOR: wait
pub(super) async fn wait(call: Call) -> Outcome<Response> {
    let condition = match call.query.text("condition").unwrap_or_default() {
        "" | "not-running" => Condition::NotRunning,
        "next-exit" => Condition::NextExit,
        "removed" => Condition::Removed,
        other => return Err(Failure::invalid(format!("invalid condition: {other:?}"))),
    };
    let id = call.id();
    let end = blocking(&call.daemon, move |backend| backend.wait(&id, condition)).await?;
    let (pieces, receiver) = mpsc::channel(1);
    // The headers go at once: the client starts the container only when it has them.
    tokio::spawn(async move {
        let end = tokio::select! {
            end = end => end.unwrap_or_default(),
            () = pieces.closed() => return,
        };
        let error = end.error.map_or(Value::Null, |message| json!({"Message": message}));
        let text = format!("{}\n", json!({"Error": error, "StatusCode": end.status}));
        let _ = pieces.send(Ok(text.into())).await;
    });
    Ok(feed("application/json", receiver))
}
// ANCHOR_END: wait

/// How long the first figures may take.
const FIRST: Duration = Duration::from_secs(20);

pub(super) async fn stats(call: Call) -> Outcome<Response> {
    let stream = call.query.flag_or("stream", true);
    let (id, one_shot) = (call.id(), call.query.flag("one-shot"));
    if stream && one_shot {
        let text = "cannot have stream=true and one-shot=true";
        return Err(Failure::invalid(text));
    }
    let mut figures =
        blocking(&call.daemon, move |backend| backend.stats(&id, stream, one_shot)).await?;
    if !stream {
        let first = tokio::time::timeout(FIRST, figures.recv()).await.ok().flatten();
        let gone = || Failure::internal("the container has gone while it was measured");
        return Ok(ok(&first.ok_or_else(gone)?));
    }
    let (pieces, receiver) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        loop {
            let next = tokio::select! {
                next = figures.recv() => next,
                () = pieces.closed() => return,
            };
            let Some(value) = next else { return };
            let text = format!("{value}\n");
            if pieces.send(Ok(text.into())).await.is_err() {
                return;
            }
        }
    });
    Ok(feed("application/json", receiver))
}
