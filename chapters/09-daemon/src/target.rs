//! Request lines as people write them.
//!
//! `curl 'http://d/containers/json?filters={"name":["web"]}'` sends the quotes as they are. Go's server takes
//! that, and hyper refuses it before any of us sees it. So what is no URI is written as one while it is
//! read, in the line that begins a request and nowhere else.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::answer::guarded;
use crate::connection::Connection;

/// Whether what comes next begins a request.
#[derive(Debug, Clone)]
pub(crate) struct Turn(Arc<AtomicBool>);

impl Turn {
    /// A connection's: a request comes first.
    pub fn new() -> Turn {
        Turn(Arc::new(AtomicBool::new(true)))
    }

    /// A request has come; its body is next, and then another request.
    pub fn body(&self, body: Body) -> Body {
        self.0.store(false, Ordering::Relaxed);
        guarded(body, Over(self.clone()))
    }
}

/// Whoever has it, has the body that the client is sending.
struct Over(Turn);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// A client, whose requests are read.
#[derive(Debug)]
pub(crate) struct Client {
    connection: Connection,
    turn: Turn,
    /// What has grown beyond the reader's buffer.
    more: Bytes,
}

impl Client {
    pub fn new(connection: Connection, turn: Turn) -> Client {
        Client { connection, turn, more: Bytes::new() }
    }

    /// The connection, and what was read of it after `early`.
    pub fn into_parts(self, early: Bytes) -> (Connection, Bytes) {
        match self.more.is_empty() {
            true => (self.connection, early),
            false => (self.connection, [early, self.more].concat().into()),
        }
    }
}

impl AsyncRead for Client {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let own = self.get_mut();
        let before = buffer.filled().len();
        if own.more.is_empty() {
            ready!(Pin::new(&mut own.connection).poll_read(context, buffer))?;
            let new = buffer.filled().get(before..).unwrap_or_default();
            match own.turn.0.load(Ordering::Relaxed).then(|| written_as_uri(new)).flatten() {
                None => return Poll::Ready(Ok(())),
                Some(line) => own.more = line.into(),
            }
            buffer.set_filled(before);
        }
        let length = own.more.len().min(buffer.remaining());
        buffer.put_slice(own.more.get(..length).unwrap_or_default());
        own.more.advance(length);
        Poll::Ready(Ok(()))
    }
}

/// A request whose target has characters that no URI has, with those written as `%22` and the like;
/// `None` where there is nothing to be done.
fn written_as_uri(request: &[u8]) -> Option<Vec<u8>> {
    let end = request.iter().position(|&byte| byte == b'\r')?;
    let (line, rest) = request.split_at(end);
    let method = line.iter().position(|&byte| byte == b' ')?;
    let version = line.iter().rposition(|&byte| byte == b' ')?;
    let target = line.get(method + 1..version)?;
    let is_odd = |byte: &u8| b"\"<>\\^`{|}".contains(byte);
    let is_request = line[..method].iter().all(u8::is_ascii_uppercase)
        && target.starts_with(b"/")
        && line[version..].starts_with(b" HTTP/1.");
    if !is_request || !target.iter().any(is_odd) {
        return None;
    }
    let mut written = line[..=method].to_vec();
    for byte in target {
        match is_odd(byte) {
            true => written.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            false => written.push(*byte),
        }
    }
    written.extend_from_slice(&line[version..]);
    written.extend_from_slice(rest);
    Some(written)
}

impl AsyncWrite for Client {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().connection).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().connection).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().connection).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().connection).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_uri_is_written_as_one_and_the_rest_is_left_alone() {
        let written = |text: &str| written_as_uri(text.as_bytes());
        let odd = "GET /images/json?filters={\"a\":[\"<b>\"]} HTTP/1.1\r\nX: \"y\"\r\n\r\n{\"z\"}";
        let usual = "GET /images/json?filters=%7B%22a%22:[%22%3Cb%3E%22]%7D HTTP/1.1\r\nX: \"y\"\r\n\r\n\
                     {\"z\"}";
        assert_eq!(written(odd).unwrap(), usual.as_bytes());
        for other in
            [usual, "{\"a\": 1} HTTP/1.1\r\n", "GET x\"y HTTP/1.1\r\n", "GET /\"\r\n", "\r\n", ""]
        {
            assert_eq!(written(other), None, "{other}");
        }
    }
}
