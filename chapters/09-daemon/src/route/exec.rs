//! Further programs in a container.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::containers::size;
use crate::answer::{created, empty, ok};
use crate::backend::ExecStart;
use crate::call::{Call, blocking};
use crate::failure::{Failure, Outcome};
use crate::frame::{Stream, Wrapping, frame};
use crate::hijack::{self, Hijacked};
use crate::server::Daemon;
use crate::takeover;

pub(super) async fn create(call: Call) -> Outcome<Response> {
    let id = call.id();
    let (call, body) = call.body().await?;
    let made = blocking(&call.daemon, move |backend| backend.create_exec(&id, &body)).await?;
    Ok(created(&json!({"Id": made})))
}

pub(super) async fn inspect(call: Call) -> Outcome<Response> {
    let id = call.id();
    Ok(ok(&blocking(&call.daemon, move |backend| backend.inspect_exec(&id)).await?))
}

pub(super) async fn resize(call: Call) -> Outcome<Response> {
    let (id, (rows, columns)) = (call.id(), size(&call)?);
    blocking(&call.daemon, move |backend| backend.resize_exec(&id, rows, columns)).await?;
    Ok(empty(StatusCode::OK))
}

pub(super) async fn start(mut call: Call) -> Outcome<Response> {
    let id = call.id();
    let wanted = options(&mut call).await?;
    let (checked, of) = (wanted.clone(), id.clone());
    let tty = blocking(&call.daemon, move |backend| backend.check_exec(&of, &checked)).await?;
    if wanted.detach {
        blocking(&call.daemon, move |backend| backend.start_exec(&id, &wanted)).await?;
        return Ok(empty(StatusCode::OK));
    }
    // What the client says now decides whether it gets frames, as with dockerd.
    let (program_tty, tty) = (tty, wanted.tty);
    let kind = hijack::kind(tty, call.version);
    let daemon = call.daemon.clone();
    if hijack::is_wanted(call.request.headers()) {
        let serve = move |hijacked| serve(daemon, id, wanted, program_tty, hijacked);
        return Ok(hijack::upgrade(call.request, kind, serve));
    }
    if takeover::is_possible(&call.request) {
        let serve = move |hijacked| serve(daemon, id, wanted, program_tty, hijacked);
        return Ok(takeover::take(call.request, kind, serve).await);
    }
    let coming = async move {
        let started = blocking(&daemon, move |backend| backend.start_exec(&id, &wanted)).await;
        let started = started.map_err(|failure| said(tty, &failure))?;
        started.streams.map(|streams| (streams, started.ended)).ok_or_else(bytes::Bytes::new)
    };
    let wrapping = Wrapping::of(program_tty, tty);
    Ok(hijack::plain(axum::body::Body::empty(), kind, wrapping, None, coming))
}

/// Why a program does not run, as its first output.
fn said(tty: bool, failure: &Failure) -> bytes::Bytes {
    frame(tty, Stream::Stdout, format!("{}\r\n", failure.message).as_bytes())
}

/// The largest options that are taken.
const LARGEST: usize = 1 << 20;

/// The options are the whole body, whose length is said: what comes after it is input.
async fn options(call: &mut Call) -> Outcome<ExecStart> {
    let bytes = call.take_bytes(LARGEST).await?;
    if bytes.is_empty() {
        return Ok(ExecStart::default());
    }
    let read = serde_json::from_slice(&bytes).map(crate::spelling::usual);
    let read = read.and_then(serde_json::from_value);
    read.map_err(|why| Failure::invalid(format!("invalid JSON: {why}")))
}

/// The connection is the exec's from before it runs: why it does not run is its first output, as with
/// dockerd.
async fn serve(
    daemon: Daemon,
    id: String,
    wanted: ExecStart,
    program_tty: bool,
    mut hijacked: Hijacked,
) {
    let tty = wanted.tty;
    let started = blocking(&daemon, move |backend| backend.start_exec(&id, &wanted)).await;
    match started {
        Ok(started) => {
            if let Some(streams) = started.streams {
                hijacked.serve(streams, Wrapping::of(program_tty, tty), started.ended).await;
            }
        }
        Err(failure) => {
            let _ = hijacked.write(&said(tty, &failure)).await;
            hijacked.end().await;
        }
    }
}
