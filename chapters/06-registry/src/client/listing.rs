//! Lists of names, page by page, and removal.

use serde::Deserialize;
use ureq::Body;
use ureq::http::{Response, header};

use super::request::Request;
use super::session::{Access, Endpoint};
use super::transport::Transport;
use super::url::same_origin;
use super::{Client, DOCKER_INDEX, Document};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::{Descriptor, MAX_MANIFEST};
use crate::reference::Reference;

/// The most names that are read before a list counts as endless.
pub const MAX_NAMES: usize = 1 << 20;
/// How many are asked for at once.
const PAGE: usize = 1000;

impl Client {
    /// All tags of a repository, sorted: registries should do that, and do not.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Network`], [`Error::Protocol`], [`Error::TooLarge`].
    pub fn tags(&self, name: &Reference) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Page {
            // A repository without tags has null.
            tags: Option<Vec<String>>,
        }
        let ask = |endpoint: &Endpoint| {
            let first = format!("{}/{}/tags/list?n={PAGE}", endpoint.base, name.path());
            let why = "a page of the tags";
            self.pages(endpoint, &Access::pull(name), first, why, |page: Page| {
                page.tags.unwrap_or_default()
            })
        };
        let mirrored = self.mirrors(name.domain()).iter().find_map(|mirror| ask(mirror).ok());
        let mut tags = match mirrored {
            Some(tags) => tags,
            None => ask(&self.origin(name.domain())?)?,
        };
        tags.sort();
        Ok(tags)
    }

    /// Repositories whose names or descriptions contain `term`, `most` at most, as `/v1/search` tells
    /// them: a list of `name`, `description`, `star_count`, `is_official`. That is Docker Hub's own
    /// protocol, which few others speak; it is nothing of the distribution specification.
    ///
    /// # Errors
    /// As for [`Client::tags`].
    pub fn search(&self, domain: &str, term: &str, most: u8) -> Result<Vec<serde_json::Value>> {
        #[derive(Deserialize)]
        struct Found {
            #[serde(default)]
            results: Vec<serde_json::Value>,
        }
        let host = if domain == "docker.io" { DOCKER_INDEX } else { domain };
        let base = format!("{}://{host}/v1", self.transport.scheme(host)?);
        let mut url = format!("{base}/search?n={most}&q=");
        super::url::percent_encode(term, &mut url);
        let endpoint = Endpoint { base, domain: domain.to_owned() };
        let access = Access { reference: None, action: "search", scope: String::new() };
        let request = Request::new("GET", url.clone(), "to search");
        let response = self.authorized(&endpoint, &access, request)?;
        let body = self.read_all("GET", &url, response, MAX_MANIFEST)?;
        let found: Found = serde_json::from_slice(&body).map_err(|error| Error::Protocol {
            url,
            why: format!("not a list of what was found: {error}"),
        })?;
        Ok(found.results)
    }

    /// All repositories of a registry that the account may see. Many registries do not tell.
    ///
    /// # Errors
    /// As for [`Client::tags`].
    pub fn catalog(&self, domain: &str) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Page {
            repositories: Option<Vec<String>>,
        }
        let endpoint = self.origin(domain)?;
        let scope = "registry:catalog:*".to_owned();
        let access = Access { reference: None, action: "list", scope };
        let first = format!("{}/_catalog?n={PAGE}", endpoint.base);
        self.pages(&endpoint, &access, first, "a page of the repositories", |page: Page| {
            page.repositories.unwrap_or_default()
        })
    }

    fn pages<P: for<'de> Deserialize<'de>>(
        &self,
        endpoint: &Endpoint,
        access: &Access<'_>,
        first: String,
        why: &'static str,
        names: impl Fn(P) -> Vec<String>,
    ) -> Result<Vec<String>> {
        let (mut all, mut url) = (Vec::new(), first);
        loop {
            let request = Request::new("GET", url.clone(), why);
            let response = self.authorized(endpoint, access, request)?;
            let next = next_page(&self.transport, &url, &response)?;
            let body = self.read_all("GET", &url, response, MAX_MANIFEST)?;
            let page: P = serde_json::from_slice(&body).map_err(|e| Error::Protocol {
                url: url.clone(),
                why: format!("not a list of names: {e}"),
            })?;
            let before = all.len();
            all.extend(names(page));
            let Some(next) = next else { return Ok(all) };
            if all.len() == before || all.len() > MAX_NAMES || next == url {
                let why = format!("the list does not end: {} names so far", all.len());
                return Err(Error::Protocol { url: next, why });
            }
            url = next;
        }
    }

    /// Removes what a name stands for from the registry: by tag, that tag; by digest, the manifest
    /// with all its tags. Many registries can do the second only, or neither.
    ///
    /// # Errors
    /// [`Error::Refused`], with what the registry can do instead where it is known.
    pub fn delete(&self, name: &Reference) -> Result<()> {
        let (endpoint, access) = (self.origin(name.domain())?, Access::delete(name));
        let url = format!("{}/{}/manifests/{}", endpoint.base, name.path(), name.selector());
        let request = Request::new("DELETE", url, "to remove the manifest");
        self.authorized(&endpoint, &access, request).map(drop)
    }

    /// Removes a blob from a repository.
    ///
    /// # Errors
    /// As for [`Client::delete`].
    pub fn delete_blob(&self, name: &Reference, digest: &Digest) -> Result<()> {
        let (endpoint, access) = (self.origin(name.domain())?, Access::delete(name));
        let url = format!("{}/{}/blobs/{digest}", endpoint.base, name.path());
        let request = Request::new("DELETE", url, "to remove the blob");
        self.authorized(&endpoint, &access, request).map(drop)
    }

    /// The images behind a name, one for each platform; of a plain image, itself.
    ///
    /// # Errors
    /// As for [`Client::manifest`].
    pub fn platforms(&self, name: &Reference) -> Result<Vec<Descriptor>> {
        let fetched = self.manifest(name)?;
        match fetched.document {
            Document::Index(index) => Ok(index.manifests),
            Document::Manifest(manifest) => {
                let platform = self.config(name, &manifest)?.platform();
                Ok(vec![Descriptor { platform: Some(platform), ..manifest.descriptor() }])
            }
        }
    }
}

/// Where the next page is: `Link: </v2/…?last=x>; rel="next"` (RFC 8288). Never at another server.
fn next_page(
    transport: &Transport,
    url: &str,
    response: &Response<Body>,
) -> Result<Option<String>> {
    let Some(link) = response.headers().get(header::LINK).and_then(|link| link.to_str().ok())
    else {
        return Ok(None);
    };
    let target = link.split(',').find_map(|link| {
        let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let next = parameters.split(';').any(|p| {
            let p = p.trim().replace('"', "").to_ascii_lowercase();
            p.strip_prefix("rel=").is_some_and(|rel| rel.split(' ').any(|rel| rel == "next"))
        });
        next.then_some(target)
    });
    let Some(target) = target else { return Ok(None) };
    let next = transport.resolve(url, target)?;
    if same_origin(url, &next) {
        return Ok(Some(next));
    }
    let why = format!("its next page lies at another server, {next:?}: refused");
    Err(Error::Protocol { url: url.to_owned(), why })
}
