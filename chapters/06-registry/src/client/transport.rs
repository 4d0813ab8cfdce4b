//! How a request travels: TLS or not, redirects, repetitions.

use std::collections::HashMap;
use std::io;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use ureq::http::{self, Response, Uri, header};
use ureq::{Agent, Body};

use super::hosts::covers;
use super::request::Request;
use super::url::{is_loopback, join, same_origin};
use super::{ClientOptions, Exchange, Trace, trust};
use crate::error::{Error, Result};

/// How many redirects in a row are followed. A registry needs one, to its storage.
const MAX_REDIRECTS: usize = 5;
/// The longest that a registry's Retry-After is obeyed.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);
const NO_SUCH_HOST: &str = "check the registry's name, and DNS";
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
    /// repetition does not mend is given back; so is one whose Retry-After is too far away.
    pub(super) fn send(&self, request: &Request) -> Result<Response<Body>> {
        let mut wait = self.options.backoff;
        for _ in 0..self.options.retries {
            let pause = match self.follow(request) {
                Ok(response) if is_passing(response.status().as_u16()) => {
                    match retry_after(&response, SystemTime::now()) {
                        Some(pause) if pause > MAX_RETRY_AFTER => return Ok(response),
                        Some(pause) => pause.max(wait),
                        None => wait,
                    }
                }
                Ok(response) => return Ok(response),
                Err(failure) if failure.again && request.repeat => wait,
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
            let status = response.status().as_u16();
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            if !matches!(step.method, "GET" | "HEAD") && status < 307 {
                let why =
                    format!("answers {} with {status}, after which a body is lost", step.method);
                return Err(self.protocol(&step.url, why));
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

    /// Where a link on the page `from` leads, if we go there.
    pub(super) fn resolve(&self, from: &str, link: &str) -> Result<String> {
        self.redirect(from, link).map_err(|failure| failure.error)
    }

    /// Where the upload that a Location header names goes on.
    pub(super) fn location(&self, from: &str, response: &Response<Body>) -> Result<String> {
        let location = response.headers().get(header::LOCATION).and_then(|l| l.to_str().ok());
        self.redirect(from, location.unwrap_or_default()).map_err(|failure| failure.error)
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
        let mut builder = http::Request::builder().method(request.method).uri(&uri);
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        if let Some(value) = &request.authorization {
            builder = builder.header(header::AUTHORIZATION, value);
        }
        let body = request.payload.body().map_err(|error| Failure { error, again: false })?;
        let ready = builder.body(body).map_err(|e| self.protocol(&request.url, e.to_string()))?;
        agent.run(ready).map_err(|e| self.failure(request.method, &request.url, &e))
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
            _ if text.contains("BadCertificate") || text.contains("CertificateRequired") => (
                false,
                "it wants to see a certificate of ours: put it into /etc/docker/certs.d/HOST/ as \
                 NAME.cert, and its key as NAME.key",
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
            || self.options.insecure.iter().any(|entry| covers(entry, host))
    }

    fn agent(&self, host: &str) -> Result<Agent> {
        if let Some(agent) = lock(&self.agents).get(host) {
            return Ok(agent.clone());
        }
        let agent = trust::agent(&self.options, host, self.is_insecure(host))?;
        lock(&self.agents).insert(host.to_owned(), agent.clone());
        Ok(agent)
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

/// When a registry wants to be asked again: seconds or a date (RFC 9110, section 10.2.3).
pub(super) fn retry_after(response: &Response<Body>, now: SystemTime) -> Option<Duration> {
    parse_retry_after(response.headers().get(header::RETRY_AFTER)?.to_str().ok()?, now)
}

fn parse_retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = OffsetDateTime::parse(text, &Rfc2822).ok()?;
    Some(SystemTime::from(date).duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
        for (text, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(7)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(parse_retry_after(text, now).map(|d| d.as_secs()), seconds, "{text}");
        }
    }
}
