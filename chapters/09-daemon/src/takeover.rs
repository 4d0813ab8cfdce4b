//! Connections that are taken over without being asked for.
//!
//! dockerd takes the connection of every attach, also where the client does not ask for `Upgrade: tcp`:
//! it answers 200 with no length, and what comes after the request's body is input. dockerode speaks so
//! unless it is told otherwise. hyper gives up a connection only with a 101, so here the handler asks
//! whoever drives the connection for it, and never answers.

use std::pin::Pin;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::TRANSFER_ENCODING;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use crate::connection::Connection;
use crate::hijack::Hijacked;

type Served = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What is done with a connection.
pub(crate) struct Takeover {
    kind: &'static str,
    serve: Box<dyn FnOnce(Hijacked) -> Served + Send>,
}

/// Where a request asks for its connection: an extension of it.
#[derive(Debug, Clone)]
pub(crate) struct Owner(pub mpsc::Sender<Takeover>);

/// Whether the connection of this request can be had: where its body is in chunks, their ends are not
/// to be told from input.
pub fn is_possible(request: &Request) -> bool {
    request.extensions().get::<Owner>().is_some()
        && !request.headers().contains_key(TRANSFER_ENCODING)
}

/// Takes the connection of a request whose body has been read: the client gets 200 with this content
/// type, and `serve` the rest. Never completes where the connection can be had.
pub async fn take<F>(
    request: Request,
    kind: &'static str,
    serve: impl FnOnce(Hijacked) -> F + Send + 'static,
) -> Response
where
    F: Future<Output = ()> + Send + 'static,
{
    let takeover = Takeover { kind, serve: Box::new(move |to| Box::pin(serve(to))) };
    if let Some(Owner(owner)) = request.extensions().get()
        && owner.send(takeover).await.is_ok()
    {
        std::future::pending::<()>().await;
    }
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

impl Takeover {
    /// Answers, and lets the connection be served. `early` is what has been read of it.
    pub(crate) async fn carry_out(self, mut connection: Connection, early: Bytes) {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {}\r\n\r\n", self.kind);
        let mut answered = connection.write_all(head.as_bytes()).await;
        if answered.is_ok() {
            answered = connection.flush().await;
        }
        match answered {
            Ok(()) => (self.serve)(Hijacked::new(connection, early).await).await,
            Err(why) => tracing::debug!(%why, "a client has left before it had its streams"),
        }
    }
}
