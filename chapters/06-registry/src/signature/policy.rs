//! Policies: which images are accepted, in the format of containers-policy.json(5).
//!
//! ```json
//! {
//!   "default": [{"type": "reject"}],
//!   "transports": {"docker": {
//!     "registry.example/team": [{"type": "sigstoreSigned", "keyPath": "/etc/corten/team.pub"}],
//!     "docker.io/library": [{"type": "insecureAcceptAnything"}]
//!   }}
//! }
//! ```
//!
//! The most specific scope alone counts: the name with its tag, the repository, each namespace above
//! it, the registry, `*.` and a domain above it, the empty scope, and at last `default`. All of a
//! scope's requirements must hold.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::attach::Signed;
use super::key::PublicKey;
use super::payload::Payload;
use crate::digest::Digest;
use crate::error::{At, Error, Result};
use crate::reference::Reference;

/// Where the policy is, unless `CORTEN_POLICY` names another file. Without it, all is accepted.
pub const POLICY_FILE: &str = "/etc/corten/policy.json";

/// What is accepted from where.
#[derive(Debug, Clone)]
pub struct Policy {
    /// What stands in errors for it.
    source: String,
    default: Vec<Requirement>,
    scopes: HashMap<String, Vec<Requirement>>,
}

#[derive(Debug, Clone)]
enum Requirement {
    Accept,
    Reject,
    Signed { keys: Vec<PublicKey>, identity: Identity },
}

/// Which name a signature must bear.
#[derive(Debug, Clone, Deserialize, Default)]
#[serde(tag = "type", rename_all = "camelCase", deny_unknown_fields)]
enum Identity {
    /// The very name; of an image that is asked for by digest, its repository.
    #[default]
    MatchRepoDigestOrExact,
    /// The very name.
    MatchExact,
    /// The repository, with any tag.
    MatchRepository,
    /// This name, whatever was asked for.
    #[serde(rename_all = "camelCase")]
    ExactReference { docker_reference: String },
    /// This repository, whatever was asked for.
    #[serde(rename_all = "camelCase")]
    ExactRepository { docker_repository: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    default: Vec<Raw>,
    #[serde(default)]
    transports: HashMap<String, HashMap<String, Vec<Raw>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Raw {
    r#type: String,
    key_path: Option<PathBuf>,
    key_data: Option<String>,
    key_paths: Option<Vec<PathBuf>>,
    signed_identity: Option<Identity>,
}

impl Policy {
    /// The policy that accepts everything.
    pub fn accept_all() -> Policy {
        let (source, scopes) = ("the default policy".to_owned(), HashMap::new());
        Policy { source, default: vec![Requirement::Accept], scopes }
    }

    /// The policy that wants everything to be signed by this key.
    pub fn signed_by(key: PublicKey) -> Policy {
        let (source, scopes) = ("the key".to_owned(), HashMap::new());
        let identity = Identity::default();
        Policy { source, default: vec![Requirement::Signed { keys: vec![key], identity }], scopes }
    }

    /// This machine's policy.
    ///
    /// # Errors
    /// Where the file is there and cannot be read or understood.
    pub fn system() -> Result<Policy> {
        match std::env::var_os("CORTEN_POLICY") {
            Some(path) => Policy::read(Path::new(&path)),
            None => match fs::metadata(POLICY_FILE) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Policy::accept_all()),
                _ => Policy::read(Path::new(POLICY_FILE)),
            },
        }
    }

    /// Reads a policy file.
    ///
    /// # Errors
    /// [`Error::Malformed`] for what is not understood: a requirement that is passed over would be
    /// none.
    pub fn read(path: &Path) -> Result<Policy> {
        let source = path.display().to_string();
        let text = fs::read(path).at("read", path)?;
        let file: File =
            serde_json::from_slice(&text).map_err(|e| Error::malformed(source.as_str(), e))?;
        let requirements = |list: Vec<Raw>| {
            if list.is_empty() {
                return Err(Error::malformed(source.as_str(), "a scope without requirements"));
            }
            list.into_iter().map(|raw| raw.check(&source)).collect::<Result<Vec<_>>>()
        };
        let default = requirements(file.default)?;
        let mut scopes = HashMap::new();
        for (transport, list) in file.transports {
            for (scope, raw) in list {
                // Other transports are for other tools.
                if transport == "docker" {
                    scopes.insert(scope, requirements(raw)?);
                }
            }
        }
        Ok(Policy { source, default, scopes })
    }

    /// Whether this name needs a signature.
    pub fn wants_signatures(&self, name: &Reference) -> bool {
        self.requirements(name).1.iter().any(|r| matches!(r, Requirement::Signed { .. }))
    }

