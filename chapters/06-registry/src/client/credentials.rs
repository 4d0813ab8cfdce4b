//! Credentials: what `docker login` left in config.json, or in a credential helper.
//!
//! A helper is a program `docker-credential-NAME` which reads a registry's name and writes JSON with
//! user and secret (docker-credential-helpers, README.md, "Development"). `credHelpers` names one
//! for a registry, `credsStore` one for all.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::error::{At, Error, Result};

/// The user name by which a helper says that the secret is an identity token.
const TOKEN_USER: &str = "<token>";
/// Docker Hub's key in config.json and with helpers, from the time of version 1 of the protocol.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// What proves to a registry who we are.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A user's name and password.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
    /// For the token server, in exchange for a token.
    Identity(String),
    /// A bearer token for the registry itself.
    Token(String),
}

impl Credentials {
    /// The value of an Authorization header with user and password.
    pub(super) fn basic(&self) -> Option<String> {
        let Credentials::Password { user, password } = self else { return None };
        Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A password must not come into a log by way of {:?}.
        match self {
            Credentials::Password { user, .. } => write!(f, "Password({user})"),
            Credentials::Identity(_) => f.write_str("Identity"),
            Credentials::Token(_) => f.write_str("Token"),
        }
    }
}

/// Docker's config.json: `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`.
pub(super) fn default_config() -> Option<PathBuf> {
    let dir = match std::env::var_os("DOCKER_CONFIG").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".docker"),
    };
    Some(dir.join("config.json"))
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct DockerConfig {
    #[serde(default)]
    auths: HashMap<String, AuthEntry>,
    creds_store: Option<String>,
    #[serde(default)]
    cred_helpers: HashMap<String, String>,
}

#[derive(Deserialize)]
struct AuthEntry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

/// The credentials for a registry, if any. Helpers are looked for in `helpers` first, then in PATH.
pub(super) fn find(
    config: &Path,
    helpers: Option<&Path>,
    domain: &str,
) -> Result<Option<Credentials>> {
    let text = match fs::read(config) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        result => result.at("read", config)?,
    };
    let what = config.display().to_string();
    let config: DockerConfig =
        serde_json::from_slice(&text).map_err(|e| Error::malformed(what.as_str(), e))?;
    let names = names_of(domain);
    let own = config.cred_helpers.iter().find(|(key, _)| names.contains(&host_of(key)));
    let store = config.creds_store.as_ref().filter(|name| !name.is_empty());
    if let Some(name) = own.map(|(_, name)| name).or(store)
        && let Some(found) = ask_helper(name, helpers, domain)?
    {
        return Ok(Some(found));
    }
    let found = names.iter().find_map(|name| {
        config.auths.iter().find(|(key, _)| host_of(key) == *name).map(|(_, entry)| entry)
    });
    found.map_or(Ok(None), |entry| entry.credentials(&what, domain))
}

impl AuthEntry {
    fn credentials(&self, what: &str, domain: &str) -> Result<Option<Credentials>> {
        let full = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(token) = full(&self.registrytoken) {
            return Ok(Some(Credentials::Token(token)));
        }
        if let Some(token) = full(&self.identitytoken) {
            return Ok(Some(Credentials::Identity(token)));
        }
        if let (Some(user), Some(password)) = (full(&self.username), full(&self.password)) {
            return Ok(Some(Credentials::Password { user, password }));
        }
        let Some(auth) = full(&self.auth) else { return Ok(None) };
        let bad =
            || Error::malformed(what, format!("auth of {domain} is not base64 of USER:PASSWORD"));
        let plain = STANDARD.decode(auth.trim()).map_err(|_| bad())?;
        let plain = String::from_utf8(plain).map_err(|_| bad())?;
        let (user, password) = plain.split_once(':').ok_or_else(bad)?;
        // Old versions of Docker padded with NUL.
        let password = password.trim_end_matches('\0');
        Ok(Some(Credentials::Password { user: user.to_owned(), password: password.to_owned() }))
    }
}

/// Asks a helper.
fn ask_helper(name: &str, helpers: Option<&Path>, domain: &str) -> Result<Option<Credentials>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }
    let Some(text) = call_helper(name, helpers, "get", key_of(domain))? else { return Ok(None) };
    let answer: Answer = serde_json::from_str(&text).map_err(|_| {
        let helper = format!("credential helper docker-credential-{name}");
        Error::malformed(helper, "its answer is not JSON")
    })?;
    Ok(Some(match answer.username.as_str() {
        TOKEN_USER => Credentials::Identity(answer.secret),
        _ => Credentials::Password { user: answer.username, password: answer.secret },
    }))
}

