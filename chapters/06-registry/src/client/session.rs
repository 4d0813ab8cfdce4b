//! Sessions: to which server a request goes, and by what right.
//!
//! An [`Endpoint`] is a server that may have the content: the registry itself, or a mirror of it.
//! Each has credentials of its own; what belongs to the registry is never sent to a mirror.

use std::sync::PoisonError;

use ureq::Body;
use ureq::http::{Response, header};

use super::auth::{self, Challenge};
use super::credentials::{self, Credentials};
use super::refusal::{self, Whom};
use super::request::{Payload, Request};
use super::url::same_origin;
use super::{Client, DOCKER_HUB, MAX_TOKEN};
use crate::error::{Error, Result};
use crate::reference::Reference;

/// A server that is asked.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    /// `https://HOST[/PREFIX]/v2`.
    pub(super) base: String,
    /// By which name its credentials are kept.
    pub(super) domain: String,
}

/// What is asked for, and to what end.
#[derive(Debug, Clone)]
pub(super) struct Access<'a> {
    /// Whose image; `None` for the registry as a whole.
    pub(super) reference: Option<&'a Reference>,
    /// `pull`, `push`, `delete` or `list`, for the error.
    pub(super) action: &'static str,
    /// A token's scope: `repository:app:pull`.
    pub(super) scope: String,
}