    /// Accepts or refuses an image. `vouched` are the digests of which one must be signed: each of
    /// them determines the image. `found` gives the signatures, and is asked only where it matters.
    ///
    /// # Errors
    /// [`Error::Untrusted`] with the scope and the reason; what `found` fails with.
    pub fn check(
        &self,
        name: &Reference,
        vouched: &[Digest],
        found: &mut dyn FnMut() -> Result<Vec<Signed>>,
    ) -> Result<()> {
        let (scope, requirements) = self.requirements(name);
        let refuse = |why: String| {
            let (name, policy) = (name.familiar(), format!("{}, scope {scope}", self.source));
            Err(Error::Untrusted { name, policy, why })
        };
        for requirement in requirements {
            match requirement {
                Requirement::Accept => {}
                Requirement::Reject => return refuse("it refuses all images of it".to_owned()),
                Requirement::Signed { keys, identity } => {
                    let signatures = found()?;
                    if signatures.is_empty() {
                        return refuse("it wants a signature, and there is none".to_owned());
                    }
                    let verdicts: Vec<std::result::Result<(), String>> = signatures
                        .iter()
                        .map(|signed| verify(signed, keys, identity, name, vouched))
                        .collect();
                    if !verdicts.iter().any(std::result::Result::is_ok) {
                        let whys: Vec<String> =
                            verdicts.into_iter().filter_map(std::result::Result::err).collect();
                        return refuse(format!("no signature is good: {}", whys.join("; ")));
                    }
                }
            }
        }
        Ok(())
    }

    /// Accepts or refuses an image without a name, for which `default` alone speaks.
    pub(crate) fn check_nameless(&self, what: &str) -> Result<()> {
        if self.default.iter().all(|r| matches!(r, Requirement::Accept)) {
            return Ok(());
        }
        let policy = format!("{}, scope default", self.source);
        let why = "it has no name that a signature could be for".to_owned();
        Err(Error::Untrusted { name: what.to_owned(), policy, why })
    }

    /// The most specific scope of a name, and what it wants.
    fn requirements(&self, name: &Reference) -> (String, &[Requirement]) {
        for scope in scopes(name) {
            if let Some(found) = self.scopes.get(&scope) {
                return (format!("{scope:?}"), found);
            }
        }
        ("default".to_owned(), &self.default)
    }
}

/// All scopes of a name, the most specific first.
fn scopes(name: &Reference) -> Vec<String> {
    let mut scopes = vec![name.to_string(), name.name()];
    let mut path = name.name();
    while let Some((above, _)) = path.rsplit_once('/') {
        path = above.to_owned();
        scopes.push(path.clone());
    }
    let mut domain = name.domain().split(':').next().unwrap_or_default();
    while let Some((_, above)) = domain.split_once('.') {
        scopes.push(format!("*.{above}"));
        domain = above;
    }
    scopes.push(String::new());
    scopes
}

impl Raw {
    fn check(self, source: &str) -> Result<Requirement> {
        let bad = |why: String| Error::malformed(source, why);
        match self.r#type.as_str() {
            "insecureAcceptAnything" => Ok(Requirement::Accept),
            "reject" => Ok(Requirement::Reject),
            "sigstoreSigned" => {
                let mut keys = Vec::new();
                for path in self.key_path.iter().chain(self.key_paths.iter().flatten()) {
                    keys.push(PublicKey::read(path)?);
                }
                if let Some(data) = &self.key_data {
                    let pem =
                        STANDARD.decode(data).ok().and_then(|pem| String::from_utf8(pem).ok());
                    let pem = pem.ok_or_else(|| bad("keyData is not base64 of PEM".to_owned()))?;
                    keys.push(PublicKey::parse(&format!("{source}: keyData"), &pem)?);
                }
                if keys.is_empty() {
                    return Err(
                        bad("sigstoreSigned wants keyPath, keyPaths or keyData".to_owned()),
                    );
                }
                let identity = self.signed_identity.unwrap_or_default();
                Ok(Requirement::Signed { keys, identity })
            }
            "signedBy" => Err(bad(
                "signedBy means GPG signatures, which Corten does not verify: use sigstoreSigned"
                    .to_owned(),
            )),
            other => Err(bad(format!("a requirement of the unknown type {other:?}"))),
        }
    }
}

fn verify(
    signed: &Signed,
    keys: &[PublicKey],
    identity: &Identity,
    name: &Reference,
    vouched: &[Digest],
) -> std::result::Result<(), String> {
    // The key first: what it did not sign is not even parsed.
    if !keys.iter().any(|key| key.verifies(&signed.payload, &signed.signature)) {
        return Err("one is by another key".to_owned());
    }
    let payload = Payload::parse(&signed.payload).map_err(|e| e.to_string())?;
    if !vouched.contains(&payload.digest) {
        return Err(format!("one is of {}, another image", payload.digest));
    }
    if identity.fits(&payload, name).map_err(|e| e.to_string())? {
        return Ok(());
    }
    Err(format!("one is for the name {:?}", payload.name))
}

impl Identity {
    fn fits(&self, payload: &Payload, name: &Reference) -> Result<bool> {
        let (signed, tagged) = payload.reference()?;
        let repository = signed.name() == name.name();
        // cosign signs for a repository, without a tag.
        let tag = !tagged || signed.tag() == name.tag();
        Ok(match self {
            Identity::MatchRepository => repository,
            Identity::MatchExact => repository && tag && name.tag().is_some(),
            Identity::MatchRepoDigestOrExact => repository && (tag || name.digest().is_some()),
            Identity::ExactReference { docker_reference } => {
                signed == Reference::parse(docker_reference)?
            }
            Identity::ExactRepository { docker_repository } => {
                signed.name() == Reference::parse(docker_repository)?.name()
            }
        })
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
