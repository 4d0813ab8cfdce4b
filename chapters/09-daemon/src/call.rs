//! A request, taken apart: the version, the parameters, the names in its path, the body.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, RawPathParams, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::answer::PATIENCE;
use crate::backend::{Backend, Credentials};
use crate::failure::{Failure, Outcome};
use crate::query::Query;
use crate::server::Daemon;
use crate::version::{UNVERSIONED, Version};

/// The largest JSON that is taken. A create request with thousands of labels has some hundred KiB.
const LARGEST: usize = 16 << 20;

/// So much of a body that was refused is still read.
const DRAINED: usize = 1 << 20;

/// And for so long: a client may send nothing more before it is answered.
const DRAINING: Duration = Duration::from_secs(2);

/// A request.
#[derive(Debug)]
pub struct Call {
    /// Who answers it.
    pub daemon: Daemon,
    /// The version that its path named.
    pub version: Version,
    /// What followed the question mark.
    pub query: Query,
    names: Vec<(String, String)>,
    /// The rest of it.
    pub request: Request,
}

impl FromRequest<Daemon> for Call {
    type Rejection = Failure;

    async fn from_request(request: Request, daemon: &Daemon) -> Result<Call, Failure> {
        let (mut parts, body) = request.into_parts();
        let params =
            <RawPathParams as axum::extract::FromRequestParts<Daemon>>::from_request_parts(
                &mut parts, daemon,
            )
            .await
            .map_err(|_| Failure::invalid("the path is not UTF-8"))?;
        let names = params.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let names: Vec<_> = names.collect();
        // No name, id, path or reference has such bytes; in a path of a system call they would end it.
        if names.iter().any(|(_, value)| value.contains('\0')) {
            return Err(Failure::invalid("the path contains a null byte"));
        }
        Ok(Call {
            daemon: daemon.clone(),
            version: parts.extensions.get().copied().unwrap_or(UNVERSIONED),
            query: Query::parse(parts.uri.query().unwrap_or_default()),
            names,
            request: Request::from_parts(parts, body),
        })
    }
}

impl Call {
    /// A name in the path.
    pub fn name(&self, name: &str) -> String {
        let found = self.names.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    }

    /// The container, image, network or volume of the path. A container's may begin with a slash, as
    /// it does in answers.
    pub fn id(&self) -> String {
        let name = self.name("name");
        name.strip_prefix('/').map(str::to_owned).unwrap_or(name)
    }

    /// Says which name the path has, where its end had to be looked at first.
    pub(crate) fn set_name(&mut self, name: &str) {
        self.names.push(("name".to_owned(), name.to_owned()));
    }

    /// A parameter that a request makes no sense without.
    ///
    /// # Errors
    /// 400.
    pub fn wanted(&self, name: &str) -> Outcome<String> {
        let missing = || Failure::invalid(format!("bad parameter: {name} is missing"));
        self.query.text(name).map(str::to_owned).ok_or_else(missing)
    }

    /// Credentials for a registry.
    pub fn credentials(&self) -> Credentials {
        credentials(self.request.headers())
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.request.headers().get(name)?.to_str().ok()
    }

    /// The whole body as JSON; null where there is none.
    ///
    /// # Errors
    /// 400 for another content type or what is no JSON, 413 for too much of it.
    pub async fn body(self) -> Outcome<(Rest, Value)> {
        let (rest, bytes) = self.bytes().await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok((rest, Value::Null));
        }
        check_json(&rest.headers)?;
        let value = serde_json::from_slice(&bytes).map_err(|why| malformed(&bytes, &why))?;
        Ok((rest, crate::spelling::usual(value)))
    }

    /// The whole body.
    ///
    /// # Errors
    /// 413 for too much of it, 408 for a client that does not send it.
    pub async fn bytes(self) -> Outcome<(Rest, Bytes)> {
        let (parts, body) = self.request.into_parts();
        let rest = Rest {
            daemon: self.daemon,
            version: self.version,
            query: self.query,
            names: self.names,
            headers: parts.headers,
        };
        Ok((rest, collected(body, LARGEST).await?))
    }

    /// Takes the whole body, of `most` bytes, and leaves the request, whose connection is still wanted.
    ///
    /// # Errors
    /// As [`Call::bytes`].
    pub(crate) async fn take_bytes(&mut self, most: usize) -> Outcome<Bytes> {
        collected(std::mem::take(self.request.body_mut()), most).await
    }

    /// Takes the body as something to read in a thread that may wait.
    pub fn upload(&mut self) -> Incoming {
        let body = std::mem::take(self.request.body_mut());
        Incoming { body, piece: Bytes::new(), runtime: Handle::current() }
    }
}

