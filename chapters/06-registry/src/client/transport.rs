//! How a request travels: TLS or not, which certificates, redirects, repetitions.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use ureq::http::{Response, Uri, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

use super::{ClientOptions, Exchange, Trace};
use crate::error::{At, Error, Result};

/// How many redirects in a row are followed. A registry needs one, to its storage.
const MAX_REDIRECTS: usize = 5;
/// The longest that a registry's Retry-After is obeyed.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);
const NO_SUCH_HOST: &str = "check the registry's name, and DNS";
/// The distribution's bundle of certificate authorities: Debian's place, then Fedora's.
const SYSTEM_CAS: &[&str] =
    &["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// A request, before it is decided whether it goes over TLS.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// `GET` or `HEAD`.
    pub(super) method: &'static str,
    pub(super) url: String,
    pub(super) accept: Option<String>,
    /// The first byte that is wanted, where not 0.
    pub(super) from: u64,
    pub(super) authorization: Option<String>,
    /// For `explain`: why it is sent.
    pub(super) why: &'static str,
}

/// An error, and whether the same request may succeed a moment later.
struct Failure {
    error: Error,
    again: bool,
}

pub(super) struct Transport {
    options: ClientOptions,
    /// One per host: hosts differ in their certificates.
    agents: Mutex<HashMap<String, Agent>>,
    /// `http` or `https` of hosts that were probed.
    schemes: Mutex<HashMap<String, &'static str>>,
    trace: Option<Trace>,
}

impl Transport {
    pub(super) fn new(options: ClientOptions, trace: Option<Trace>) -> Transport {
        Transport { options, agents: Mutex::default(), schemes: Mutex::default(), trace }
    }

    pub(super) fn options(&self) -> &ClientOptions {
        &self.options
    }

    /// Sends a request, follows redirects and repeats it where that may help. Any status that a
    /// repetition does not mend is given back.
    pub(super) fn send(&self, request: &Request) -> Result<Response<Body>> {
        let mut wait = self.options.backoff;
        for _ in 0..self.options.retries {
            let pause = match self.follow(request) {
                Ok(response) if is_passing(response.status().as_u16()) => {
                    retry_after(&response).unwrap_or(wait)
                }
                Ok(response) => return Ok(response),
                Err(failure) if failure.again => wait,
                Err(failure) => return Err(failure.error),
            };
            thread::sleep(pause);
            wait *= 2;
        }
        self.follow(request).map_err(|failure| failure.error)
    }

