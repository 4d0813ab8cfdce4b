//! The payload: what is signed (containers/image, "containers-signature(5)", section "JSON").
//!
//! Its `critical` part is read strictly: a field that is not known could change what the signature
//! means.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::reference::Reference;

/// The `type` of sigstore's payloads.
const KIND: &str = "cosign container image signature";

/// A statement: this digest is the image of this name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// The digest of the manifest or index.
    pub digest: Digest,
    /// The name, with or without a tag.
    pub name: String,
}

#[derive(Serialize, Deserialize)]
struct Document {
    critical: Critical,
    optional: Option<serde_json::Map<String, serde_json::Value>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    identity: Identity,
    image: Image,
    r#type: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    #[serde(rename = "docker-reference")]
    docker_reference: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    docker_manifest_digest: String,
}

impl Payload {
    /// The bytes that are signed.
    ///
    /// # Errors
    /// Where the document cannot be serialised.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let creator = serde_json::Value::from(concat!("corten ", env!("CARGO_PKG_VERSION")));
        let document = Document {
            critical: Critical {
                identity: Identity { docker_reference: self.name.clone() },
                image: Image { docker_manifest_digest: self.digest.to_string() },
                r#type: KIND.to_owned(),
            },
            optional: Some([("creator".to_owned(), creator)].into_iter().collect()),
        };
        serde_json::to_vec(&document).map_err(|e| Error::malformed("signature payload", e))
    }

    /// Reads a payload whose signature was verified before.
    ///
    /// # Errors
    /// [`Error::Malformed`] for another type, or a `critical` part with more or less in it.
    pub fn parse(bytes: &[u8]) -> Result<Payload> {
        let bad = |why: String| Error::malformed("signature payload", why);
        let document: Document = serde_json::from_slice(bytes).map_err(|e| bad(e.to_string()))?;
        let critical = document.critical;
        if critical.r#type != KIND {
            return Err(bad(format!("its type is {:?}, not {KIND:?}", critical.r#type)));
        }
        let digest = critical.image.docker_manifest_digest.parse()?;
        Ok(Payload { digest, name: critical.identity.docker_reference })
    }

    /// The signed name, normalised; without a tag where the payload has none, as cosign writes it.
    pub(super) fn reference(&self) -> Result<(Reference, bool)> {
        let reference = Reference::parse(&self.name)?;
        // `Reference` fills in `latest`, which is not what was signed.
        let last = self.name.rsplit('/').next().unwrap_or(&self.name);
        Ok((reference, last.contains(':')))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_read_strictly_where_it_is_critical() {
        let payload = Payload { digest: Digest::sha256(b"x"), name: "reg:5000/app:1".into() };
        let bytes = payload.to_bytes().unwrap();
        assert_eq!(Payload::parse(&bytes).unwrap(), payload);
        let text = String::from_utf8(bytes).unwrap();
        let optional = text.replace("\"creator\"", "\"anything\"");
        assert_eq!(Payload::parse(optional.as_bytes()).unwrap(), payload);
        for (from, to) in [
            ("\"identity\"", "\"more\":1,\"identity\""),
            ("cosign container", "atomic container"),
            ("docker-reference\":", "docker-reference2\":"),
            ("sha256:", "sha256:00"),
        ] {
            assert!(Payload::parse(text.replace(from, to).as_bytes()).is_err(), "{to}");
        }
    }

    #[test]
    fn a_name_without_a_tag_stays_without() {
        for (text, tagged) in
            [("reg:5000/app", false), ("reg:5000/app:1", true), ("busybox", false)]
        {
            let payload = Payload { digest: Digest::sha256(b"x"), name: text.into() };
            assert_eq!(payload.reference().unwrap().1, tagged, "{text}");
        }
    }
}
