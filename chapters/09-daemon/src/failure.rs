//! What a client is told when something is not done: a status and a sentence.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// What a route or a backend gives.
pub type Outcome<T> = Result<T, Failure>;

/// A refusal, in dockerd's words: clients show the sentence, and programs look at the status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The HTTP status, 4xx or 5xx.
    pub status: u16,
    /// The sentence.
    pub message: String,
}

impl Failure {
    /// Any status.
    pub fn new(status: u16, message: impl Into<String>) -> Failure {
        Failure { status, message: message.into() }
    }

    /// 400: the request makes no sense.
    pub fn invalid(message: impl Into<String>) -> Failure {
        Failure::new(400, message)
    }

    /// 403: it is never allowed.
    pub fn forbidden(message: impl Into<String>) -> Failure {
        Failure::new(403, message)
    }

    /// 404: what it names is not there.
    pub fn missing(message: impl Into<String>) -> Failure {
        Failure::new(404, message)
    }

    /// 409: not in this state.
    pub fn conflict(message: impl Into<String>) -> Failure {
        Failure::new(409, message)
    }

    /// 500: the engine or the kernel could not do it.
    pub fn internal(message: impl Into<String>) -> Failure {
        Failure::new(500, message)
    }

    /// 501: there is no such thing here.
    pub fn absent(message: impl Into<String>) -> Failure {
        Failure::new(501, message)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_server_error() {
            tracing::warn!(status = self.status, message = %self.message, "refused");
        }
        crate::answer::json(status, &json!({"message": self.message}))
    }
}
