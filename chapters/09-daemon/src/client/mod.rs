//! The other end of the wire: a daemon elsewhere, seen as what it is for its own routes, a
//! [`Backend`](crate::backend::Backend).
//!
//! ```text
//! a command ──▶ Backend ──▶ http ──▶ wire ──▶ unix, tcp
//!               (one file for each          ├▶ tls      a thread
//!                group of operations)       └▶ ssh      a process
//! ```
//!
//! Whoever has a [`Remote`] need not know that it is none of its own process; and the routes in front of
//! a `Remote` make a proxy, by which the tests hold each operation's two ends together.
//!
//! It blocks, as backends may, and needs no runtime: a command line asks one thing after the other. What
//! lasts (streams of figures, logs that are followed) is read by a thread, which ends with what it reads,
//! or with the next piece after nobody wants any.

mod build;
mod containers;
mod exec;
mod http;
mod images;
mod networks;
mod place;
mod system;
mod tls;
mod volumes;
mod wire;

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use bytes::Bytes;
use nix::sys::socket::Shutdown;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::backend::{Credentials, Download, Feed, Sink, Upload};
use crate::error::{Error, Result};
use crate::failure::{Failure, Outcome};
use crate::version::{NEWEST, OLDEST, Version};
use http::{Answer, Broken, Incoming, Request, broken, send_chunks};
pub use place::{Place, Ssh};
pub use tls::ClientFiles;
use wire::Wire;

/// How many pieces may wait for whoever wants them.
const AHEAD: usize = 16;

/// A daemon elsewhere.
#[derive(Debug)]
pub struct Remote {
    place: Place,
    tls: Option<tls::Client>,
    version: Version,
    pool: Arc<Pool>,
}

/// A connection that is free. By ssh a new one takes a second.
#[derive(Debug, Default)]
struct Pool(Mutex<Option<Wire>>);

impl Pool {
    fn put(&self, wire: Wire) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(wire);
    }

    /// A connection on which the daemon has not hung up.
    fn take(&self) -> Option<Wire> {
        let free = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        free.filter(Wire::is_quiet)
    }
}

impl Remote {
    // ANCHOR: connect
    /// Connects, and agrees on a version: the newest that both know.
    ///
    /// # Errors
    /// [`Error::Connect`] where nobody answers, [`Error::Tls`] and [`Error::Invalid`] for certificates
    /// that are none.
    pub fn connect(place: Place, tls: Option<&ClientFiles>) -> Result<Remote> {
        let tls =
            tls.filter(|_| matches!(place, Place::Tcp(..))).map(ClientFiles::read).transpose()?;
        let mut remote = Remote { place, tls, version: OLDEST, pool: Arc::default() };
        let ping = remote.ping().map_err(|source| remote.unreachable(source))?;
        let told = ping.header("api-version").and_then(|text| text.parse().ok());
        let ping = ping.fine().and_then(Answer::text);
        ping.map_err(|why| remote.unreachable(io::Error::other(why.message)))?;
        // A daemon that does not say it is from before 1.24, or none.
        let theirs: Version = told.unwrap_or(Version(1, 23));
        if theirs < OLDEST {
            let why =
                format!("its API {theirs} is older than {OLDEST}, the oldest that is spoken here");
            return Err(remote.unreachable(io::Error::other(why)));
        }
        remote.version = theirs.min(NEWEST);
        Ok(remote)
    }
    // ANCHOR_END: connect

    /// Connects to the place and lets the bytes pass both ways: for `system dial-stdio`. It ends when the
    /// daemon does.
    ///
    /// # Errors
    /// [`Error::Connect`].
    pub fn relay(place: Place, tls: Option<&ClientFiles>) -> Result<()> {
        let tls = tls.map(ClientFiles::read).transpose()?;
        let unreachable = |source| Error::Connect { at: place.to_string(), source };
        let mut wire = Wire::dial(&place, tls.as_ref()).map_err(unreachable)?;
        let mut to = wire.try_clone().map_err(unreachable)?;
        let pass = move || {
            let _ = io::copy(&mut io::stdin().lock(), &mut to);
            to.shutdown(Shutdown::Write);
        };
        std::thread::Builder::new().name("input".into()).spawn(pass).map_err(unreachable)?;
        // Who reads us no more has left, as the daemon may have.
        let _ = pour(&mut wire, &mut io::stdout().lock());
        Ok(())
    }