impl<'a> Access<'a> {
    pub(super) fn pull(reference: &'a Reference) -> Access<'a> {
        Access::new(reference, "pull", "pull")
    }

    pub(super) fn push(reference: &'a Reference) -> Access<'a> {
        Access::new(reference, "push", "pull,push")
    }

    pub(super) fn delete(reference: &'a Reference) -> Access<'a> {
        Access::new(reference, "delete", "delete")
    }

    fn new(reference: &'a Reference, action: &'static str, rights: &str) -> Access<'a> {
        let scope = format!("repository:{}:{rights}", reference.path());
        Access { reference: Some(reference), action, scope }
    }
}

impl Client {
    /// The registry itself.
    pub(super) fn origin(&self, domain: &str) -> Result<Endpoint> {
        let host = if domain == "docker.io" { DOCKER_HUB } else { domain };
        let scheme = self.transport.scheme(host)?;
        let base = format!("{scheme}://{host}/v2");
        Ok(Endpoint { base, domain: domain.to_owned() })
    }

    /// Its mirrors, in the order in which they are asked.
    pub(super) fn mirrors(&self, domain: &str) -> Vec<Endpoint> {
        let urls = self.options().mirrors.get(domain).map_or(&[][..], Vec::as_slice);
        let endpoint = |url: &String| {
            let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
            let host = rest.split('/').next().unwrap_or_default();
            let base = format!("{}/v2", url.trim_end_matches('/'));
            Endpoint { base, domain: host.to_owned() }
        };
        urls.iter().map(endpoint).collect()
    }

    /// Reads from the first mirror that can answer, and else from the registry itself, whose word is
    /// final. `rest` is what follows after the repository's name. Gives the URL that answered, too.
    pub(super) fn read(
        &self,
        reference: &Reference,
        rest: &str,
        request: impl Fn(String) -> Request,
    ) -> Result<(String, Response<Body>)> {
        let access = Access::pull(reference);
        let ask = |endpoint: &Endpoint| {
            let request = request(format!("{}/{}/{rest}", endpoint.base, reference.path()));
            let url = request.url.clone();
            Ok((url, self.authorized(endpoint, &access, request)?))
        };
        for mirror in self.mirrors(reference.domain()) {
            if let Ok(answer) = ask(&mirror) {
                return Ok(answer);
            }
        }
        ask(&self.origin(reference.domain())?)
    }

    /// Sends a request with the authorization that the registry asks for, and turns every answer
    /// that is no success into an error.
    pub(super) fn authorized(
        &self,
        endpoint: &Endpoint,
        access: &Access<'_>,
        request: Request,
    ) -> Result<Response<Body>> {
        let (method, url) = (request.method, request.url.clone());
        let response = self.answered(endpoint, access, request)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let host = endpoint.domain.as_str();
        let whom = Whom::Registry { host, reference: access.reference, action: access.action };
        Err(refusal::error(method, url, response, whom))
    }

    // ANCHOR: answered
    /// The same, with whatever status the answer has.
    pub(super) fn answered(
        &self,
        endpoint: &Endpoint,
        access: &Access<'_>,
        mut request: Request,
    ) -> Result<Response<Body>> {
        // An upload may go on at another host, which has no business with our token.
        let ours = same_origin(&endpoint.base, &request.url);
        let key = (endpoint.base.clone(), access.scope.clone());
        request.authorization = if ours { self.remembered(&key) } else { None };
        let mut response = self.transport.send(&request)?;
        if response.status().as_u16() != 401 || !ours {
            return Ok(response);
        }
        let headers = response.headers().get_all(header::WWW_AUTHENTICATE);
        let challenges = Challenge::parse_all(headers.iter().filter_map(|h| h.to_str().ok()));
        // Without an answer to the challenge, the 401 itself is the error.
        if let Some(value) = self.answer(endpoint, access, &request.url, &challenges)? {
            request.authorization = Some(value.clone());
            response = self.transport.send(&request)?;
            if response.status().as_u16() != 401 {
                self.remember(key, value);
            }
        }
        Ok(response)
    }
    // ANCHOR_END: answered

    /// The Authorization header that answers the first challenge that can be answered.
    fn answer(
        &self,
        endpoint: &Endpoint,
        access: &Access<'_>,
        asked: &str,
        challenges: &[Challenge],
    ) -> Result<Option<String>> {
        let helpers = self.options().credential_helpers.as_deref();
        let known = match (&self.options().credentials, &self.options().docker_config) {
            (Some((domain, own)), _) if *domain == endpoint.domain => Some(own.clone()),
            (_, Some(path)) => credentials::find(path, helpers, &endpoint.domain)?,
            (_, None) => None,
        };
        for challenge in challenges {
            match (challenge, &known) {
                (Challenge::Bearer { .. }, Some(Credentials::Token(token))) => {
                    return Ok(Some(format!("Bearer {token}")));
                }
                (Challenge::Bearer { realm, service, scope }, known) => {
                    let scope = scope.as_deref().unwrap_or(&access.scope);
                    let service = service.as_deref();
                    return self.token(asked, realm, service, scope, known.as_ref()).map(Some);
                }
                (Challenge::Basic, Some(known)) => {
                    if let Some(basic) = known.basic() {
                        return Ok(Some(basic));
                    }
                }
                (Challenge::Basic, None) => {}
            }
        }
        Ok(None)
    }

    fn token(
        &self,
        asked: &str,
        realm: &str,
        service: Option<&str>,
        scope: &str,
        known: Option<&Credentials>,
    ) -> Result<String> {
        if !realm.starts_with("https://")
            && (asked.starts_with("https:") || !realm.starts_with("http://"))
        {
            let why = format!("names {realm:?} as its token server, which is not https: refused");
            return Err(Error::Protocol { url: asked.to_owned(), why });
        }
        let why = "a token, from whom the 401 named";
        let request = match known {
            Some(Credentials::Identity(identity)) => {
                let form = auth::oauth_form(identity, service, scope);
                Request::new("POST", realm.to_owned(), why)
                    .carrying("application/x-www-form-urlencoded", Payload::bytes(form))
            }
            known => {
                let url = auth::token_url(realm, service, scope);
                let mut request = Request::new("GET", url, why);
                request.authorization = known.and_then(Credentials::basic);
                request
            }
        };
        let (method, url) = (request.method, request.url.clone());
        let response = self.transport.send(&request)?;
        if !response.status().is_success() {
            return Err(refusal::error(method, url, response, Whom::TokenServer));
        }
        let body = self.read_all(method, &url, response, MAX_TOKEN)?;
        Ok(format!("Bearer {}", auth::token_in(&url, &body)?))
    }

    fn remembered(&self, key: &(String, String)) -> Option<String> {
        let known = self.authorizations.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).cloned()
    }

    fn remember(&self, key: (String, String), value: String) {
        let mut known = self.authorizations.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(key, value);
    }
}
