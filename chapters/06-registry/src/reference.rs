//! Image references: `busybox`, `registry.example/acme/app:1.2`, `localhost:5000/x@sha256:…`.
//!
//! The grammar and the normalisation are Docker's (distribution/reference, `reference.go` and
//! `normalize.go`): a name without a registry is one of `docker.io`, one without a slash is in
//! `library/`, one without tag and digest has the tag `latest`. A [`Reference`] is always
//! normalised; [`Reference::familiar`] leaves out again what a user need not type.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;
use crate::error::{Error, Result};

/// The registry of a name that names none.
const DEFAULT_DOMAIN: &str = "docker.io";
/// What the default registry was called before; still in old scripts.
const LEGACY_DOMAIN: &str = "index.docker.io";
/// The namespace of names without a slash in the default registry.
const OFFICIAL: &str = "library/";
/// The tag of a reference with neither tag nor digest.
const DEFAULT_TAG: &str = "latest";
/// Limits of the grammar.
const MAX_PATH: usize = 255;
const MAX_TAG: usize = 128;

/// A normalised image reference. At least one of tag and digest is there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Parses and normalises.
    ///
    /// # Errors
    /// [`Error::Invalid`], which says which part breaks the grammar and what would be right.
    pub fn parse(text: &str) -> Result<Reference> {
        parse(text).map_err(|why| Error::invalid("image reference", text, why))
    }

    /// Whether a text names a repository alone, so that its tag is the usual one, or all are meant.
    pub fn is_name_only(text: &str) -> bool {
        !text.contains('@') && text.rsplit('/').next().is_some_and(|last| !last.contains(':'))
    }

    /// The registry's host and port: `docker.io`, `localhost:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository within the registry: `library/busybox`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The full name without tag and digest: `docker.io/library/busybox`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The tag.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest of the manifest or index.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What stands after `manifests/` in the registry's URL: the digest where there is one.
    pub fn selector(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.as_deref().unwrap_or(DEFAULT_TAG).to_owned(),
        }
    }

    /// The same name by digest alone.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Reference {
        Reference { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// The same name with another tag alone.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a tag that breaks the grammar.
    pub fn with_tag(&self, tag: &str) -> Result<Reference> {
        check_tag(tag).map_err(|why| Error::invalid("image reference", tag, why))?;
        Ok(Reference { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// The name as a user types it, without tag and digest: `busybox`.
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.name();
        }
        match self.path.strip_prefix(OFFICIAL) {
            // `docker.io/library/localhost` cannot be shortened: it would read as something else.
            Some(short) if !short.contains('/') => short.to_owned(),
            _ if names_a_domain(self.path.split('/').next().unwrap_or("")) => self.name(),
            _ => self.path.clone(),
        }
    }

    /// The whole reference as a user types it: `busybox:latest`.
    pub fn familiar(&self) -> String {
        self.suffixed(self.familiar_name())
    }

    fn suffixed(&self, mut name: String) -> String {
        if let Some(tag) = &self.tag {
            name = format!("{name}:{tag}");
        }
        if let Some(digest) = &self.digest {
            name = format!("{name}@{digest}");
        }
        name
    }
}

impl fmt::Display for Reference {
    /// The canonical form: `docker.io/library/busybox:latest`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.suffixed(self.name()))
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Reference> {
        Reference::parse(text)
    }
}

/// Whether the part before the first slash is a registry and not a namespace of the default one.
fn names_a_domain(first: &str) -> bool {
    first.contains(['.', ':', '['])
        || first == "localhost"
        || first.bytes().any(|b| b.is_ascii_uppercase())
}

// ANCHOR: parse
fn parse(text: &str) -> std::result::Result<Reference, String> {
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    if text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return Err("64 hexadecimal digits are an image id, not a name".to_owned());
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => {
            let digest = digest.parse::<Digest>().map_err(|e| e.to_string())?;
            (rest, Some(digest))
        }
        None => (text, None),
    };
    let (domain, remainder) = match rest.split_once('/') {
        Some((first, after)) if names_a_domain(first) => (first, after),
        _ => (DEFAULT_DOMAIN, rest),
    };
    let (path, tag) = match remainder.split_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (remainder, None),
    };
    check_domain(domain)?;
    check_path(path)?;
    tag.map_or(Ok(()), check_tag)?;

    let domain = if domain == LEGACY_DOMAIN { DEFAULT_DOMAIN } else { domain };
    let official = domain == DEFAULT_DOMAIN && !path.contains('/');
    let path = if official { format!("{OFFICIAL}{path}") } else { path.to_owned() };
    if path.len() > MAX_PATH {
        return Err(format!("the repository name is longer than {MAX_PATH} characters"));
    }
    let tag = match (tag, &digest) {
        (None, None) => Some(DEFAULT_TAG.to_owned()),
        (tag, _) => tag.map(str::to_owned),
    };
    Ok(Reference { domain: domain.to_owned(), path, tag, digest })
}
// ANCHOR_END: parse

fn check_domain(domain: &str) -> std::result::Result<(), String> {
    let bad = |why: &str| Err(format!("registry {domain:?}: {why}"));
    let (host, port) = match domain.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (domain, None),
    };
    if port.is_some_and(|p| p.parse::<u16>().is_err() || !p.bytes().all(|b| b.is_ascii_digit())) {
        return bad("the port must be a number up to 65535");
    }
    if let Some(inner) = host.strip_prefix('[') {
        let address = inner.strip_suffix(']').and_then(|a| a.parse::<std::net::Ipv6Addr>().ok());
        return if address.is_some() { Ok(()) } else { bad("not an IPv6 address in brackets") };
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if host.split('.').all(label) {
        Ok(())
    } else {
        bad("a host name consists of letters, digits and hyphens between dots")
    }
}

fn check_path(path: &str) -> std::result::Result<(), String> {
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(format!("repository name {path:?} must be lower case"));
    }
    if path.split('/').all(is_path_component) {
        return Ok(());
    }
    Err(format!(
        "repository name {path:?}: each part between slashes consists of a-z and 0-9, separated \
         by one dot, one or two underscores, or hyphens"
    ))
}

/// `alnum (separator alnum)*` with separator `.`, `_`, `__` or any number of `-`.
fn is_path_component(part: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    if !bytes.first().copied().is_some_and(alnum) || !bytes.last().copied().is_some_and(alnum) {
        return false;
    }
    part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).all(|separator| {
        matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-')
    })
}

fn check_tag(tag: &str) -> std::result::Result<(), String> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let ok = tag.len() <= MAX_TAG
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-');
    if ok {
        return Ok(());
    }
    Err(format!(
        "tag {tag:?}: up to {MAX_TAG} letters, digits, underscores, dots and hyphens, not beginning \
         with a dot or hyphen"
    ))
}

#[cfg(test)]
#[path = "reference_tests.rs"]
mod tests;