    /// Speaks this version, whatever the daemon has said: it refuses one that it does not know.
    #[must_use]
    pub fn speaking(mut self, version: Version) -> Remote {
        self.version = version;
        self
    }

    /// The version that is spoken.
    pub fn api_version(&self) -> Version {
        self.version
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    fn ping(&self) -> io::Result<Answer> {
        let mut wire = Wire::dial(&self.place, self.tls.as_ref())?;
        let host = self.place.host(self.tls.is_some());
        Request::get(&["_ping"]).write(&mut wire, "", &host, false)?;
        Answer::read(wire, false, Some(Arc::clone(&self.pool)))
    }

    fn unreachable(&self, source: io::Error) -> Error {
        Error::Connect { at: self.place.to_string(), source }
    }

    /// Sends the head of a request; gives the connection.
    fn begin(&self, request: Request, chunked: bool) -> Outcome<Wire> {
        let lost = |why: io::Error| Failure::new(502, self.unreachable(why).to_string());
        let mut wire = match self.pool.take() {
            Some(wire) => wire,
            None => Wire::dial(&self.place, self.tls.as_ref()).map_err(lost)?,
        };
        let (version, host) = (format!("/v{}", self.version), self.place.host(self.tls.is_some()));
        request.write(&mut wire, &version, &host, chunked).map_err(lost)?;
        Ok(wire)
    }

    /// Asks; a refusal is an error.
    fn ask(&self, request: Request) -> Outcome<Answer> {
        let wire = self.begin(request, false)?;
        Answer::read(wire, false, Some(Arc::clone(&self.pool))).map_err(|why| broken(&why))?.fine()
    }

    /// Asks for the head of an answer alone.
    fn head(&self, request: Request) -> Outcome<Answer> {
        let wire = self.begin(request, false)?;
        Answer::read(wire, true, Some(Arc::clone(&self.pool))).map_err(|why| broken(&why))?.fine()
    }

    /// Asks for a JSON document.
    fn value(&self, request: Request) -> Outcome<Value> {
        self.ask(request)?.value()
    }

    /// Asks for something to be done; tells whether that was needed.
    fn done(&self, request: Request) -> Outcome<bool> {
        let answer = self.ask(request)?;
        let changed = answer.status != 304;
        answer.text()?;
        Ok(changed)
    }

    // ANCHOR: upload
    /// Sends an archive while the answer is already being read: a daemon that refuses says so before the
    /// end, and one that tells its progress would wait for us to hear it.
    fn send<T>(
        &self,
        request: Request,
        archive: Upload<'_>,
        take: impl FnOnce(Answer) -> Outcome<T>,
    ) -> Outcome<T> {
        let wire = self.begin(request, true)?;
        let lost = |why: io::Error| broken(&why);
        let (mut to, end) = (wire.try_clone().map_err(lost)?, wire.try_clone().map_err(lost)?);
        std::thread::scope(|scope| {
            let sent = scope.spawn(move || {
                let sent = send_chunks(archive, &mut to);
                if matches!(sent, Err(Broken::Source(_))) {
                    to.shutdown(Shutdown::Both);
                }
                sent
            });
            let answer = Answer::read(wire, false, None).map_err(lost).and_then(Answer::fine);
            let taken = answer.and_then(take);
            // Whatever is not sent by now is not wanted.
            end.shutdown(Shutdown::Both);
            match sent.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
                Err(Broken::Source(why)) => {
                    Err(Failure::invalid(format!("read what shall be sent: {why}")))
                }
                // Why the daemon took no more is what it has answered.
                Ok(()) | Err(Broken::Wire) => taken,
            }
        })
    }
    // ANCHOR_END: upload

    /// Asks for the connection itself.
    fn hijack(&self, request: Request) -> Outcome<std::os::fd::OwnedFd> {
        let wire = self.begin(request.upgrade(), false)?;
        let answer = Answer::read(wire, false, None).map_err(|why| broken(&why))?.fine()?;
        let wire = answer.into_wire();
        wire.map(Wire::into_fd).ok_or_else(|| Failure::new(502, "the daemon kept the connection"))
    }
}

