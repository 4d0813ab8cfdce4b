//! Requests that a browser makes for somebody's page. Whoever reads that page has not asked for them.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use axum::http::header::{HOST, HeaderName, ORIGIN};

use crate::connection::Connection;
use crate::failure::{Failure, Outcome};

/// Which way a client has come, as far as browsers can go it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By a Unix socket, where no browser goes.
    Local,
    /// By TCP with a certificate, which a browser may have, too.
    Certified,
    /// By TCP, as any page can make a browser do.
    Plain,
}

impl Way {
    /// The one of a connection.
    pub fn of(connection: &Connection) -> Way {
        match connection {
            Connection::Unix(_) => Way::Local,
            Connection::Tls(_) => Way::Certified,
            Connection::Tcp(_) => Way::Plain,
        }
    }
}

// ANCHOR: check
/// Refuses what a browser sends. It names the page's site in `Origin` where the request changes
/// something, and says in `Sec-Fetch-Site` that there is a page at all. A name in `Host` that is not this
/// machine's is that of a site whose address was changed to ours after its page had been loaded.
///
/// # Errors
/// 403.
pub fn check(way: Way, headers: &HeaderMap) -> Outcome<()> {
    if way == Way::Local {
        return Ok(());
    }
    for name in [ORIGIN, HeaderName::from_static("sec-fetch-site")] {
        if headers.contains_key(&name) {
            return Err(Failure::forbidden(format!("requests of web pages ({name}) are refused")));
        }
    }
    let host = headers.get(HOST).map(|host| host.to_str().unwrap_or_default());
    match host {
        Some(host) if way == Way::Plain && !is_this_machine(host) => Err(Failure::forbidden(
            format!("Host {host:?} is no address: a web page may have led its reader here"),
        )),
        _ => Ok(()),
    }
}
// ANCHOR_END: check

/// Whether it is an address, or the one name that nobody can have; with a port or without.
fn is_this_machine(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let name = host.split(':').next().unwrap_or_default();
    host.parse::<SocketAddr>().is_ok()
        || bare.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_nobody_s_address() {
        for host in
            ["127.0.0.1:2375", "127.0.0.1", "[::1]:2375", "::1", "localhost:2375", "LOCALHOST"]
        {
            assert!(is_this_machine(host), "{host}");
        }
        for host in
            ["evil.example:2375", "127.0.0.1.evil.example", "localhost.evil.example", "[", ""]
        {
            assert!(!is_this_machine(host), "{host}");
        }
    }
}
