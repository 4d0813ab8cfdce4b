//! The client of the distribution protocol: `GET /v2/NAME/manifests/REF`, `GET /v2/NAME/blobs/DIGEST`
//! and their counterparts that write.
//!
//! ```text
//! request    what is asked, and with which body
//! session    which server is asked, and by what right ── auth, credentials; hosts: mirrors
//! transport  how it travels: TLS, redirects, repetition ── trust: certificates, proxies
//! blob       a body that comes, kept moving and resumed
//! upload     a body that goes: whole, in parts, resumed, or mounted
//! listing    tags, catalog, removal
//! referrers  what refers to an image
//! refusal    a registry's no, in words that help
//! ```

use std::collections::HashMap;
use std::fmt;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ureq::Body;
use ureq::http::{Response, header};

use crate::digest::{Digest, VerifyingReader};
use crate::error::{Error, Result};
use crate::manifest::{Descriptor, Document, ImageConfig, MAX_CONFIG, MAX_MANIFEST, Manifest};
use crate::media::MediaType;
use crate::reference::Reference;

mod auth;
mod blob;
mod credentials;
mod hosts;
mod listing;
pub mod login;
mod referrers;
mod refusal;
mod request;
mod session;
mod transport;
mod trust;
mod upload;
mod url;

pub use blob::BlobReader;
use blob::Steady;
pub use credentials::Credentials;
pub use hosts::REGISTRIES_FILE;
pub use listing::MAX_NAMES;
pub use referrers::Referrer;
use request::Request;
use transport::Transport;
pub use upload::{Content, Pushed, Upload};

/// The largest answer of a token server that is read.
const MAX_TOKEN: u64 = 1 << 20;
/// Where images of `docker.io` really are.
const DOCKER_HUB: &str = "registry-1.docker.io";
/// Where Docker Hub is searched.
const DOCKER_INDEX: &str = "index.docker.io";

/// Settings of a [`Client`]. `Default` gives what Docker does.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Hosts (`host` or `host:port`) that may be spoken to without a verified certificate or TLS.
    pub insecure: Vec<String>,
    /// Whether loopback hosts count as insecure, as for Docker.
    pub loopback_is_insecure: bool,
    /// Mirrors of a registry (`docker.io`), asked before it, as URLs.
    pub mirrors: HashMap<String, Vec<String>>,
    /// The proxy for every host; `None` takes what `HTTPS_PROXY` and `NO_PROXY` say, for hosts other
    /// than loopback.
    pub proxy: Option<String>,
    /// PEM files with further certificate authorities, for every host.
    pub ca_files: Vec<PathBuf>,
    /// Directory with `HOST/ca.crt` files: /etc/docker/certs.d.
    pub certs_dir: PathBuf,
    /// Docker's config.json with credentials; `None` reads no credentials.
    pub docker_config: Option<PathBuf>,
    /// Credentials for one registry, by its domain; for it no file is looked at.
    pub credentials: Option<(String, Credentials)>,
    /// Where credential helpers are looked for before PATH.
    pub credential_helpers: Option<PathBuf>,
    /// Limit for a connection to be made.
    pub connect_timeout: Duration,
    /// Limit for the beginning of an answer, and window in which a body must make progress.
    pub stall_timeout: Duration,
    /// How often a request that is worth it is repeated.
    pub retries: u32,
    /// Wait before the first repetition; doubled each time.
    pub backoff: Duration,
    /// How many layers travel at the same time.
    pub concurrency: usize,
    /// The largest part in which a layer is uploaded: what is lost at most when a connection breaks.
    pub chunk: u64,
}

impl Default for ClientOptions {
    fn default() -> Self {
        ClientOptions {
            insecure: Vec::new(),
            mirrors: HashMap::new(),
            proxy: None,
            loopback_is_insecure: true,
            ca_files: Vec::new(),
            certs_dir: PathBuf::from("/etc/docker/certs.d"),
            docker_config: credentials::default_config(),
            credentials: None,
            credential_helpers: None,
            connect_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(30),
            retries: 4,
            backoff: Duration::from_millis(250),
            concurrency: 3,
            chunk: 64 << 20,
        }
    }
}

