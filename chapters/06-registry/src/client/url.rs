//! URLs as registries use them: whose they are, and where a Location leads.

use std::net::IpAddr;

use ureq::http::Uri;

/// The host without its port.
pub(super) fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    }
}

pub(super) fn is_loopback(host: &str) -> bool {
    let name = name_of(host);
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

pub(super) fn same_origin(a: &str, b: &str) -> bool {
    let origin = |url: &str| -> Option<(String, String)> {
        let uri: Uri = url.parse().ok()?;
        Some((uri.scheme_str()?.to_owned(), uri.authority()?.as_str().to_ascii_lowercase()))
    };
    origin(a).is_some() && origin(a) == origin(b)
}

/// Resolves a Location against the URL that sent it (RFC 3986, section 5; only what servers send).
pub(super) fn join(base: &str, location: &str) -> Option<String> {
    if location.is_empty() || location.starts_with('#') {
        return None;
    }
    let (scheme, rest) = base.split_once("://")?;
    let host = rest.split(['/', '?']).next()?;
    let path = rest[host.len()..].split('?').next()?;
    let colon = location.find(':').unwrap_or(usize::MAX);
    Some(if colon < location.find(['/', '?', '#']).unwrap_or(usize::MAX) {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{host}{location}")
    } else {
        let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
        format!("{scheme}://{host}{dir}/{location}")
    })
}

/// Writes `value` so that it can stand in a query or in a path.
pub(super) fn percent_encode(value: &str, into: &mut String) {
    for byte in value.bytes() {
        // What RFC 3986 calls unreserved, and `:` and `/`, which a query may hold.
        if byte.is_ascii_alphanumeric() || b"-._~:/".contains(&byte) {
            into.push(char::from(byte));
        } else {
            into.push_str(&format!("%{byte:02X}"));
        }
    }
}

/// Adds a parameter to a URL's query, which may have others already.
pub(super) fn with_query(url: &str, key: &str, value: &str) -> String {
    let mut url = url.to_owned();
    url.push(if url.contains('?') { '&' } else { '?' });
    url.push_str(key);
    url.push('=');
    percent_encode(value, &mut url);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_joined_and_hosts_told_apart() {
        let base = "http://h:5000/v2/a/blobs/x?q=1";
        for (location, joined) in [
            ("https://s3/x", Some("https://s3/x")),
            ("//s3/x", Some("http://s3/x")),
            ("/y?z=http://e/", Some("http://h:5000/y?z=http://e/")),
            ("y", Some("http://h:5000/v2/a/blobs/y")),
            ("file:///etc/passwd", Some("file:///etc/passwd")),
            ("", None),
        ] {
            assert_eq!(join(base, location).as_deref(), joined, "{location}");
        }
        assert!(same_origin(base, "http://H:5000/other"));
        assert!(!same_origin(base, "http://h:5001/") && !same_origin(base, "https://h:5000/"));
    }

    #[test]
    fn loopback_is_127_localhost_and_the_ipv6_one() {
        for host in ["localhost", "localhost:5000", "127.0.0.1:80", "127.9.9.9", "[::1]:5000"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in
            ["docker.io", "localhost.example", "128.0.0.1", "[::2]:5000", "127.0.0.1.nip.io"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
