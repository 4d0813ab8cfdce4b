//! Uploads: a body that goes to the registry (distribution specification, "Pushing blobs").
//!
//! ```text
//! HEAD  …/blobs/DIGEST                     is it there?
//! POST  …/blobs/uploads/[?mount=&from=]    201: taken from another repository; 202: send it to Location
//! PUT   LOCATION?digest=DIGEST             a small one, whole
//! PATCH LOCATION   Content-Range: 0-99     a large one, part after part; then a PUT without a body
//! GET   LOCATION                           after a break: how much has arrived?  Range: 0-41
//! ```

use std::path::Path;
use std::sync::Arc;
use std::thread;

use ureq::Body;
use ureq::http::{HeaderName, Response, header};

use super::request::{Payload, Request, Sent};
use super::session::{Access, Endpoint};
use super::url::with_query;
use super::{Client, content_digest};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::Descriptor;
use crate::media::MediaType;
use crate::reference::Reference;

/// What has been done to have a blob in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It was there.
    Existed,
    /// The registry had it in another repository.
    Mounted,
    /// It was sent.
    Uploaded,
}

/// Where the content of a blob is.
#[derive(Debug, Clone, Copy)]
pub enum Content<'a> {
    /// In a file.
    File(&'a Path),
    /// Here: what is small.
    Bytes(&'a [u8]),
}

/// A blob that a registry shall have.
pub struct Upload<'a> {
    /// The repository.
    pub to: &'a Reference,
    /// What it is.
    pub blob: &'a Descriptor,
    /// Its content.
    pub content: Content<'a>,
    /// A repository of the same registry that may have it already.
    pub mount: Option<&'a str>,
    /// Is told how many bytes have been sent.
    pub sent: Arc<dyn Fn(u64) + Send + Sync>,
}

/// How far an upload has come.
struct Progress {
    location: String,
    offset: u64,
    /// The smallest part that the registry takes, beside the last.
    least: u64,
    tries: u32,
}

const OCTETS: &str = "application/octet-stream";

impl Client {
    /// Whether the registry has a blob in this repository.
    ///
    /// # Errors
    /// [`Error::Refused`] other than 404, [`Error::Network`].
    pub fn has_blob(&self, name: &Reference, blob: &Digest) -> Result<bool> {
        let (endpoint, access) = (self.origin(name.domain())?, Access::push(name));
        self.has_blob_at(&endpoint, &access, name, blob)
    }

