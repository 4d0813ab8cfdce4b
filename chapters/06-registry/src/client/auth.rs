//! Who we are: challenges, tokens and credentials.
//!
//! A registry answers 401 with the way to get in (`WWW-Authenticate`). `Basic` wants user and
//! password with every request. `Bearer` names a token server (`realm`), which gives a short-lived
//! token for a scope such as `repository:library/busybox:pull`; anonymous users get one too
//! (distribution, docs/spec/auth/token.md).

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::error::{At, Error, Result};

/// One way in that a 401 offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

impl Challenge {
    /// Parses the values of all `WWW-Authenticate` headers (RFC 9110, section 11.6.1), passing over
    /// schemes that are not known.
    pub(super) fn parse_all<'a>(headers: impl Iterator<Item = &'a str>) -> Vec<Challenge> {
        headers.flat_map(parse_header).collect()
    }
}

fn parse_header(header: &str) -> Vec<Challenge> {
    let mut schemes: Vec<(String, HashMap<String, String>)> = Vec::new();
    for part in split_outside_quotes(header) {
        let part = part.trim();
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        // `Bearer realm` begins a challenge, a lone `service` continues it.
        let (scheme, key) = match name.trim().split_once(char::is_whitespace) {
            Some((scheme, key)) => (Some(scheme), key.trim()),
            None if value.is_empty() => (Some(name.trim()), ""),
            None => (None, name.trim()),
        };
        if let Some(scheme) = scheme.filter(|scheme| !scheme.is_empty()) {
            schemes.push((scheme.to_ascii_lowercase(), HashMap::new()));
        }
        if let Some((_, parameters)) = schemes.last_mut() {
            parameters.insert(key.to_ascii_lowercase(), unquote(value.trim()));
        }
    }
    let challenge = |(scheme, mut parameters): (String, HashMap<String, String>)| match &*scheme {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer {
            realm: parameters.remove("realm")?,
            service: parameters.remove("service"),
            scope: parameters.remove("scope"),
        }),
        _ => None,
    };
    schemes.into_iter().filter_map(challenge).collect()
}

fn split_outside_quotes(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn unquote(value: &str) -> String {
    match value.strip_prefix('"').and_then(|v| v.strip_suffix('"')) {
        Some(inner) => inner.replace("\\\"", "\"").replace("\\\\", "\\"),
        None => value.to_owned(),
    }
}

/// The URL by which a token is asked for.
pub(super) fn token_url(realm: &str, service: Option<&str>, scope: &str) -> String {
    let mut url = realm.to_owned();
    let mut separator = if realm.contains('?') { '&' } else { '?' };
    for (key, value) in [("service", service), ("scope", Some(scope))] {
        if let Some(value) = value {
            url.push(separator);
            url.push_str(key);
            url.push('=');
            percent_encode(value, &mut url);
            separator = '&';
        }
    }
    url
}

fn percent_encode(value: &str, into: &mut String) {
    for byte in value.bytes() {
        // What RFC 3986 calls unreserved, and `:` and `/`, which a query may hold.
        if byte.is_ascii_alphanumeric() || b"-._~:/".contains(&byte) {
            into.push(char::from(byte));
        } else {
            into.push_str(&format!("%{byte:02X}"));
        }
    }
}

/// The token in a token server's answer.
pub(super) fn token_in(url: &str, body: &[u8]) -> Result<String> {
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
    }
    let why = |why: String| Error::Protocol { url: url.to_owned(), why };
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|e| why(format!("not a token server's answer: {e}")))?;
    let token = answer.token.filter(|token| !token.is_empty()).or(answer.access_token);
    token.filter(|t| !t.is_empty()).ok_or_else(|| why("the answer holds no token".to_owned()))
}

/// User and password for a registry.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    user: String,
    password: String,
}

