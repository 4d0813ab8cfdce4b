//! A request before it travels: what is asked, with which body, and why.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use ureq::SendBody;
use ureq::http::{HeaderName, header};

use crate::error::{At, Result};
use crate::media::MediaType;

/// Is told how many bytes of a body have been sent.
pub(super) type Sent = Arc<dyn Fn(u64) + Send + Sync>;

/// What a request carries. Can be read again for a repetition.
#[derive(Clone)]
pub(super) enum Payload {
    None,
    Bytes(Arc<[u8]>),
    /// A part of a file.
    File {
        path: Arc<Path>,
        from: u64,
        length: u64,
        sent: Sent,
    },
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.length() {
            Some(length) => write!(f, "{length} bytes"),
            None => f.write_str("nothing"),
        }
    }
}

impl Payload {
    /// The bytes `data`.
    pub(super) fn bytes(data: impl AsRef<[u8]>) -> Payload {
        Payload::Bytes(data.as_ref().into())
    }

    pub(super) fn length(&self) -> Option<u64> {
        match self {
            Payload::None => None,
            Payload::Bytes(bytes) => Some(bytes.len() as u64),
            Payload::File { length, .. } => Some(*length),
        }
    }

    /// The body, from its beginning.
    pub(super) fn body(&self) -> Result<SendBody<'static>> {
        Ok(match self {
            Payload::None => SendBody::none(),
            Payload::Bytes(bytes) => {
                SendBody::from_owned_reader(io::Cursor::new(Arc::clone(bytes)))
            }
            Payload::File { path, from, length, sent } => {
                let mut file = File::open(path).at("open", path)?;
                file.seek(SeekFrom::Start(*from)).at("seek in", path)?;
                let sent = Arc::clone(sent);
                SendBody::from_owned_reader(Told { inner: file.take(*length), at: *from, sent })
            }
        })
    }
}

/// Tells how far a body has been read.
struct Told<R> {
    inner: R,
    at: u64,
    sent: Sent,
}

impl<R: Read> Read for Told<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.at += n as u64;
        (self.sent)(self.at);
        Ok(n)
    }
}

/// A request, with everything that it takes to send it again.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// `GET`, `HEAD`, `POST`, `PATCH`, `PUT`, `DELETE`.
    pub(super) method: &'static str,
    pub(super) url: String,
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) payload: Payload,
    pub(super) authorization: Option<String>,
    /// Whether the same may be sent again when no answer came. Not so for a part of an upload,
    /// before the registry was asked how much of it has arrived.
    pub(super) repeat: bool,
    /// For `explain`: why it is sent.
    pub(super) why: &'static str,
}

impl Request {
    pub(super) fn new(method: &'static str, url: String, why: &'static str) -> Request {
        let (headers, payload) = (Vec::new(), Payload::None);
        Request { method, url, headers, payload, authorization: None, repeat: true, why }
    }

    #[must_use]
    pub(super) fn header(mut self, name: HeaderName, value: impl Into<String>) -> Request {
        self.headers.push((name, value.into()));
        self
    }

    /// Accepts every kind of manifest.
    #[must_use]
    pub(super) fn accept_manifests(self) -> Request {
        self.header(header::ACCEPT, MediaType::accepted_manifests())
    }

    /// Asks for what follows after so many bytes.
    #[must_use]
    pub(super) fn from(self, offset: u64) -> Request {
        if offset == 0 { self } else { self.header(header::RANGE, format!("bytes={offset}-")) }
    }

    #[must_use]
    pub(super) fn carrying(mut self, kind: &str, payload: Payload) -> Request {
        if let Some(length) = payload.length() {
            self.headers.push((header::CONTENT_LENGTH, length.to_string()));
            self.headers.push((header::CONTENT_TYPE, kind.to_owned()));
        }
        self.payload = payload;
        self
    }
}
