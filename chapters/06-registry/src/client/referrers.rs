//! Referrers: what refers to an image, such as its bill of materials (distribution specification,
//! "Listing Referrers"). A registry that does not know them keeps the list, by the clients' hand, as
//! an index under the tag `sha256-HEX`: the fallback tag.

use serde_json::{Value, json};

use super::Client;
use super::request::Request;
use super::session::Access;
use super::url::with_query;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::json;
use crate::manifest::{Descriptor, MAX_MANIFEST};
use crate::media::MediaType;
use crate::reference::Reference;

/// A manifest that refers to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrer {
    /// The manifest.
    pub descriptor: Descriptor,
    /// What it is: `application/spdx+json`, for example.
    pub artifact_type: Option<String>,
}

impl Client {
    /// What refers to the manifest `subject` in this repository, of one kind or of all.
    ///
    /// # Errors
    /// [`Error::Refused`] other than 404, [`Error::Network`], [`Error::Malformed`].
    pub fn referrers(
        &self,
        name: &Reference,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Referrer>> {
        let (endpoint, access) = (self.origin(name.domain())?, Access::pull(name));
        let mut url = format!("{}/{}/referrers/{subject}", endpoint.base, name.path());
        if let Some(kind) = artifact_type {
            url = with_query(&url, "artifactType", kind);
        }
        let request = Request::new("GET", url.clone(), "what refers to the image");
        let raw = match self.authorized(&endpoint, &access, request) {
            Ok(response) => self.read_all("GET", &url, response, MAX_MANIFEST)?,
            Err(error) if error.is_not_found() => match self.fallback(name, subject)? {
                Some(raw) => raw,
                None => return Ok(Vec::new()),
            },
            Err(error) => return Err(error),
        };
        let mut found = parse(&url, &raw)?;
        // A registry may leave the choice to us.
        if let Some(kind) = artifact_type {
            found.retain(|referrer| referrer.artifact_type.as_deref() == Some(kind));
        }
        Ok(found)
    }

    /// The index under the fallback tag.
    fn fallback(&self, name: &Reference, subject: &Digest) -> Result<Option<Vec<u8>>> {
        match self.manifest(&fallback_name(name, subject)?) {
            Ok(fetched) => Ok(Some(fetched.document.raw().to_vec())),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Stores a manifest that has a `subject`, and sees to it that it is found from there.
    ///
    /// # Errors
    /// As for [`Client::push_manifest`]; [`Error::Malformed`] without a subject.
    pub fn push_referrer(&self, name: &Reference, raw: &[u8]) -> Result<Digest> {
        let bad = |why: &str| Error::malformed("manifest of a referrer", why);
        let document: Value =
            serde_json::from_slice(raw).map_err(|e| bad(&format!("not JSON: {e}")))?;
        let subject = document["subject"]["digest"].as_str().ok_or_else(|| bad("no subject"))?;
        let subject: Digest = subject.parse()?;
        let kind = MediaType::OciManifest;
        let digest = Digest::sha256(raw);
        let by_digest = name.with_digest(digest.clone());
        let (_, known) = self.put_manifest(&by_digest, &kind, raw)?;
        if known {
            return Ok(digest);
        }
        let mut index = match self.fallback(name, &subject)? {
            Some(raw) => serde_json::from_slice(&raw).map_err(|e| bad(&e.to_string()))?,
            None => json!({"schemaVersion": 2, "mediaType": MediaType::OciIndex.as_str(),
                "manifests": []}),
        };
        let artifact = match document["artifactType"].as_str() {
            Some(kind) => kind,
            None => document["config"]["mediaType"].as_str().unwrap_or_default(),
        };
        let entry = json!({"mediaType": kind.as_str(), "digest": digest.to_string(),
            "size": raw.len(), "artifactType": artifact});
        if let Some(list) = index["manifests"].as_array_mut() {
            list.retain(|old| old["digest"] != entry["digest"]);
            list.push(entry);
        }
        let raw = serde_json::to_vec(&index).map_err(|e| bad(&e.to_string()))?;
        self.push_manifest(&fallback_name(name, &subject)?, &MediaType::OciIndex, &raw)?;
        Ok(digest)
    }
}

/// The name whose tag is made of a digest: `NAME:sha256-HEX`.
fn fallback_name(name: &Reference, subject: &Digest) -> Result<Reference> {
    name.with_tag(&format!("{}-{}", subject.algorithm().name(), subject.hex()))
}

fn parse(what: &str, raw: &[u8]) -> Result<Vec<Referrer>> {
    json::check(what, raw)?;
    let bad = |e: &dyn std::fmt::Display| Error::malformed(what, format!("not an index: {e}"));
    let index: Value = serde_json::from_slice(raw).map_err(|e| bad(&e))?;
    let entries = index["manifests"].as_array().ok_or_else(|| bad(&"no manifests"))?;
    let referrer = |entry: &Value| {
        let text = |key: &str| entry[key].as_str();
        let digest: Digest = text("digest").unwrap_or_default().parse()?;
        let size = entry["size"].as_u64().ok_or_else(|| bad(&"an entry without a size"))?;
        let kind = MediaType::parse(text("mediaType").unwrap_or_default());
        let artifact_type = text("artifactType").map(str::to_owned);
        Ok(Referrer { descriptor: Descriptor::new(kind, digest, size), artifact_type })
    };
    entries.iter().map(referrer).collect()
}