    fn follow(&self, request: &Request) -> std::result::Result<Response<Body>, Failure> {
        let mut step = request.clone();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.exchange(&step)?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let location = response.headers().get(header::LOCATION).and_then(|l| l.to_str().ok());
            let target = self.redirect(&step.url, location.unwrap_or_default())?;
            if !same_origin(&step.url, &target) {
                // Storage has its own signature in the URL; a registry that is not honest would
                // collect tokens this way.
                step.authorization = None;
            }
            step.url = target;
            step.why = "the registry sent us there: its storage";
        }
        Err(self.protocol(&request.url, format!("more than {MAX_REDIRECTS} redirects")))
    }

    fn protocol(&self, url: &str, why: String) -> Failure {
        Failure { error: Error::Protocol { url: url.to_owned(), why }, again: false }
    }

    /// Where a Location header leads, if we go there.
    fn redirect(&self, from: &str, location: &str) -> std::result::Result<String, Failure> {
        let refuse = |why: &str| {
            let shown: String = location.chars().filter(|c| !c.is_control()).take(200).collect();
            self.protocol(from, format!("redirects to {shown:?}: {why}"))
        };
        let target = join(from, location).ok_or_else(|| refuse("not a URL"))?;
        let uri: Uri = target.parse().map_err(|_| refuse("not a URL"))?;
        let host = uri.authority().map_or("", |authority| authority.as_str());
        match uri.scheme_str() {
            Some("https") => Ok(target),
            Some("http") if !from.starts_with("https:") || self.is_insecure(host) => Ok(target),
            Some("http") => Err(refuse("from TLS to plain HTTP")),
            _ => Err(refuse("neither http nor https")),
        }
    }

    fn exchange(&self, request: &Request) -> std::result::Result<Response<Body>, Failure> {
        let result = self.exchange_untraced(request);
        if let Some(trace) = &self.trace {
            let authorization = request.authorization.as_deref();
            trace(&Exchange {
                method: request.method,
                url: &request.url,
                status: result.as_ref().ok().map(|response| response.status().as_u16()),
                authorization: authorization.and_then(|value| value.split(' ').next()),
                why: request.why,
            });
        }
        result
    }

    fn exchange_untraced(&self, request: &Request) -> std::result::Result<Response<Body>, Failure> {
        let uri: Uri =
            request.url.parse().map_err(|_| self.protocol(&request.url, "not a URL".to_owned()))?;
        let host = uri.authority().map_or("", |authority| authority.as_str());
        let agent = self.agent(host).map_err(|error| Failure { error, again: false })?;
        let mut builder = match request.method {
            "HEAD" => agent.head(&request.url),
            _ => agent.get(&request.url),
        };
        for (name, value) in [
            (header::ACCEPT, request.accept.clone()),
            (header::AUTHORIZATION, request.authorization.clone()),
            (header::RANGE, (request.from > 0).then(|| format!("bytes={}-", request.from))),
        ] {
            if let Some(value) = value {
                builder = builder.header(name, value);
            }
        }
        builder.call().map_err(|e| self.failure(request.method, &request.url, &e))
    }

    fn failure(&self, method: &'static str, url: &str, error: &ureq::Error) -> Failure {
        let text = error.to_string();
        let (again, remedy) = match error {
            ureq::Error::HostNotFound => (false, NO_SUCH_HOST),
            // The C library's resolver gives an error without a kind.
            _ if text.contains("lookup address") => (false, NO_SUCH_HOST),
            ureq::Error::Timeout(ureq::Timeout::Connect) => {
                (false, "nothing answers there: check the name, the port and the firewall")
            }
            ureq::Error::Timeout(_) => (true, "the registry is too slow or hangs: try again later"),
            ureq::Error::Io(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                (false, "nothing listens there: check the name and the port")
            }
            _ if text.contains("UnknownIssuer") => (
                false,
                "no known authority signed its certificate: put the authority's certificate into \
                 /etc/docker/certs.d/HOST/ca.crt, or name the host as insecure",
            ),
            _ if text.contains("certificate") || text.contains("corrupt message") => (
                false,
                "its certificate does not fit, or it speaks plain HTTP: name the host as insecure \
                 to allow that",
            ),
            ureq::Error::Io(_) | ureq::Error::Protocol(_) => (true, ""),
            _ => (false, ""),
        };
        let (url, remedy) = (url.to_owned(), remedy.to_owned());
        Failure { error: Error::Network { method, url, why: text, remedy }, again }
    }

    /// `http` or `https` for a registry. A registry that is trusted only over TLS is not asked; an
    /// insecure one is tried with TLS first, as Docker does.
    pub(super) fn scheme(&self, host: &str) -> Result<&'static str> {
        if !self.is_insecure(host) {
            return Ok("https");
        }
        if let Some(scheme) = lock(&self.schemes).get(host) {
            return Ok(scheme);
        }
        let scheme = self.probe(host)?;
        lock(&self.schemes).insert(host.to_owned(), scheme);
        Ok(scheme)
    }

    /// A server without TLS answers a handshake with an HTTP error, closes, or waits for a line that
    /// never comes. For that last case the attempt is short; a TLS server that was only slow gives
    /// itself away by refusing plain HTTP with status 400.
    fn probe(&self, host: &str) -> Result<&'static str> {
        let limit = Duration::from_millis(if is_loopback(host) { 500 } else { 3000 });
        let limit = limit.min(self.options.connect_timeout);
        let agent = self.agent(host)?;
        let ask = |scheme: &str| {
            let url = format!("{scheme}://{host}/v2/");
            let answer = agent.get(&url).config().timeout_global(Some(limit)).build().call();
            let answer = answer.map(|response| response.status().as_u16());
            if let Some(trace) = &self.trace {
                let (status, why) =
                    (answer.as_ref().ok().copied(), "does it speak TLS, or else HTTP");
                trace(&Exchange { method: "GET", url: &url, status, authorization: None, why });
            }
            answer
        };
        let Err(tls) = ask("https") else { return Ok("https") };
        match ask("http") {
            Ok(400) if matches!(tls, ureq::Error::Timeout(_)) => Ok("https"),
            Ok(400) => Err(self.failure("GET", &format!("https://{host}/v2/"), &tls).error),
            Ok(_) => Ok("http"),
            // It took the connection, so it is there: the request itself will tell.
            Err(ureq::Error::Timeout(t)) if t != ureq::Timeout::Connect => Ok("http"),
            Err(plain) => {
                let mut error = self.failure("GET", &format!("http://{host}/v2/"), &plain).error;
                if let Error::Network { why, .. } = &mut error
                    && *why != tls.to_string()
                {
                    *why = format!("{why}; with TLS: {tls}");
                }
                Err(error)
            }
        }
    }

    fn is_insecure(&self, host: &str) -> bool {
        (self.options.loopback_is_insecure && is_loopback(host))
            || self.options.insecure.iter().any(|name| name == host || name == name_of(host))
    }

    fn agent(&self, host: &str) -> Result<Agent> {
        if let Some(agent) = lock(&self.agents).get(host) {
            return Ok(agent.clone());
        }
        let tls = TlsConfig::builder()
            .root_certs(self.roots(host)?)
            .disable_verification(self.is_insecure(host))
            .build();
        let stall = Some(self.options.stall_timeout);
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("corten/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .tls_config(tls)
            .timeout_connect(Some(self.options.connect_timeout))
            .timeout_send_request(stall)
            .timeout_recv_response(stall)
            .timeout_per_read(stall);
        if is_loopback(host) {
            config = config.proxy(None);
        }
        let agent: Agent = config.build().into();
        lock(&self.agents).insert(host.to_owned(), agent.clone());
        Ok(agent)
    }

    /// The authorities that may sign `host`'s certificate: the system's (or Mozilla's, where the
    /// system has no bundle), those of the options, and those in Docker's certs.d.
    fn roots(&self, host: &str) -> Result<RootCerts> {
        let mut own = self.options.ca_files.clone();
        let dir = self.options.certs_dir.join(host);
        match fs::read_dir(&dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e).at("read directory", &dir),
            Ok(entries) => {
                for entry in entries {
                    let path = entry.at("read directory", &dir)?.path();
                    own.extend(Some(path).filter(|p| p.extension().is_some_and(|e| e == "crt")));
                }
            }
        }
        let system = SYSTEM_CAS.iter().map(std::path::Path::new).find(|path| path.exists());
        if own.is_empty() && system.is_none() {
            return Ok(RootCerts::WebPki);
        }
        let mut certificates: Vec<Certificate<'static>> = Vec::new();
        for path in own.iter().map(AsRef::as_ref).chain(system) {
            let pem = fs::read(path).at("read", path)?;
            for item in parse_pem(&pem) {
                let item = item.map_err(|e| Error::malformed(path.display().to_string(), e))?;
                if let PemItem::Certificate(certificate) = item {
                    certificates.push(certificate);
                }
            }
        }
        Ok(RootCerts::from(certificates))
    }
}