/// Copies piece by piece, each as soon as it has come.
fn pour(from: &mut dyn Read, to: &mut dyn io::Write) -> io::Result<()> {
    let mut piece = vec![0; 64 << 10];
    loop {
        match from.read(&mut piece) {
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            other => match other? {
                0 => return Ok(()),
                length => {
                    to.write_all(piece.get(..length).unwrap_or_default())?;
                    to.flush()?;
                }
            },
        }
    }
}

/// An archive that is being answered.
fn download(mut body: Incoming) -> Download {
    Box::new(move |to| {
        let mut piece = vec![0; 64 << 10];
        loop {
            let length = match body.read(&mut piece) {
                Err(why) if why.kind() == io::ErrorKind::Interrupted => continue,
                other => other.map_err(|why| broken(&why))?,
            };
            if length == 0 {
                return Ok(());
            }
            let written = to.write_all(piece.get(..length).unwrap_or_default());
            written.map_err(|why| Failure::internal(format!("write what has come: {why}")))?;
        }
    })
}

/// A thread of its own for what lasts.
fn apart(work: impl FnOnce() + Send + 'static) -> Outcome<()> {
    let started = std::thread::Builder::new().name("answer".into()).spawn(work);
    started.map(drop).map_err(|why| Failure::internal(format!("start a thread: {why}")))
}

/// The pieces of an answer, as they come.
fn feed(mut body: Incoming) -> Outcome<Feed> {
    let (pieces, feed) = mpsc::channel(AHEAD);
    apart(move || {
        let mut piece = vec![0; 32 << 10];
        loop {
            let next = match body.read(&mut piece) {
                Ok(0) => return,
                Ok(length) => Ok(Bytes::copy_from_slice(piece.get(..length).unwrap_or_default())),
                Err(why) => Err(why),
            };
            let is_last = next.is_err();
            if pieces.blocking_send(next).is_err() || is_last {
                return;
            }
        }
    })?;
    Ok(feed)
}

/// Passes lines of progress on. An error among them is the outcome.
fn progress(body: Incoming, sink: Sink<'_>) -> Outcome<()> {
    let lines =
        serde_json::Deserializer::from_reader(io::BufReader::new(body)).into_iter::<Value>();
    for line in lines {
        let line = line.map_err(|why| broken(&why.into()))?;
        let told = line["errorDetail"]["message"].as_str().or_else(|| line["error"].as_str());
        if let Some(message) = told {
            return Err(Failure::internal(message));
        }
        sink(line);
    }
    Ok(())
}

/// A list, for which Go may write null.
fn list(value: Value) -> Outcome<Vec<Value>> {
    match value {
        Value::Array(list) => Ok(list),
        Value::Null => Ok(Vec::new()),
        _ => Err(Failure::new(502, "the daemon's answer is no list")),
    }
}

/// A list of strings in an answer.
fn texts(value: &Value) -> Vec<String> {
    let list = value.as_array().into_iter().flatten();
    list.filter_map(|text| Some(text.as_str()?.to_owned())).collect()
}

/// What was freed.
fn freed(value: &Value) -> u64 {
    value["SpaceReclaimed"].as_u64().unwrap_or(0)
}

/// `X-Registry-Auth`.
fn credentials(given: &Credentials) -> String {
    encode(&shown(given))
}

fn encode(value: &Value) -> String {
    base64::engine::general_purpose::URL_SAFE.encode(value.to_string())
}

/// Credentials as clients write them, without what they do not say.
fn shown(given: &Credentials) -> Value {
    let Credentials { username, password, serveraddress, identitytoken, registrytoken } = given;
    let fields = [
        ("username", username),
        ("password", password),
        ("serveraddress", serveraddress),
        ("identitytoken", identitytoken),
        ("registrytoken", registrytoken),
    ];
    let said = fields.into_iter().filter(|(_, text)| !text.is_empty());
    said.map(|(name, text)| (name.to_owned(), Value::from(text.as_str()))).collect()
}