/// The names that a registry has in config.json.
pub(super) fn names_of(domain: &str) -> Vec<&str> {
    match domain {
        "docker.io" => vec!["index.docker.io", "docker.io", "registry-1.docker.io"],
        other => vec![other],
    }
}

/// The one under which its credentials are kept.
pub(super) fn key_of(domain: &str) -> &str {
    if domain == "docker.io" { HUB_KEY } else { domain }
}

/// Runs `docker-credential-NAME OPERATION` with `input`. `None` where it knows nothing.
pub(super) fn call_helper(
    name: &str,
    helpers: Option<&Path>,
    operation: &str,
    input: &str,
) -> Result<Option<String>> {
    let program = format!("docker-credential-{name}");
    let bad = |why: String| Error::malformed(format!("credential helper {program}"), why);
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
        return Err(bad("its name must consist of letters, digits, dots and hyphens".to_owned()));
    }
    let path = helpers.map(|dir| dir.join(&program)).filter(|path| path.exists());
    let path = path.unwrap_or_else(|| PathBuf::from(&program));
    let mut child = Command::new(&path)
        .arg(operation)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|e| bad(format!("cannot be run: {e} (config.json names it)")))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends without reading says by its status what it thinks.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(|e| bad(e.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        // The helpers' protocol has these words for "nothing known", and no status of its own.
        if text.contains("credentials not found") {
            return Ok(None);
        }
        let said: String = text.trim().chars().filter(|c| !c.is_control()).take(200).collect();
        return Err(bad(format!("failed ({}): {said}", output.status)));
    }
    Ok(Some(text.into_owned()))
}

/// The host of a key of `auths`, which may be a URL: `https://index.docker.io/v1/`.
pub(super) fn host_of(key: &str) -> &str {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn password(user: &str, password: &str) -> Option<Credentials> {
        Some(Credentials::Password { user: user.into(), password: password.into() })
    }

    #[test]
    fn credentials_are_found_as_docker_login_writes_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let text = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpwOnc="},
            "reg:5000":{"username":"a","password":"b"},"helper.io":{},
            "id.io":{"auth":"eDo=","identitytoken":"i"},"t.io":{"registrytoken":"t"}}}"#;
        fs::write(&path, text).unwrap();
        let get = |domain| find(&path, None, domain).unwrap();
        assert_eq!(get("docker.io"), password("u", "p:w"));
        assert_eq!(get("reg:5000").unwrap().basic().unwrap(), "Basic YTpi");
        assert_eq!((get("reg"), get("helper.io")), (None, None));
        assert_eq!(get("id.io"), Some(Credentials::Identity("i".into())));
        assert_eq!(get("t.io"), Some(Credentials::Token("t".into())));
        assert!(!format!("{:?}", get("reg:5000")).contains("\"b\""));
        assert_eq!(find(&dir.path().join("none"), None, "reg").unwrap(), None);
    }

    #[test]
    fn a_credential_helper_is_asked_and_one_that_fails_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let helper = dir.path().join("docker-credential-test");
        let script = "#!/bin/sh\nread -r host || true\ncase $host in\n\
            reg:5000) echo '{\"ServerURL\":\"x\",\"Username\":\"u\",\"Secret\":\"s\"}' ;;\n\
            id.io) echo '{\"Username\":\"<token>\",\"Secret\":\"i\"}' ;;\n\
            bad.io) echo 'locked'; exit 1 ;;\n\
            *) echo 'credentials not found in native keychain'; exit 1 ;;\nesac\n";
        fs::write(&helper, script).unwrap();
        fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
        let path = dir.path().join("config.json");
        fs::write(&path, r#"{"credsStore":"test","credHelpers":{"evil.io":"../x"}}"#).unwrap();
        let get = |domain| find(&path, Some(dir.path()), domain);
        assert_eq!(get("reg:5000").unwrap(), password("u", "s"));
        assert_eq!(get("id.io").unwrap(), Some(Credentials::Identity("i".into())));
        assert_eq!(get("unknown.io").unwrap(), None);
        let error = get("bad.io").unwrap_err().to_string();
        assert!(error.contains("docker-credential-test: failed") && error.contains("locked"));
        assert!(get("evil.io").unwrap_err().to_string().contains("its name must consist of"));
    }
}