/// A request that was made, for those who want to see the protocol.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// `GET` or `HEAD`.
    pub method: &'a str,
    /// The full URL.
    pub url: &'a str,
    /// The status; `None` where no answer came.
    pub status: Option<u16>,
    /// The kind of authorization that was sent: `Basic`, `Bearer`.
    pub authorization: Option<&'a str>,
    /// Why the request was made.
    pub why: &'static str,
}

/// Is told every request.
pub type Trace = Arc<dyn Fn(&Exchange<'_>) + Send + Sync>;

/// A manifest or index as a registry gave it, verified.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The parsed document.
    pub document: Document,
    /// The digest of its bytes.
    pub digest: Digest,
}

/// A client of the distribution protocol, for any number of registries. It can be shared by
/// threads; connections and tokens are kept between requests.
pub struct Client {
    transport: Transport,
    /// The Authorization header that worked last, by server and scope.
    authorizations: Mutex<HashMap<(String, String), String>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("options", self.options()).finish_non_exhaustive()
    }
}

impl Client {
    /// A client; nothing is sent or read yet.
    pub fn new(options: ClientOptions) -> Client {
        Client { transport: Transport::new(options, None), authorizations: Mutex::default() }
    }

    /// The same, and `trace` is told every request.
    pub fn with_trace(options: ClientOptions, trace: Trace) -> Client {
        Client { transport: Transport::new(options, Some(trace)), authorizations: Mutex::default() }
    }

    /// The settings.
    pub fn options(&self) -> &ClientOptions {
        self.transport.options()
    }

