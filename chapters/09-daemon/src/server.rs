//! The server: connections to requests, requests to routes.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Uri;
use axum::http::header::{HeaderName, HeaderValue, SERVER};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{mpsc, watch};
use tower_service::Service;

use crate::backend::Backend;
use crate::browser::{self, Way};
use crate::connection::Connection;
use crate::listener::Listener;
use crate::takeover::{Owner, Takeover};
use crate::target::{Client, Turn};
use crate::version::{NEWEST, Version};

// ANCHOR: limits
/// How long a client may take for the headers of a request, and be silent between two.
const HEADERS: Duration = Duration::from_secs(60);

/// How large the headers of a request may be.
const LARGEST_HEAD: usize = 256 << 10;

/// How many headers a request may have.
const MOST_HEADERS: usize = 200;

/// Connections at once; further ones wait in the socket's queue.
const MOST_CONNECTIONS: usize = 4096;
// ANCHOR_END: limits

/// How long connections may go on after the daemon was asked to end.
const GRACE: Duration = Duration::from_secs(10);

/// How long of these what is being answered may go on.
const LAST: Duration = Duration::from_secs(5);

/// How long after a client has left it is looked how much memory is in use.
const LATER: Duration = Duration::from_secs(5);

/// What answers requests.
#[derive(Clone)]
pub struct Daemon(Arc<Inner>);

struct Inner {
    backend: Arc<dyn Backend>,
    requests: AtomicU64,
    failures: AtomicU64,
    connections: AtomicUsize,
    slots: Arc<tokio::sync::Semaphore>,
    /// Whether it will be looked how much memory clients have left behind.
    looking: AtomicBool,
}

impl fmt::Debug for Daemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Daemon").field("requests", &self.0.requests).finish_non_exhaustive()
    }
}

/// What the server itself counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Requests that were answered.
    pub requests: u64,
    /// Of these, with 5xx.
    pub failures: u64,
    /// Connections that are open.
    pub connections: usize,
}

impl Daemon {
    /// A daemon for an engine.
    pub fn new(backend: Arc<dyn Backend>) -> Daemon {
        Daemon(Arc::new(Inner {
            backend,
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            connections: AtomicUsize::new(0),
            slots: Arc::new(tokio::sync::Semaphore::new(MOST_CONNECTIONS)),
            looking: AtomicBool::new(false),
        }))
    }

    /// Its engine.
    pub fn backend(&self) -> Arc<dyn Backend> {
        Arc::clone(&self.0.backend)
    }

    /// What it has counted.
    pub fn counts(&self) -> Counts {
        Counts {
            requests: self.0.requests.load(Ordering::Relaxed),
            failures: self.0.failures.load(Ordering::Relaxed),
            connections: self.0.connections.load(Ordering::Relaxed),
        }
    }