// ANCHOR: collected
/// A whole body, if it is not too large and comes in time.
async fn collected(body: Body, most: usize) -> Outcome<Bytes> {
    let body = http_body_util::Limited::new(body, most);
    let collected = tokio::time::timeout(PATIENCE, body.collect()).await;
    let collected = collected.map_err(|_| Failure::new(408, "the request's body did not come"))?;
    let collected = collected.map_err(|why| {
        let status = if why.is::<http_body_util::LengthLimitError>() { 413 } else { 400 };
        Failure::new(status, format!("read the request's body: {why}"))
    })?;
    Ok(collected.to_bytes())
}
// ANCHOR_END: collected

/// What is left of a request whose body was read.
#[derive(Debug)]
pub struct Rest {
    /// Who answers it.
    pub daemon: Daemon,
    /// The version that its path named.
    pub version: Version,
    /// What followed the question mark.
    pub query: Query,
    names: Vec<(String, String)>,
    /// Its headers.
    pub headers: HeaderMap,
}

impl Rest {
    /// As [`Call::id`].
    pub fn id(&self) -> String {
        let found = self.names.iter().find(|(own, _)| own == "name");
        let name = found.map(|(_, value)| value.as_str()).unwrap_or_default();
        name.strip_prefix('/').unwrap_or(name).to_owned()
    }
}

// ANCHOR: blocking
/// Does something that may block, in a thread that may.
///
/// # Errors
/// What `act` gives.
pub async fn blocking<T: Send + 'static>(
    daemon: &Daemon,
    act: impl FnOnce(&dyn Backend) -> Outcome<T> + Send + 'static,
) -> Outcome<T> {
    let backend: Arc<dyn Backend> = daemon.backend();
    finished(tokio::task::spawn_blocking(move || act(&*backend))).await
}
// ANCHOR_END: blocking

/// What has come of work in a thread; its panic is a failure, too.
pub(crate) async fn finished<T>(work: JoinHandle<Outcome<T>>) -> Outcome<T> {
    work.await
        .unwrap_or_else(|why| Err(Failure::internal(format!("the operation has panicked: {why}"))))
}

// ANCHOR: check_json
/// A body must say that it is JSON.
fn check_json(headers: &HeaderMap) -> Outcome<()> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let main = kind.split(';').next().unwrap_or_default().trim();
    if main.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Failure::invalid(format!("Content-Type specified ({kind}) must be 'application/json'")))
}
// ANCHOR_END: check_json

/// Why a body is no JSON, in the words of Go's decoder where it has some of its own.
fn malformed(body: &[u8], why: &serde_json::Error) -> Failure {
    use serde_json::error::Category;
    let text = why.to_string();
    let lines = body.split_inclusive(|&byte| byte == b'\n');
    let begin: usize = lines.take(why.line().saturating_sub(1)).map(<[u8]>::len).sum();
    let place = (begin + why.column()).saturating_sub(1);
    let rest = body.get(place..).unwrap_or_default();
    let found = String::from_utf8_lossy(rest).chars().next().unwrap_or_default();
    let looking =
        |place: &str| format!("invalid JSON: invalid character {found:?} looking for {place}");
    Failure::invalid(match () {
        () if why.classify() == Category::Eof => "invalid JSON: unexpected EOF".to_owned(),
        () if text.starts_with("trailing characters") => "unexpected content after JSON".to_owned(),
        () if text.starts_with("key must be a string") => looking("beginning of object key string"),
        () if text.starts_with("expected value") => looking("beginning of value"),
        () => format!("invalid JSON: {text}"),
    })
}

