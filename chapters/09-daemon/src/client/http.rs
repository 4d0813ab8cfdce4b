//! HTTP/1.1, as much of it as a client of the Engine API needs: one request after the other on a
//! connection, bodies in chunks or of a known length, and connections that are handed over.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::Arc;

use serde_json::Value;

use super::Pool;
use super::wire::Wire;
use crate::failure::{Failure, Outcome};
use crate::query::Filters;

/// The longest head of an answer.
const LONGEST_HEAD: usize = 64 << 10;
/// The longest line that says how long a chunk is.
const LONGEST_LINE: u64 = 4 << 10;
/// How much of an archive is sent as one chunk.
const CHUNK: usize = 64 << 10;
/// The largest answer that is taken as one document.
const LARGEST: u64 = 256 << 20;

/// What is asked for.
pub(super) struct Request {
    method: &'static str,
    path: String,
    query: form_urlencoded::Serializer<'static, String>,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Request {
    /// The parts of `path` are names, of which each is written so that it stays one.
    pub(super) fn new(method: &'static str, path: &[&str]) -> Request {
        let mut text = String::new();
        for part in path {
            text.push('/');
            for byte in part.bytes() {
                match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => text.push(char::from(byte)),
                    // Names of images have slashes.
                    b'-' | b'.' | b'_' | b'~' | b'/' | b':' | b'@' => text.push(char::from(byte)),
                    other => text.push_str(&format!("%{other:02X}")),
                }
            }
        }
        let query = form_urlencoded::Serializer::new(String::new());
        Request { method, path: text, query, headers: Vec::new(), body: Vec::new() }
    }

    pub(super) fn get(path: &[&str]) -> Request {
        Request::new("GET", path)
    }

    pub(super) fn post(path: &[&str]) -> Request {
        Request::new("POST", path)
    }

    pub(super) fn delete(path: &[&str]) -> Request {
        Request::new("DELETE", path)
    }

    /// A parameter; one that is empty says nothing.
    pub(super) fn with(mut self, name: &str, value: &str) -> Request {
        if !value.is_empty() {
            self.query.append_pair(name, value);
        }
        self
    }

    /// A parameter that may come several times.
    pub(super) fn each(self, name: &str, values: &[String]) -> Request {
        values.iter().fold(self, |request, value| request.with(name, value))
    }

    /// A number, where there is one.
    pub(super) fn number(self, name: &str, value: Option<impl ToString>) -> Request {
        self.with(name, &value.map_or_else(String::new, |value| value.to_string()))
    }

    /// A parameter that is said only where it is true.
    pub(super) fn flag(self, name: &str, value: bool) -> Request {
        self.with(name, if value { "1" } else { "" })
    }

    pub(super) fn filters(self, filters: &Filters) -> Request {
        if filters.is_empty() {
            return self;
        }
        let set = |values: &Vec<String>| -> Value {
            values.iter().map(|value| (value.clone(), Value::Bool(true))).collect()
        };
        let all: Value = filters.iter().map(|(name, values)| (name.clone(), set(values))).collect();
        self.with("filters", &all.to_string())
    }

    pub(super) fn header(mut self, name: &'static str, value: String) -> Request {
        self.headers.push((name, value));
        self
    }

    pub(super) fn json(mut self, body: &Value) -> Request {
        self.body = body.to_string().into_bytes();
        self.header("Content-Type", "application/json".to_owned())
    }

    /// The connection is asked for.
    pub(super) fn upgrade(self) -> Request {
        self.header("Connection", "Upgrade".to_owned()).header("Upgrade", "tcp".to_owned())
    }

    /// The head, and the body where it is no archive; `prefix` is the version.
    pub(super) fn write(
        self,
        to: &mut Wire,
        prefix: &str,
        host: &str,
        chunked: bool,
    ) -> io::Result<()> {
        let Request { method, path, mut query, headers, body } = self;
        let query = query.finish();
        let mark = if query.is_empty() { "" } else { "?" };
        let mut text = format!(
            "{method} {prefix}{path}{mark}{query} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: corten/{}\r\n",
            env!("CARGO_PKG_VERSION")
        );
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        match chunked {
            true => text.push_str("Transfer-Encoding: chunked\r\n"),
            false if method == "GET" || method == "HEAD" => {}
            false => text.push_str(&format!("Content-Length: {}\r\n", body.len())),
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&body);
        to.write_all(&bytes)
    }
}

