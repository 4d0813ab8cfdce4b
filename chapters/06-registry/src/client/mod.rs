//! The client of the distribution protocol: `GET /v2/NAME/manifests/REF`, `GET /v2/NAME/blobs/DIGEST`.
//!
//! `transport` decides how a request travels, `auth` who we are, `blob` keeps a body moving, and
//! `refusal` puts a registry's no into words that help.

use std::fmt;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
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
mod refusal;
mod transport;

pub use blob::BlobReader;
use blob::Steady;
use transport::{Request, Transport};

/// The largest answer of a token server that is read.
const MAX_TOKEN: u64 = 1 << 20;
/// Where images of `docker.io` really are.
const DOCKER_HUB: &str = "registry-1.docker.io";

/// Settings of a [`Client`]. `Default` gives what Docker does.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Hosts (`host` or `host:port`) that may be spoken to without a verified certificate or TLS.
    pub insecure: Vec<String>,
    /// Whether loopback hosts count as insecure, as for Docker.
    pub loopback_is_insecure: bool,
    /// PEM files with further certificate authorities, for every host.
    pub ca_files: Vec<PathBuf>,
    /// Directory with `HOST/ca.crt` files: /etc/docker/certs.d.
    pub certs_dir: PathBuf,
    /// Docker's config.json with credentials; `None` reads no credentials.
    pub docker_config: Option<PathBuf>,
    /// Limit for a connection to be made.
    pub connect_timeout: Duration,
    /// Limit for the beginning of an answer, and window in which a body must make progress.
    pub stall_timeout: Duration,
    /// How often a request that is worth it is repeated.
    pub retries: u32,
    /// Wait before the first repetition; doubled each time.
    pub backoff: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        ClientOptions {
            insecure: Vec::new(),
            loopback_is_insecure: true,
            ca_files: Vec::new(),
            certs_dir: PathBuf::from("/etc/docker/certs.d"),
            docker_config: auth::default_config(),
            connect_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(30),
            retries: 4,
            backoff: Duration::from_millis(250),
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
    /// The Authorization header that worked last, by registry and repository. Few entries, so a
    /// list.
    authorizations: Mutex<Vec<(String, String)>>,
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
        let url = self.url(reference, &format!("manifests/{}", reference.selector()))?;
        let why = "which digest stands behind the name now";
        let request = self.request("HEAD", url, why, Some(MediaType::accepted_manifests()));
        let response = self.authorized(reference, request)?;
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
        let url = self.url(reference, &format!("manifests/{}", reference.selector()))?;
        let request = self.request("GET", url.clone(), why, Some(MediaType::accepted_manifests()));
        let response = self.authorized(reference, request)?;
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

    /// The content of a blob, unverified, as a stream that survives broken connections.
    ///
    /// # Errors
    /// As for [`Client::digest`], and [`Error::WrongSize`] where the server announces another size.
    pub fn blob(&self, reference: &Reference, blob: &Descriptor) -> Result<BlobReader<'_>> {
        BlobReader::open(self, reference, blob)
    }

    /// The image configuration of a manifest, verified, kept nowhere.
    ///
    /// # Errors
    /// As for [`Client::blob`], and [`Error::WrongDigest`], [`Error::Malformed`].
    pub fn config(&self, reference: &Reference, manifest: &Manifest) -> Result<ImageConfig> {
        let blob = &manifest.config;
        check_config_size(blob)?;
        let what = format!("configuration {}", blob.digest);
        let mut raw = Vec::new();
        let reader = self.blob(reference, blob)?;
        VerifyingReader::new(reader, what.as_str(), &blob.digest, blob.size)
            .read_to_end(&mut raw)
            .map_err(|e| Error::from_io(e, "read", what.as_ref()))?;
        ImageConfig::parse(&what, raw)
    }

    fn get_blob(
        &self,
        reference: &Reference,
        blob: &Descriptor,
        from: u64,
    ) -> Result<(String, Response<Body>)> {
        let url = self.blob_url(reference, &blob.digest)?;
        let why = match (from, blob.media_type.is_config()) {
            (0, true) => "the image configuration: what to run, and the layers' plain digests",
            (0, false) => "a layer",
            _ => "the rest of it, for the connection broke off",
        };
        let mut request = self.request("GET", url.clone(), why, None);
        request.from = from;
        Ok((url, self.authorized(reference, request)?))
    }

    fn blob_url(&self, reference: &Reference, digest: &Digest) -> Result<String> {
        self.url(reference, &format!("blobs/{digest}"))
    }

    /// `https://HOST/v2/NAME/REST`.
    fn url(&self, reference: &Reference, rest: &str) -> Result<String> {
        let host = match reference.domain() {
            "docker.io" => DOCKER_HUB,
            other => other,
        };
        let scheme = self.transport.scheme(host)?;
        Ok(format!("{scheme}://{host}/v2/{}/{rest}", reference.path()))
    }

    fn request(
        &self,
        method: &'static str,
        url: String,
        why: &'static str,
        accept: Option<String>,
    ) -> Request {
        Request { method, url, accept, from: 0, authorization: None, why }
    }

    /// Sends a request with the authorization that the registry asks for, and turns every answer
    /// that is no success into an error.
    fn authorized(&self, reference: &Reference, mut request: Request) -> Result<Response<Body>> {
        let key = reference.name();
        request.authorization = self.remembered(&key);
        let mut response = self.transport.send(&request)?;
        if response.status().as_u16() == 401 {
            let headers = response.headers().get_all(header::WWW_AUTHENTICATE);
            let challenges =
                auth::Challenge::parse_all(headers.iter().filter_map(|h| h.to_str().ok()));
            // Without an answer to the challenge, the 401 itself is the error.
            if let Some(value) = self.answer(reference, &request.url, &challenges)? {
                request.authorization = Some(value.clone());
                response = self.transport.send(&request)?;
                if response.status().as_u16() != 401 {
                    self.remember(key, value);
                }
            }
        }
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refusal::error(request.method, request.url, response, Some(reference)))
    }

    /// The Authorization header that answers the first challenge that can be answered.
    fn answer(
        &self,
        reference: &Reference,
        asked: &str,
        challenges: &[auth::Challenge],
    ) -> Result<Option<String>> {
        let credentials = match &self.options().docker_config {
            Some(path) => auth::credentials(path, reference.domain())?,
            None => None,
        };
        for challenge in challenges {
            match challenge {
                auth::Challenge::Bearer { realm, service, scope } => {
                    let ours = format!("repository:{}:pull", reference.path());
                    let scope = scope.as_deref().unwrap_or(&ours);
                    let url = auth::token_url(realm, service.as_deref(), scope);
                    let basic = credentials.as_ref().map(auth::Credentials::basic);
                    return self.token(asked, url, basic).map(Some);
                }
                auth::Challenge::Basic => {
                    if let Some(credentials) = &credentials {
                        return Ok(Some(credentials.basic()));
                    }
                }
            }
        }
        Ok(None)
    }

    fn token(&self, asked: &str, url: String, basic: Option<String>) -> Result<String> {
        if !url.starts_with("https://")
            && (asked.starts_with("https:") || !url.starts_with("http://"))
        {
            let why = format!("names {url:?} as its token server, which is not https: refused");
            return Err(Error::Protocol { url: asked.to_owned(), why });
        }
        let mut request =
            self.request("GET", url.clone(), "a token, from whom the 401 named", None);
        request.authorization = basic;
        let response = self.transport.send(&request)?;
        if !response.status().is_success() {
            return Err(refusal::error(request.method, url, response, None));
        }
        let body = self.read_all("GET", &url, response, MAX_TOKEN)?;
        Ok(format!("Bearer {}", auth::token_in(&url, &body)?))
    }

    fn remembered(&self, key: &str) -> Option<String> {
        let known = self.authorizations.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|(k, _)| k == key).map(|(_, value)| value.clone())
    }

    fn remember(&self, key: String, value: String) {
        let mut known = self.authorizations.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(k, _)| *k != key);
        known.push((key, value));
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