impl Credentials {
    /// The value of an Authorization header.
    pub(super) fn basic(&self) -> String {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", self.user, self.password)))
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A password must not come into a log by way of {:?}.
        write!(f, "Credentials({})", self.user)
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
struct DockerConfig {
    #[serde(default)]
    auths: HashMap<String, AuthEntry>,
}

#[derive(Deserialize)]
struct AuthEntry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

/// The credentials that `docker login` left for a registry, if any.
pub(super) fn credentials(config: &Path, domain: &str) -> Result<Option<Credentials>> {
    let text = match fs::read(config) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        result => result.at("read", config)?,
    };
    let what = config.display().to_string();
    let config: DockerConfig =
        serde_json::from_slice(&text).map_err(|e| Error::malformed(what.as_str(), e))?;
    let names: &[&str] = match domain {
        "docker.io" => &["index.docker.io", "docker.io", "registry-1.docker.io"],
        other => &[other],
    };
    let found = names.iter().find_map(|name| {
        config.auths.iter().find(|(key, _)| host_of(key) == *name).map(|(_, entry)| entry)
    });
    let Some(entry) = found else { return Ok(None) };
    if let (Some(user), Some(password)) = (&entry.username, &entry.password) {
        return Ok(Some(Credentials { user: user.clone(), password: password.clone() }));
    }
    // An entry without `auth` says that a credential helper has the password.
    let Some(auth) = entry.auth.as_deref().filter(|auth| !auth.is_empty()) else { return Ok(None) };
    let bad = || {
        Error::malformed(what.as_str(), format!("auth of {domain} is not base64 of USER:PASSWORD"))
    };
    let plain = STANDARD.decode(auth.trim()).map_err(|_| bad())?;
    let plain = String::from_utf8(plain).map_err(|_| bad())?;
    let (user, password) = plain.split_once(':').ok_or_else(bad)?;
    // Old versions of Docker padded with NUL.
    let password = password.trim_end_matches('\0');
    Ok(Some(Credentials { user: user.to_owned(), password: password.to_owned() }))
}

/// The host of a key of `auths`, which may be a URL: `https://index.docker.io/v1/`.
fn host_of(key: &str) -> &str {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_parsed_with_commas_in_quotes_and_several_schemes() {
        let bearer = Challenge::Bearer {
            realm: "https://auth.example/token".into(),
            service: Some("reg".into()),
            scope: Some("repository:a:pull,push".into()),
        };
        let header = r#"Bearer realm="https://auth.example/token",service="reg",scope="repository:a:pull,push""#;
        assert_eq!(Challenge::parse_all([header].into_iter()), std::slice::from_ref(&bearer));
        let both = format!("Negotiate, {header}, Basic realm=\"x, \\\"y\\\"\"");
        assert_eq!(Challenge::parse_all([&*both].into_iter()), [bearer, Challenge::Basic]);
        assert_eq!(Challenge::parse_all(["basic realm=x"].into_iter()), [Challenge::Basic]);
        for nothing in ["", ",,,", "Bearer", "Bearer service=x", "\"", "=", "Digest realm=x"] {
            assert_eq!(Challenge::parse_all([nothing].into_iter()), [], "{nothing}");
        }
    }

    #[test]
    fn a_token_url_keeps_the_realms_query_and_encodes_values() {
        let url = token_url("https://a/t?x=1", Some("a b&c"), "repository:l/b:pull");
        assert_eq!(url, "https://a/t?x=1&service=a%20b%26c&scope=repository:l/b:pull");
    }

    #[test]
    fn credentials_are_found_as_docker_login_writes_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let text = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpwOnc="},
            "reg:5000":{"username":"a","password":"b"},"helper.io":{}},"credsStore":"x"}"#;
        fs::write(&path, text).unwrap();
        let get = |domain| credentials(&path, domain).unwrap();
        assert_eq!(
            get("docker.io"),
            Some(Credentials { user: "u".into(), password: "p:w".into() })
        );
        assert_eq!(get("reg:5000").unwrap().basic(), "Basic YTpi");
        assert_eq!((get("reg"), get("helper.io")), (None, None));
        assert!(!format!("{:?}", get("reg:5000")).contains("\"b\""));
        assert_eq!(credentials(&dir.path().join("none"), "reg").unwrap(), None);
    }
}