// ANCHOR: chunks
/// Sends what `from` gives in chunks. Without the last one nobody takes it for whole.
pub(super) fn send_chunks(from: &mut dyn Read, to: &mut Wire) -> Result<(), Broken> {
    let mut piece = vec![0; CHUNK];
    loop {
        let length = match from.read(&mut piece) {
            Err(why) if why.kind() == io::ErrorKind::Interrupted => continue,
            other => other.map_err(Broken::Source)?,
        };
        let mut chunk = format!("{length:x}\r\n").into_bytes();
        chunk.extend_from_slice(piece.get(..length).unwrap_or_default());
        chunk.extend_from_slice(b"\r\n");
        to.write_all(&chunk).map_err(|_| Broken::Wire)?;
        if length == 0 {
            return Ok(());
        }
    }
}
// ANCHOR_END: chunks

/// What has kept an archive from being sent.
#[derive(Debug)]
pub(super) enum Broken {
    /// It could not be read.
    Source(io::Error),
    /// The daemon took no more: it has something to say, or is gone.
    Wire,
}

/// How long a body is.
#[derive(Debug)]
enum Length {
    /// So many bytes are left.
    Known(u64),
    /// In chunks; so many bytes are left of this one, which is the first or not.
    Chunks { left: u64, first: bool },
    /// Until the connection ends.
    Open,
    /// All has been read.
    Over,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Incoming,
}

/// The body of an answer. When all of it has been read the connection is free for the next request.
#[derive(Debug)]
pub(super) struct Incoming {
    wire: Option<BufReader<Wire>>,
    length: Length,
    home: Option<Arc<Pool>>,
}

impl Answer {
    /// Reads the head of an answer; `home` is where its connection belongs afterwards.
    pub(super) fn read(
        mut wire: Wire,
        is_head: bool,
        home: Option<Arc<Pool>>,
    ) -> io::Result<Answer> {
        let (status, headers) = loop {
            let head = wire.read_head(LONGEST_HEAD)?;
            let (status, headers) = parse(&head)?;
            // 100 Continue and its like; a 101 is an answer.
            if status >= 200 || status == 101 {
                break (status, headers);
            }
        };
        let mut answer = Answer {
            status,
            headers,
            body: Incoming { wire: None, length: Length::Over, home: None },
        };
        let has = |name: &str, what: &str| {
            answer.header(name).is_some_and(|text| text.to_ascii_lowercase().contains(what))
        };
        let length = match () {
            () if status == 101 => Length::Open,
            () if is_head || status == 204 || status == 304 => Length::Over,
            () if has("transfer-encoding", "chunked") => Length::Chunks { left: 0, first: true },
            () => match answer.header("content-length").map(str::parse) {
                None => Length::Open,
                Some(Ok(0)) => Length::Over,
                Some(Ok(length)) => Length::Known(length),
                Some(Err(_)) => return Err(malformed("its length is no number")),
            },
        };
        let home = home.filter(|_| !has("connection", "close"));
        answer.body = Incoming { wire: Some(BufReader::new(wire)), length, home };
        answer.body.settle();
        Ok(answer)
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The answer, where it is no refusal.
    pub(super) fn fine(mut self) -> Outcome<Answer> {
        if self.status < 300 || self.status == 304 {
            return Ok(self);
        }
        let mut text = Vec::new();
        let read = (&mut self.body).take(1 << 20).read_to_end(&mut text);
        let text = String::from_utf8_lossy(&text).trim().to_owned();
        let message = serde_json::from_str::<Value>(&text)
            .ok()
            .and_then(|value| Some(value.get("message")?.as_str()?.to_owned()));
        let bare = match (text.as_str(), read) {
            ("", Err(why)) => format!("the daemon answers {}: {why}", self.status),
            ("", Ok(_)) => format!("the daemon answers {}", self.status),
            (text, _) => text.to_owned(),
        };
        // A redirection says that there is no such path.
        let status = if self.status < 400 { 404 } else { self.status };
        Err(Failure::new(status, message.unwrap_or(bare)))
    }

    /// All of it as text.
    pub(super) fn text(mut self) -> Outcome<String> {
        let mut text = String::new();
        let read = (&mut self.body).take(LARGEST).read_to_string(&mut text);
        read.map_err(|why| broken(&why))?;
        Ok(text)
    }

    /// All of it as one JSON document; null where there is nothing.
    pub(super) fn value(self) -> Outcome<Value> {
        let text = self.text()?;
        if text.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text)
            .map_err(|why| Failure::new(502, format!("the daemon's answer is no JSON: {why}")))
    }