    // ANCHOR: serve
    /// Serves until `stop` says so, and then for a while those who are being served.
    pub async fn serve(self, listeners: Vec<Listener>, stop: watch::Receiver<bool>) {
        let router = crate::route::router(self.clone());
        let mut accepting = tokio::task::JoinSet::new();
        for listener in listeners {
            let (daemon, router, stop) = (self.clone(), router.clone(), stop.clone());
            accepting.spawn(daemon.accept(listener, router, stop));
        }
        while accepting.join_next().await.is_some() {}
        let begin = tokio::time::Instant::now();
        while self.counts().connections > 0 && begin.elapsed() < GRACE {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    // ANCHOR_END: serve

    // ANCHOR: accept
    async fn accept(self, listener: Listener, router: Router, mut stop: watch::Receiver<bool>) {
        loop {
            let Ok(slot) = Arc::clone(&self.0.slots).acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            match accepted {
                Ok(coming) => {
                    let (daemon, router, stop) = (self.clone(), router.clone(), stop.clone());
                    tokio::spawn(async move {
                        let _slot = slot;
                        match tokio::time::timeout(HEADERS, coming.ready()).await {
                            Ok(Ok(connection)) => daemon.attend(connection, router, stop).await,
                            Ok(Err(why)) => tracing::info!(%why, "a client was not let in"),
                            Err(_) => tracing::info!("a client did not say hello"),
                        }
                    });
                }
                Err(why) => {
                    // No descriptor is left: somebody must leave first.
                    tracing::warn!(%why, "no client can be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
    // ANCHOR_END: accept

    // ANCHOR: attend
    /// Serves one connection to its end.
    async fn attend(self, connection: Connection, router: Router, mut stop: watch::Receiver<bool>) {
        self.0.connections.fetch_add(1, Ordering::Relaxed);
        let (daemon, way) = (self.clone(), Way::of(&connection));
        let (owner, mut taken) = mpsc::channel(1);
        let turn = Turn::new();
        let heads = turn.clone();
        let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
            let (daemon, router) = (daemon.clone(), router.clone());
            let mut request = request.map(|body| heads.body(Body::new(body)));
            request.extensions_mut().insert(Owner(owner.clone()));
            async move { Ok::<_, Infallible>(daemon.answer(way, request, router).await) }
        });
        let mut connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .max_buf_size(LARGEST_HEAD)
            .max_headers(MOST_HEADERS)
            // As Go writes them: scripts look for `Api-Version:`.
            .title_case_headers(true)
            .serve_connection(TokioIo::new(Client::new(connection, turn)), service)
            .with_upgrades();
        let next = tokio::select! {
            done = &mut connection => Next::Done(done),
            Some(takeover) = taken.recv() => Next::Taken(takeover),
            _ = stop.wait_for(|stop| *stop) => Next::Stop,
        };
        let done = match next {
            Next::Done(done) => done,
            Next::Taken(takeover) => {
                if let Some(parts) = connection.into_parts() {
                    let (connection, early) = parts.io.into_inner().into_parts(parts.read_buf);
                    tokio::spawn(takeover.carry_out(connection, early));
                }
                Ok(())
            }
            Next::Stop => {
                Pin::new(&mut connection).graceful_shutdown();
                // A stream that goes on for ever is ended.
                tokio::time::timeout(LAST, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(why) = done {
            tracing::debug!(%why, "a connection has ended");
        }
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
        self.shrink();
    }
    // ANCHOR_END: attend

    /// Gives memory back, some time after a client has left: once for all that leave meanwhile.
    fn shrink(&self) {
        if self.0.looking.swap(true, Ordering::Relaxed) {
            return;
        }
        let daemon = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(LATER).await;
            // Who leaves from now on may leave something behind.
            daemon.0.looking.store(false, Ordering::Relaxed);
            let _ = tokio::task::spawn_blocking(crate::memory::shrink).await;
        });
    }

    /// Answers one request.
    async fn answer(&self, way: Way, mut request: Request, mut router: Router) -> Response {
        self.0.requests.fetch_add(1, Ordering::Relaxed);
        let method = request.method().clone();
        let path = request.uri().path().to_owned();
        let asked = browser::check(way, request.headers()).and_then(|()| strip(&mut request));
        let response = match asked {
            Ok(()) => match router.call(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            },
            Err(failure) => failure.into_response(),
        };
        if response.status().is_server_error() {
            self.0.failures.fetch_add(1, Ordering::Relaxed);
        }
        tracing::debug!(%method, path, status = response.status().as_u16(), "answered");
        signed(response)
    }
}

/// How the HTTP of a connection ends.
enum Next {
    Done(hyper::Result<()>),
    Taken(Takeover),
    Stop,
}

/// Takes the version off the path.
fn strip(request: &mut Request) -> Result<(), crate::Failure> {
    let (version, rest) = Version::split(request.uri().path())?;
    if rest.len() != request.uri().path().len() {
        let text = match request.uri().query() {
            Some(query) => format!("{rest}?{query}"),
            None => rest.to_owned(),
        };
        let uri: Uri = text
            .parse()
            .map_err(|_| crate::Failure::invalid("the request's path cannot be understood"))?;
        *request.uri_mut() = uri;
    }
    request.extensions_mut().insert(version);
    Ok(())
}

/// With the headers that every answer has.
fn signed(mut response: Response) -> Response {
    static VERSION: std::sync::LazyLock<HeaderValue> = std::sync::LazyLock::new(|| {
        HeaderValue::from_str(&NEWEST.to_string()).unwrap_or(HeaderValue::from_static("1.53"))
    });
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static("api-version"), VERSION.clone());
    headers
        .insert(HeaderName::from_static("docker-experimental"), HeaderValue::from_static("false"));
    headers.insert(HeaderName::from_static("ostype"), HeaderValue::from_static("linux"));
    headers.insert(
        SERVER,
        HeaderValue::from_static(concat!("Corten/", env!("CARGO_PKG_VERSION"), " (linux)")),
    );
    response
}
