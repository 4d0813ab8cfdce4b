//! `GET /metrics`: figures in the text format of Prometheus.

use std::fmt::Write;

use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse, Response};

use crate::call::{Call, blocking};
use crate::failure::Outcome;

/// The figures of the server and of its engine.
///
/// # Errors
/// Where the engine's cannot be had.
pub async fn metrics(call: Call) -> Outcome<Response> {
    let counts = call.daemon.counts();
    let mut figures = vec![
        ("corten_daemon_requests_total", counts.requests),
        ("corten_daemon_failures_total", counts.failures),
        ("corten_daemon_connections", counts.connections as u64),
    ];
    figures.extend(blocking(&call.daemon, |backend| Ok(backend.figures())).await?);
    let mut text = String::new();
    for (name, value) in figures {
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        // Writing into a string does not fail.
        let _ = writeln!(text, "# TYPE {name} {kind}\n{name} {value}");
    }
    let mut response = text.into_response();
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}