/// `X-Registry-Auth`: base64 of JSON, with either alphabet, padded or not. What cannot be read is an
/// anonymous client, as with dockerd.
fn credentials(headers: &HeaderMap) -> Credentials {
    let header = headers.get(HeaderName::from_static("x-registry-auth"));
    let text = header.and_then(|text| text.to_str().ok()).unwrap_or_default();
    decoded(text).and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default()
}

/// base64 in all the ways that clients write it.
pub fn decoded(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
    let text = text.trim().trim_end_matches('=');
    URL_SAFE_NO_PAD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text)).ok()
}

/// A body that is read as it comes, in a thread that may wait; a client that sends nothing for long is
/// given up.
#[derive(Debug)]
pub struct Incoming {
    body: Body,
    piece: Bytes,
    runtime: Handle,
}

impl Incoming {
    /// Reads on for a moment what nobody wants: a client whose connection is closed while it sends does
    /// not read why.
    pub fn drain(&mut self) {
        let body = &mut self.body;
        let rest = async {
            let mut left = DRAINED;
            while left > 0
                && let Some(Ok(frame)) = body.frame().await
            {
                left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            }
        };
        // Timed in the runtime: a timer cannot be made outside.
        let _ = self.runtime.block_on(async { tokio::time::timeout(DRAINING, rest).await });
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            let body = &mut self.body;
            let next = async { tokio::time::timeout(PATIENCE, body.frame()).await };
            match self.runtime.block_on(next) {
                Err(_) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(None) => return Ok(0),
                Ok(Some(Err(why))) => return Err(io::Error::other(why)),
                // Trailers are passed over.
                Ok(Some(Ok(frame))) => self.piece = frame.into_data().unwrap_or_default(),
            }
        }
        let length = buffer.len().min(self.piece.len());
        let (to, from) = (buffer.get_mut(..length), self.piece.get(..length));
        if let (Some(to), Some(from)) = (to, from) {
            to.copy_from_slice(from);
        }
        self.piece.advance(length);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_json_is_told_as_go_tells_it() {
        for (body, words) in [
            (
                "{invalid json",
                "invalid JSON: invalid character 'i' looking for beginning of object key string",
            ),
            ("{\"a\":\n x}", "invalid JSON: invalid character 'x' looking for beginning of value"),
            ("{} more", "unexpected content after JSON"),
            ("{\"a\":", "invalid JSON: unexpected EOF"),
        ] {
            let why = serde_json::from_str::<Value>(body).unwrap_err();
            assert_eq!(malformed(body.as_bytes(), &why).message, words, "{body}");
        }
    }

    #[tokio::test]
    async fn a_client_that_sends_no_more_is_not_waited_for_when_it_is_refused() {
        struct Silent;
        impl http_body::Body for Silent {
            type Data = Bytes;
            type Error = std::convert::Infallible;
            fn poll_frame(
                self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
                std::task::Poll::Pending
            }
        }
        let runtime = Handle::current();
        let mut incoming = Incoming { body: Body::new(Silent), piece: Bytes::new(), runtime };
        let drained = tokio::task::spawn_blocking(move || incoming.drain());
        assert!(tokio::time::timeout(DRAINING * 5, drained).await.is_ok());
    }

    #[test]
    fn credentials_come_in_any_base64() {
        for text in ["e30=", "e30", "eyJ1c2VybmFtZSI6ImEifQ==", "eyJ1c2VybmFtZSI6ImEifQ"] {
            let mut headers = HeaderMap::new();
            headers.insert("x-registry-auth", text.parse().unwrap());
            let found = credentials(&headers);
            assert_eq!(found.is_empty(), text.starts_with("e30"), "{text}: {found:?}");
        }
        assert!(credentials(&HeaderMap::new()).is_empty());
    }
}
