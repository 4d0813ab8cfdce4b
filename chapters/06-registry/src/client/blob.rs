//! A body that keeps moving: a reader that resumes where a connection broke off, and that gives up
//! on a server which only drips.

use std::io::{self, Read};
use std::thread;
use std::time::{Duration, Instant};

use ureq::BodyReader;

use super::Client;
use crate::error::{Error, Result};
use crate::manifest::Descriptor;
use crate::reference::Reference;

/// What a body must bring in each stall window. A modem does better.
const MIN_PER_WINDOW: u64 = 1 << 10;
/// Progress after which a broken connection counts as the first one again.
const REAL_PROGRESS: u64 = 1 << 20;

/// Fails a body that brings less than [`MIN_PER_WINDOW`] bytes per window.
pub(super) struct Steady<R> {
    inner: R,
    window: Duration,
    since: Instant,
    seen: u64,
}

impl<R: Read> Steady<R> {
    pub(super) fn new(inner: R, window: Duration) -> Self {
        Steady { inner, window, since: Instant::now(), seen: 0 }
    }
}

impl<R: Read> Read for Steady<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.seen += n as u64;
        if self.seen >= MIN_PER_WINDOW {
            (self.since, self.seen) = (Instant::now(), 0);
        } else if n > 0 && self.since.elapsed() > self.window {
            let why = format!(
                "the server sends less than {MIN_PER_WINDOW} bytes in {:?}: given up",
                self.window
            );
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        Ok(n)
    }
}

/// The content of a blob, straight from the registry. Not verified: that is done by whoever keeps
/// it ([`crate::Store::put_blob`]).
pub struct BlobReader<'a> {
    client: &'a Client,
    reference: Reference,
    blob: Descriptor,
    /// What was asked last.
    url: String,
    body: Option<Steady<BodyReader<'static>>>,
    /// Why there is no body.
    broke: String,
    offset: u64,
    /// Tries since the last real progress, and the offset at that time.
    tries: u32,
    mark: u64,
}

impl<'a> BlobReader<'a> {
    pub(super) fn open(
        client: &'a Client,
        reference: &Reference,
        blob: &Descriptor,
        offset: u64,
    ) -> Result<BlobReader<'a>> {
        let (reference, blob) = (reference.clone(), blob.clone());
        let (body, broke) = (None, String::new());
        let mut reader = BlobReader {
            client,
            reference,
            blob,
            url: String::new(),
            body,
            broke,
            offset,
            tries: 0,
            mark: offset,
        };
        reader.connect()?;
        Ok(reader)
    }

    /// Asks for the rest of the blob.
    fn connect(&mut self) -> Result<()> {
        let (url, response) = self.client.get_blob(&self.reference, &self.blob, self.offset)?;
        self.url.clone_from(&url);
        let length = response.body().content_length();
        let skip = if response.status().as_u16() == 206 {
            self.check_range(&url, &response)?;
            0
        } else {
            // A server that knows no ranges begins anew.
            self.offset
        };
        let expected = self.blob.size - (self.offset - skip);
        if length.is_some_and(|length| length != expected) {
            return Err(Error::WrongSize {
                what: url,
                expected,
                got: format!("the server announces {}", length.unwrap_or_default()),
            });
        }
        let body = response.into_body().into_with_config().limit(u64::MAX).reader();
        let mut body = Steady::new(body, self.client.options().stall_timeout);
        match io::copy(&mut (&mut body).take(skip), &mut io::sink()) {
            Ok(skipped) if skipped == skip => self.body = Some(body),
            Ok(_) => self.broke = "the connection ended".to_owned(),
            Err(e) => self.broke = e.to_string(),
        }
        Ok(())
    }

    fn check_range<B>(&self, url: &str, response: &ureq::http::Response<B>) -> Result<()> {
        let range = response.headers().get("content-range").and_then(|r| r.to_str().ok());
        let wanted = format!("bytes {}-", self.offset);
        if range.is_some_and(|range| range.starts_with(&wanted)) {
            return Ok(());
        }
        let why = format!("asked for bytes from {}, got Content-Range {range:?}", self.offset);
        Err(Error::Protocol { url: url.to_owned(), why })
    }

    /// After a break: waits and connects again, or gives up with what broke.
    fn again(&mut self) -> io::Result<()> {
        if self.offset - self.mark >= REAL_PROGRESS {
            self.tries = 0;
        }
        self.mark = self.offset;
        let options = self.client.options();
        if self.tries >= options.retries {
            return Err(Error::Network {
                method: "GET",
                url: self.url.clone(),
                why: format!(
                    "the body broke off after {} of {} bytes, also when asked again: {}",
                    self.offset, self.blob.size, self.broke
                ),
                remedy: "try again later".to_owned(),
            }
            .into());
        }
        thread::sleep(options.backoff * 2u32.saturating_pow(self.tries));
        self.tries += 1;
        Ok(self.connect()?)
    }
}

impl Read for BlobReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(body) = &mut self.body else {
                self.again()?;
                continue;
            };
            self.broke = match body.read(buffer) {
                Ok(0) if self.offset < self.blob.size && !buffer.is_empty() => {
                    "the connection ended".to_owned()
                }
                Ok(n) => {
                    self.offset += n as u64;
                    return Ok(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                // All is here: what breaks now does not matter.
                Err(_) if self.offset == self.blob.size => return Ok(0),
                Err(e) => e.to_string(),
            };
            self.body = None;
        }
    }
}