    /// The digest that the registry has for a name, without the manifest itself; `None` where the
    /// registry does not tell it (the header is optional).
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Network`], [`Error::Protocol`].
    pub fn digest(&self, reference: &Reference) -> Result<Option<Digest>> {
        let why = "which digest stands behind the name now";
        let (_, response) =
            self.read(reference, &format!("manifests/{}", reference.selector()), |url| {
                Request::new("HEAD", url, why).accept_manifests()
            })?;
        Ok(content_digest(&response))
    }

    /// The manifest or index behind a name.
    ///
    /// # Errors
    /// As for [`Client::digest`]; [`Error::TooLarge`], [`Error::WrongDigest`], and what
    /// [`Document::parse`] finds wrong.
    pub fn manifest(&self, reference: &Reference) -> Result<Fetched> {
        let why = "what stands behind the name: a manifest, or an index of them";
        self.fetch_manifest(reference, None, why)
    }

    /// The manifest that an index names.
    ///
    /// # Errors
    /// As for [`Client::manifest`].
    pub fn manifest_of(&self, reference: &Reference, chosen: &Descriptor) -> Result<Fetched> {
        let reference = reference.with_digest(chosen.digest.clone());
        let why = "the manifest for our platform, which the index named";
        self.fetch_manifest(&reference, Some(chosen), why)
    }

    fn fetch_manifest(
        &self,
        reference: &Reference,
        chosen: Option<&Descriptor>,
        why: &'static str,
    ) -> Result<Fetched> {
        let (url, response) =
            self.read(reference, &format!("manifests/{}", reference.selector()), |url| {
                Request::new("GET", url, why).accept_manifests()
            })?;
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|t| t.to_str().ok());
        let kind = MediaType::parse(kind.unwrap_or_default());
        let promised = content_digest(&response);
        let limit = chosen.map_or(MAX_MANIFEST, |chosen| chosen.size.min(MAX_MANIFEST));
        let raw = self.read_all("GET", &url, response, limit)?;

        if let Some(chosen) = chosen
            && raw.len() as u64 != chosen.size
        {
            let got = format!("ended after {} bytes", raw.len());
            return Err(Error::WrongSize { what: url, expected: chosen.size, got });
        }
        // What was asked for by digest must have it; for a tag, the registry's own word counts.
        let expected = reference.digest().cloned().or(promised);
        let mut hasher =
            expected.as_ref().map_or(crate::digest::Algorithm::Sha256, Digest::algorithm).hasher();
        hasher.update(&raw);
        let digest = hasher.finish();
        if let Some(expected) = expected
            && expected != digest
        {
            return Err(Error::WrongDigest { what: url, expected, got: digest });
        }
        let kind = chosen.map_or(kind, |chosen| chosen.media_type.clone());
        Ok(Fetched { document: Document::parse(&url, &kind, raw)?, digest })
    }

    /// The bytes of a manifest of any kind, and its URL; `None` where there is none. For what is no
    /// image: a signature.
    pub(crate) fn raw_manifest(
        &self,
        reference: &Reference,
        why: &'static str,
    ) -> Result<Option<(String, Vec<u8>)>> {
        let rest = format!("manifests/{}", reference.selector());
        let ask = |url| Request::new("GET", url, why).accept_manifests();
        match self.read(reference, &rest, ask) {
            Ok((url, response)) => {
                let raw = self.read_all("GET", &url, response, MAX_MANIFEST)?;
                Ok(Some((url, raw)))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The content of a small blob, verified.
    pub(crate) fn small_blob(&self, reference: &Reference, blob: &Descriptor) -> Result<Vec<u8>> {
        let what = format!("blob {}", blob.digest);
        let mut raw = Vec::new();
        let reader = self.blob(reference, blob)?;
        VerifyingReader::new(reader, what.as_str(), &blob.digest, blob.size)
            .read_to_end(&mut raw)
            .map_err(|e| Error::from_io(e, "read", what.as_ref()))?;
        Ok(raw)
    }

    /// The content of a blob, unverified, as a stream that survives broken connections.
    ///
    /// # Errors
    /// As for [`Client::digest`], and [`Error::WrongSize`] where the server announces another size.
    pub fn blob(&self, reference: &Reference, blob: &Descriptor) -> Result<BlobReader<'_>> {
        BlobReader::open(self, reference, blob, 0)
    }

    /// The same from a byte on, for what is here in part. A server that knows no ranges is read from
    /// the beginning, and what is not wanted passed over.
    ///
    /// # Errors
    /// As for [`Client::blob`].
    pub fn blob_from(
        &self,
        reference: &Reference,
        blob: &Descriptor,
        offset: u64,
    ) -> Result<BlobReader<'_>> {
        BlobReader::open(self, reference, blob, offset)
    }

    /// The image configuration of a manifest, verified, kept nowhere.
    ///
    /// # Errors
    /// As for [`Client::blob`], and [`Error::WrongDigest`], [`Error::Malformed`].
    pub fn config(&self, reference: &Reference, manifest: &Manifest) -> Result<ImageConfig> {
        let blob = &manifest.config;
        check_config_size(blob)?;
        let what = format!("configuration {}", blob.digest);
        ImageConfig::parse(&what, self.small_blob(reference, blob)?)
    }

    fn get_blob(
        &self,
        reference: &Reference,
        blob: &Descriptor,
        from: u64,
    ) -> Result<(String, Response<Body>)> {
        let why = match (from, blob.media_type.is_config()) {
            (0, true) => "the image configuration: what to run, and the layers' plain digests",
            (0, false) => "a layer",
            _ => "the rest of it, for it is here in part",
        };
        self.read(reference, &format!("blobs/{}", blob.digest), |url| {
            Request::new("GET", url, why).from(from)
        })
    }

    /// Reads a small body.
    fn read_all(
        &self,
        method: &'static str,
        url: &str,
        response: Response<Body>,
        limit: u64,
    ) -> Result<Vec<u8>> {
        let too_large = || Error::TooLarge { what: url.to_owned(), limit };
        let announced = response.body().content_length();
        if announced.is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let body = response.into_body().into_with_config().limit(u64::MAX).reader();
        let mut bytes = Vec::new();
        let read = Steady::new(body, self.options().stall_timeout)
            .take(limit.saturating_add(1))
            .read_to_end(&mut bytes);
        read.map_err(|e| Error::Network {
            method,
            url: url.to_owned(),
            why: format!("the body broke off after {} bytes: {e}", bytes.len()),
            remedy: "try again".to_owned(),
        })?;
        if bytes.len() as u64 > limit { Err(too_large()) } else { Ok(bytes) }
    }
}

/// Refuses a configuration that would not fit in memory.
pub(crate) fn check_config_size(config: &Descriptor) -> Result<()> {
    if config.size <= MAX_CONFIG {
        return Ok(());
    }
    Err(Error::TooLarge { what: format!("configuration {}", config.digest), limit: MAX_CONFIG })
}

fn content_digest(response: &Response<Body>) -> Option<Digest> {
    response.headers().get("docker-content-digest")?.to_str().ok()?.parse().ok()
}