    fn has_blob_at(
        &self,
        endpoint: &Endpoint,
        access: &Access<'_>,
        name: &Reference,
        blob: &Digest,
    ) -> Result<bool> {
        let url = format!("{}/{}/blobs/{blob}", endpoint.base, name.path());
        let request = Request::new("HEAD", url, "whether the registry has this blob");
        match self.authorized(endpoint, access, request) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sees to it that the registry has a blob: asks, mounts, or sends it. An upload that breaks off
    /// goes on where the registry says.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Network`], [`Error::Protocol`].
    pub fn push_blob(&self, upload: &Upload<'_>) -> Result<Pushed> {
        let (endpoint, access) = (self.origin(upload.to.domain())?, Access::push(upload.to));
        if self.has_blob_at(&endpoint, &access, upload.to, &upload.blob.digest)? {
            return Ok(Pushed::Existed);
        }
        let Some(mut progress) = self.begin(&endpoint, &access, upload)? else {
            return Ok(Pushed::Mounted);
        };
        loop {
            match self.part(&endpoint, &access, upload, &mut progress) {
                Ok(true) => return Ok(Pushed::Uploaded),
                Ok(false) => progress.tries = 0,
                Err(error) => self.after_break(&endpoint, &access, upload, &mut progress, error)?,
            }
        }
    }

    /// Has the registry take a blob from another of its repositories, if it can. Nothing is sent.
    ///
    /// # Errors
    /// As for [`Client::push_blob`].
    pub fn mount_blob(&self, to: &Reference, blob: &Descriptor, from: &str) -> Result<bool> {
        let (endpoint, access) = (self.origin(to.domain())?, Access::push(to));
        let (content, sent) = (Content::Bytes(b""), Arc::new(|_| {}) as Sent);
        let upload = Upload { to, blob, content, mount: Some(from), sent };
        let Some(progress) = self.begin(&endpoint, &access, &upload)? else { return Ok(true) };
        let why = "no upload, for it could not be taken from there";
        // A registry that does not take it back forgets it after a while.
        let _ = self.answered(&endpoint, &access, Request::new("DELETE", progress.location, why));
        Ok(false)
    }

    /// Opens an upload; `None` where the registry took the blob from another repository.
    fn begin(
        &self,
        endpoint: &Endpoint,
        access: &Access<'_>,
        upload: &Upload<'_>,
    ) -> Result<Option<Progress>> {
        let mut url = format!("{}/{}/blobs/uploads/", endpoint.base, upload.to.path());
        let mut why = "a place to upload a layer to";
        if let Some(from) = upload.mount {
            url = with_query(&url, "mount", &upload.blob.digest.to_string());
            url = with_query(&url, "from", from);
            why = "to have the layer from another repository, or else a place to upload it to";
        }
        let request = Request::new("POST", url.clone(), why).carrying(OCTETS, Payload::bytes(b""));
        let response = match self.authorized(endpoint, access, request) {
            // Not every token that may push here may read there.
            Err(Error::Refused(refusal))
                if upload.mount.is_some() && matches!(refusal.status, 401 | 403) =>
            {
                let upload = Upload { mount: None, sent: Arc::clone(&upload.sent), ..*upload };
                return self.begin(endpoint, access, &upload);
            }
            result => result?,
        };
        if response.status().as_u16() == 201 {
            return Ok(None);
        }
        let least = HeaderName::from_static("oci-chunk-min-length");
        let least = number(&response, &least).unwrap_or(0);
        let location = self.transport.location(&url, &response)?;
        Ok(Some(Progress { location, offset: 0, least, tries: 0 }))
    }

    /// Sends the next part, or the whole where it is small. `true` when the blob is complete.
    fn part(
        &self,
        endpoint: &Endpoint,
        access: &Access<'_>,
        upload: &Upload<'_>,
        progress: &mut Progress,
    ) -> Result<bool> {
        let (size, chunk) = (upload.blob.size, self.options().chunk.max(progress.least).max(1));
        let digest = upload.blob.digest.to_string();
        let payload = |from: u64, length: u64| match upload.content {
            Content::File(path) => {
                let sent = Arc::clone(&upload.sent) as Sent;
                Payload::File { path: path.into(), from, length, sent }
            }
            Content::Bytes(bytes) => {
                let rest = bytes.get(from as usize..).unwrap_or_default();
                Payload::bytes(&rest[..rest.len().min(length as usize)])
            }
        };
        let whole = progress.offset == 0 && size <= chunk;
        if whole || progress.offset == size {
            let url = with_query(&progress.location, "digest", &digest);
            let (payload, why) = match whole {
                true => (payload(0, size), "the layer, whole"),
                false => (Payload::bytes(b""), "that was all of it"),
            };
            let mut request = Request::new("PUT", url.clone(), why).carrying(OCTETS, payload);
            request.repeat = false;
            let response = self.authorized(endpoint, access, request)?;
            return match content_digest(&response) {
                Some(got) if got != upload.blob.digest => Err(Error::Protocol {
                    url,
                    why: format!("the registry stored {got} and not {digest}"),
                }),
                _ => Ok(true),
            };
        }
        let length = chunk.min(size - progress.offset);
        let range = format!("{}-{}", progress.offset, progress.offset + length - 1);
        let mut request = Request::new("PATCH", progress.location.clone(), "a part of the layer")
            .header(header::CONTENT_RANGE, range)
            .carrying(OCTETS, payload(progress.offset, length));
        request.repeat = false;
        let response = self.authorized(endpoint, access, request)?;
        let arrived = arrived(&response).unwrap_or(progress.offset + length);
        if arrived <= progress.offset || arrived > size {
            let why =
                format!("after {} bytes it says that {arrived} arrived", progress.offset + length);
            return Err(Error::Protocol { url: progress.location.clone(), why });
        }
        progress.location = self.transport.location(&progress.location, &response)?;
        progress.offset = arrived;
        Ok(false)
    }

    /// After a break: asks how much has arrived, or begins anew where the registry has forgotten.
    /// Gives up with what broke where that is no use.
    fn after_break(
        &self,
        endpoint: &Endpoint,
        access: &Access<'_>,
        upload: &Upload<'_>,
        progress: &mut Progress,
        error: Error,
    ) -> Result<()> {
        let worth_it = match &error {
            Error::Network { .. } => true,
            // 404: the upload is forgotten. 416: the part does not follow on what is there.
            Error::Refused(refusal) => matches!(refusal.status, 404 | 408 | 416 | 500..=504),
            _ => false,
        };
        if !worth_it || progress.tries >= self.options().retries {
            return Err(error);
        }
        thread::sleep(self.options().backoff * 2u32.saturating_pow(progress.tries));
        progress.tries += 1;
        let tries = progress.tries;
        let why = "how much of it has arrived, for the connection broke off";
        let request = Request::new("GET", progress.location.clone(), why);
        let response = self.answered(endpoint, access, request)?;
        match (response.status().as_u16(), arrived(&response)) {
            (204 | 200 | 202, Some(arrived)) if arrived <= upload.blob.size => {
                if let Ok(location) = self.transport.location(&progress.location, &response) {
                    progress.location = location;
                }
                progress.offset = arrived;
            }
            _ => match self.begin(endpoint, access, upload)? {
                Some(anew) => *progress = Progress { tries, ..anew },
                // Another client has brought the blob meanwhile; then it is there.
                None => progress.offset = upload.blob.size,
            },
        }
        Ok(())
    }

    /// Stores a manifest or index under the name's tag, or its digest where there is no tag.
    ///
    /// # Errors
    /// As for [`Client::push_blob`]; [`Error::WrongDigest`] where the registry says that it stored
    /// something else.
    pub fn push_manifest(&self, name: &Reference, kind: &MediaType, raw: &[u8]) -> Result<Digest> {
        self.put_manifest(name, kind, raw).map(|(digest, _)| digest)
    }

    /// The same, and whether the registry knows referrers.
    pub(super) fn put_manifest(
        &self,
        name: &Reference,
        kind: &MediaType,
        raw: &[u8],
    ) -> Result<(Digest, bool)> {
        let (endpoint, access) = (self.origin(name.domain())?, Access::push(name));
        let digest = Digest::sha256(raw);
        let selector = name.tag().map_or_else(|| digest.to_string(), str::to_owned);
        let url = format!("{}/{}/manifests/{selector}", endpoint.base, name.path());
        let request = Request::new("PUT", url.clone(), "the manifest, under its name")
            .carrying(kind.as_str(), Payload::bytes(raw));
        let response = self.authorized(&endpoint, &access, request)?;
        if let Some(got) = content_digest(&response)
            && got != digest
        {
            return Err(Error::WrongDigest { what: url, expected: digest, got });
        }
        let referrers = response.headers().contains_key("oci-subject");
        Ok((digest, referrers))
    }
}

/// How many bytes have arrived, by a Range header: `0-41`, or `0-0`, which registries send for one
/// byte and for none.
fn arrived(response: &Response<Body>) -> Option<u64> {
    let range = response.headers().get(header::RANGE)?.to_str().ok()?;
    let last = range.strip_prefix("bytes=").unwrap_or(range).split_once('-')?.1;
    let last: u64 = last.trim().parse().ok()?;
    // A part of one byte is sent again then, and refused with 416 by a registry that has it: never,
    // with parts of a sensible size.
    Some(if last == 0 { 0 } else { last.checked_add(1)? })
}

fn number(response: &Response<Body>, name: &HeaderName) -> Option<u64> {
    response.headers().get(name)?.to_str().ok()?.trim().parse().ok()
}
