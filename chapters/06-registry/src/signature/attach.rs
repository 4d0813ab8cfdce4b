//! Where signatures are: beside the image, under a tag made of its digest.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::key::PrivateKey;
use super::payload::Payload;
use crate::client::{Client, Content, Upload};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::json;
use crate::manifest::Descriptor;
use crate::media::MediaType;
use crate::reference::Reference;

const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// The most signatures of one image that are looked at.
const MAX_SIGNATURES: usize = 64;
/// The largest payload that is read.
const MAX_PAYLOAD: u64 = 64 << 10;

/// A payload and a signature of it. Nothing is verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The bytes that were signed.
    pub payload: Vec<u8>,
    /// The signature, ECDSA in DER.
    pub signature: Vec<u8>,
}

/// How signatures are kept in the store.
#[derive(Serialize, Deserialize)]
pub(crate) struct Kept {
    payload: String,
    signature: String,
}

impl Signed {
    pub(crate) fn keep(&self) -> Kept {
        let (payload, signature) =
            (STANDARD.encode(&self.payload), STANDARD.encode(&self.signature));
        Kept { payload, signature }
    }

    pub(crate) fn kept(from: &Kept) -> Option<Signed> {
        let payload = STANDARD.decode(&from.payload).ok()?;
        Some(Signed { payload, signature: STANDARD.decode(&from.signature).ok()? })
    }
}

/// The name under which the signatures of `digest` are.
pub fn signature_name(name: &Reference, digest: &Digest) -> Result<Reference> {
    name.with_tag(&format!("{}-{}.sig", digest.algorithm().name(), digest.hex()))
}

/// All signatures that the registry has of the manifest `digest`, by whomever.
///
/// # Errors
/// As for [`Client::manifest`]; that there is none is no error.
pub fn signatures(client: &Client, name: &Reference, digest: &Digest) -> Result<Vec<Signed>> {
    let tag = signature_name(name, digest)?;
    let why = "whether the image is signed, under the tag made of its digest";
    let Some((url, raw)) = client.raw_manifest(&tag, why)? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for (blob, signature) in layers(&url, &raw)? {
        if blob.size > MAX_PAYLOAD {
            return Err(Error::TooLarge { what: format!("{url}: payload"), limit: MAX_PAYLOAD });
        }
        let payload = client.small_blob(name, &blob)?;
        found.push(Signed { payload, signature });
    }
    Ok(found)
}

/// The payloads' descriptors and the signatures in a manifest.
fn layers(url: &str, raw: &[u8]) -> Result<Vec<(Descriptor, Vec<u8>)>> {
    json::check(url, raw)?;
    let bad = |why: String| Error::malformed(url, why);
    let document: Value = serde_json::from_slice(raw).map_err(|e| bad(e.to_string()))?;
    let layers = document["layers"].as_array().ok_or_else(|| bad("no layers".to_owned()))?;
    if layers.len() > MAX_SIGNATURES {
        return Err(bad(format!("more than {MAX_SIGNATURES} signatures")));
    }
    let mut found = Vec::new();
    for layer in layers {
        let signature = layer["annotations"][SIGNATURE].as_str();
        // Other tools may keep other things there.
        let (Some(signature), true) = (signature, layer["mediaType"] == SIMPLE_SIGNING) else {
            continue;
        };
        let signature = STANDARD.decode(signature).map_err(|e| bad(e.to_string()))?;
        let digest: Digest = layer["digest"].as_str().unwrap_or_default().parse()?;
        let size = layer["size"].as_u64().ok_or_else(|| bad("a layer without size".to_owned()))?;
        let kind = MediaType::Other(SIMPLE_SIGNING.to_owned());
        found.push((Descriptor::new(kind, digest, size), signature));
    }
    Ok(found)
}

/// Signs what `name` stands for in its registry, and attaches the signature there. Gives the digest
/// that was signed. With `recursive`, the manifests of an index are signed, too: who chooses one of
/// them first and asks for its signature then, as skopeo does, finds it.
///
/// # Errors
/// As for [`Client::manifest`] and [`Client::push_blob`].
pub fn sign(
    client: &Client,
    key: &PrivateKey,
    name: &Reference,
    recursive: bool,
) -> Result<Digest> {
    let fetched = client.manifest(name)?;
    attach(client, key, name, &fetched.digest)?;
    if let (crate::Document::Index(index), true) = (&fetched.document, recursive) {
        for entry in &index.manifests {
            attach(client, key, name, &entry.digest)?;
        }
    }
    Ok(fetched.digest)
}

fn attach(client: &Client, key: &PrivateKey, name: &Reference, digest: &Digest) -> Result<()> {
    let signed_name = match name.tag() {
        Some(tag) => format!("{}:{tag}", name.name()),
        None => name.name(),
    };
    let payload = Payload { digest: digest.clone(), name: signed_name }.to_bytes()?;
    let blob = Descriptor::of(MediaType::Other(SIMPLE_SIGNING.to_owned()), &payload);
    let tag = signature_name(name, digest)?;
    let why = "which signatures are there already";
    let mut layers = match client.raw_manifest(&tag, why)? {
        Some((url, raw)) => layers_of(&url, &raw)?,
        None => Vec::new(),
    };
    let signature = STANDARD.encode(key.sign(&payload));
    let layer = json!({"mediaType": SIMPLE_SIGNING, "digest": blob.digest.to_string(),
        "size": blob.size, "annotations": HashMap::from([(SIGNATURE, signature)])});
    if layers.contains(&layer) {
        return Ok(());
    }
    layers.push(layer);
    let digests: Vec<Value> = layers.iter().map(|layer| layer["digest"].clone()).collect();
    let config = json!({"architecture": "", "os": "", "config": {},
        "rootfs": {"type": "layers", "diff_ids": digests}})
    .to_string();
    let config_blob = Descriptor::of(MediaType::OciConfig, config.as_bytes());
    for (blob, bytes) in [(&blob, payload.as_slice()), (&config_blob, config.as_bytes())] {
        let sent = std::sync::Arc::new(|_| {});
        let content = Content::Bytes(bytes);
        client.push_blob(&Upload { to: name, blob, content, mount: None, sent })?;
    }
    let manifest = json!({"schemaVersion": 2, "mediaType": MediaType::OciManifest.as_str(),
        "config": {"mediaType": MediaType::OciConfig.as_str(),
            "digest": config_blob.digest.to_string(), "size": config_blob.size},
        "layers": layers});
    client.push_manifest(&tag, &MediaType::OciManifest, manifest.to_string().as_bytes()).map(drop)
}

fn layers_of(url: &str, raw: &[u8]) -> Result<Vec<Value>> {
    json::check(url, raw)?;
    let mut document: Value = serde_json::from_slice(raw).map_err(|e| Error::malformed(url, e))?;
    match document["layers"].take() {
        Value::Array(layers) => Ok(layers),
        _ => Err(Error::malformed(url, "no layers")),
    }
}