/// A panic elsewhere leaves these maps whole: each change is one insert.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Statuses of trouble that passes.
fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

fn retry_after(response: &Response<Body>) -> Option<Duration> {
    let seconds =
        response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

/// The host without its port.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    }
}

fn is_loopback(host: &str) -> bool {
    let name = name_of(host);
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

fn same_origin(a: &str, b: &str) -> bool {
    let origin = |url: &str| -> Option<(String, String)> {
        let uri: Uri = url.parse().ok()?;
        Some((uri.scheme_str()?.to_owned(), uri.authority()?.as_str().to_ascii_lowercase()))
    };
    origin(a).is_some() && origin(a) == origin(b)
}

/// Resolves a Location against the URL that sent it (RFC 3986, section 5; only what servers send).
fn join(base: &str, location: &str) -> Option<String> {
    if location.is_empty() || location.starts_with('#') {
        return None;
    }
    let (scheme, rest) = base.split_once("://")?;
    let host = rest.split(['/', '?']).next()?;
    let path = rest[host.len()..].split('?').next()?;
    let colon = location.find(':').unwrap_or(usize::MAX);
    Some(if colon < location.find(['/', '?', '#']).unwrap_or(usize::MAX) {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{host}{location}")
    } else {
        let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
        format!("{scheme}://{host}{dir}/{location}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_joined_and_hosts_told_apart() {
        let base = "http://h:5000/v2/a/blobs/x?q=1";
        for (location, joined) in [
            ("https://s3/x", Some("https://s3/x")),
            ("//s3/x", Some("http://s3/x")),
            ("/y?z=http://e/", Some("http://h:5000/y?z=http://e/")),
            ("y", Some("http://h:5000/v2/a/blobs/y")),
            ("file:///etc/passwd", Some("file:///etc/passwd")),
            ("", None),
        ] {
            assert_eq!(join(base, location).as_deref(), joined, "{location}");
        }
        assert!(same_origin(base, "http://H:5000/other"));
        assert!(!same_origin(base, "http://h:5001/") && !same_origin(base, "https://h:5000/"));
    }

    #[test]
    fn loopback_is_127_localhost_and_the_ipv6_one() {
        for host in ["localhost", "localhost:5000", "127.0.0.1:80", "127.9.9.9", "[::1]:5000"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in
            ["docker.io", "localhost.example", "128.0.0.1", "[::2]:5000", "127.0.0.1.nip.io"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn a_redirect_leads_neither_to_a_file_nor_out_of_tls() {
        let transport = Transport::new(ClientOptions::default(), None);
        let go = |from, to| transport.redirect(from, to).map_err(|f| f.error.to_string());
        assert!(go("https://r/v2/", "https://s3/x").is_ok());
        assert!(go("https://r/v2/", "/x").is_ok());
        assert!(go("https://r/v2/", "http://s3/x").unwrap_err().contains("plain HTTP"));
        assert!(go("https://r/v2/", "file:///etc/passwd").is_err());
        assert!(go("https://r/v2/", "gopher://x/").unwrap_err().contains("neither http nor https"));
    }
}