    /// The connection itself.
    pub(super) fn into_wire(self) -> Option<Wire> {
        // Nothing was read beyond the head.
        self.body.wire.map(BufReader::into_inner)
    }
}

/// What is said when the daemon is gone in the middle.
pub(super) fn broken(why: &io::Error) -> Failure {
    Failure::new(502, format!("the daemon's answer broke off: {why}"))
}

fn malformed(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the answer is no HTTP: {why}"))
}

fn parse(head: &[u8]) -> io::Result<(u16, Vec<(String, String)>)> {
    let mut headers = [httparse::EMPTY_HEADER; 100];
    let mut answer = httparse::Response::new(&mut headers);
    answer.parse(head).map_err(|why| malformed(&why.to_string()))?;
    let status = answer.code.ok_or_else(|| malformed("it has no status"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let all = answer.headers.iter();
    Ok((status, all.map(|header| (header.name.to_owned(), text(header.value))).collect()))
}

impl Incoming {
    // ANCHOR: settle
    /// Gives the connection back when nothing of this answer is left in it.
    fn settle(&mut self) {
        if !matches!(self.length, Length::Over) {
            return;
        }
        if let (Some(home), Some(wire)) = (self.home.take(), self.wire.take())
            && wire.buffer().is_empty()
        {
            home.put(wire.into_inner());
        }
    }
    // ANCHOR_END: settle

    /// Reads the line that says how long the next chunk is; after the last one there is nothing.
    fn next_chunk(&mut self, first: bool) -> io::Result<Length> {
        let wire = self.wire.as_mut().ok_or_else(|| malformed("it has ended"))?;
        if !first && !line(wire)?.is_empty() {
            return Err(malformed("a chunk is longer than it says"));
        }
        let text = line(wire)?;
        let digits = text.split(';').next().unwrap_or_default().trim();
        let left = u64::from_str_radix(digits, 16)
            .map_err(|_| malformed("the length of a chunk is no number"))?;
        if left > 0 {
            return Ok(Length::Chunks { left, first: false });
        }
        // Headers may follow, which say nothing to us.
        for _ in 0..100 {
            if line(wire)?.is_empty() {
                return Ok(Length::Over);
            }
        }
        Err(malformed("it has no end"))
    }
}

fn line(wire: &mut BufReader<Wire>) -> io::Result<String> {
    let mut text = Vec::new();
    wire.take(LONGEST_LINE).read_until(b'\n', &mut text)?;
    match text.strip_suffix(b"\r\n").or_else(|| text.strip_suffix(b"\n")) {
        Some(line) => Ok(String::from_utf8_lossy(line).into_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if let Length::Chunks { left: 0, first } = self.length {
            self.length = self.next_chunk(first)?;
            self.settle();
        }
        let left = match self.length {
            Length::Over => return Ok(0),
            Length::Open => u64::MAX,
            Length::Known(left) | Length::Chunks { left, .. } => left,
        };
        let Some(wire) = &mut self.wire else { return Ok(0) };
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let length = wire.read(buffer.get_mut(..room).unwrap_or_default())?;
        match &mut self.length {
            Length::Open | Length::Over => {}
            // What was cut off does not look whole.
            _ if length == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            Length::Known(left) => {
                *left -= length as u64;
                if *left == 0 {
                    self.length = Length::Over;
                    self.settle();
                }
            }
            Length::Chunks { left, .. } => *left -= length as u64,
        }
        Ok(length)
    }
}
