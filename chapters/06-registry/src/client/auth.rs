//! Who we are: challenges, tokens and credentials.
//!
//! A registry answers 401 with the way to get in (`WWW-Authenticate`). `Basic` wants user and
//! password with every request. `Bearer` names a token server (`realm`), which gives a short-lived
//! token for a scope such as `repository:library/busybox:pull`; anonymous users get one too
//! (distribution, docs/spec/auth/token.md).

use std::collections::HashMap;

use serde::Deserialize;

use super::url::{percent_encode, with_query};
use crate::error::{Error, Result};

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

/// The URL by which a token is asked for. A challenge may name several scopes, with spaces between.
pub(super) fn token_url(realm: &str, service: Option<&str>, scope: &str) -> String {
    let mut url = realm.to_owned();
    if let Some(service) = service {
        url = with_query(&url, "service", service);
    }
    scope.split_whitespace().fold(url, |url, scope| with_query(&url, "scope", scope))
}

/// The form by which a token is asked for with an identity token (distribution,
/// docs/spec/auth/oauth.md).
pub(super) fn oauth_form(identity: &str, service: Option<&str>, scope: &str) -> String {
    let mut form = "grant_type=refresh_token&client_id=corten".to_owned();
    for (key, value) in
        [("service", service.unwrap_or_default()), ("scope", scope), ("refresh_token", identity)]
    {
        form.push_str(&format!("&{key}="));
        percent_encode(value, &mut form);
    }
    form
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
}
