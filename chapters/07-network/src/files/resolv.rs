//! `/etc/resolv.conf` (resolv.conf(5)): read, and made for containers.

use std::net::IpAddr;

use crate::names::ADDRESS;

/// Whom a container asks that has nobody else: Docker's choice.
const FALLBACK: [&str; 2] = ["8.8.8.8", "8.8.4.4"];
const FALLBACK_V6: [&str; 2] = ["2001:4860:4860::8888", "2001:4860:4860::8844"];

/// What the user says of a container's resolver.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// `--dns`.
    pub dns: Vec<String>,
    /// `--dns-search`; a single dot for none.
    pub search: Vec<String>,
    /// `--dns-option`.
    pub options: Vec<String>,
}

impl Wishes {
    fn any(&self) -> bool {
        !(self.dns.is_empty() && self.search.is_empty() && self.options.is_empty())
    }
}

/// A file that was read. Of several `search` or `options` lines the last one counts; `domain`, which
/// nobody has needed since 1993, is passed over as by Docker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolvConf {
    text: String,
    servers: Vec<String>,
    search: Vec<String>,
    options: Vec<String>,
}

impl ResolvConf {
    /// Reads it; what is not understood is passed over, as the C library does.
    pub fn parse(text: &[u8]) -> ResolvConf {
        let text = String::from_utf8_lossy(text).into_owned();
        let mut conf = ResolvConf::default();
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace().map(str::to_owned);
            match words.next().as_deref() {
                Some("nameserver") => conf.servers.extend(words.next()),
                Some("search") => conf.search = words.collect(),
                Some("options") => conf.options = words.collect(),
                _ => {}
            }
        }
        conf.text = text;
        conf
    }

    /// The resolvers. One with a zone (`fe80::1%eth0`) can be asked on one link only, and is left
    /// out; so is 127.0.0.11, which is ourselves.
    pub fn nameservers(&self) -> Vec<IpAddr> {
        let parsed = self.servers.iter().filter_map(|server| server.parse().ok());
        parsed.filter(|server| *server != IpAddr::V4(ADDRESS)).collect()
    }

    /// Whether names with few dots are looked for in a search list first.
    pub fn searches(&self) -> bool {
        searches(&self.options)
    }

    // ANCHOR: for_bridge
    /// For a container in the default bridge, which has no names: the host's resolvers, but for
    /// those on the host's loopback interface, which are out of its reach.
    pub fn for_bridge(&self, wishes: &Wishes, has_v6: bool) -> String {
        if wishes.any() {
            return self.built(wishes, None);
        }
        let reachable = |server: &str| match server.split('%').next().unwrap_or_default().parse() {
            Ok(IpAddr::V4(address)) => !address.is_loopback(),
            Ok(IpAddr::V6(address)) => has_v6 && !address.is_loopback(),
            Err(_) => false,
        };
        let mut text = String::new();
        let mut any = false;
        for line in self.text.lines() {
            let server = line.strip_prefix("nameserver").map(str::trim);
            if server.is_none_or(reachable) {
                any |= server.is_some();
                text.push_str(line);
                text.push('\n');
            }
        }
        if !any {
            text.push('\n');
            let more = if has_v6 { &FALLBACK_V6[..] } else { &[] };
            for server in FALLBACK.iter().chain(more) {
                text.push_str(&format!("nameserver {server}\n"));
            }
        }
        text
    }
    // ANCHOR_END: for_bridge

    /// For a container with the host's network: the host's file, unless the user says otherwise.
    pub fn for_host(&self, wishes: &Wishes) -> String {
        if wishes.any() { self.built(wishes, None) } else { self.text.clone() }
    }

    // ANCHOR: for_network
    /// For a container in a network with names: 127.0.0.11, which asks all others.
    pub fn for_network(&self, wishes: &Wishes) -> String {
        let mut wishes = wishes.clone();
        let options = if wishes.options.is_empty() { &self.options } else { &wishes.options };
        // A name without a dot is a container's: it is to be asked for as it is. Somebody who says
        // otherwise is right.
        if !options.iter().any(|option| option.starts_with("ndots:")) {
            wishes.options = options.iter().cloned().chain(["ndots:0".to_owned()]).collect();
        }
        self.built(&wishes, Some(&ADDRESS.to_string()))
    }
    // ANCHOR_END: for_network

    fn built(&self, wishes: &Wishes, resolver: Option<&str>) -> String {
        let or = |wish: &[String], of_host: &[String]| {
            let chosen = if wish.is_empty() { of_host } else { wish };
            chosen.join(" ")
        };
        let mut text = String::new();
        let search = or(&wishes.search, &self.search);
        if !search.is_empty() && search.trim() != "." {
            text.push_str(&format!("search {search}\n"));
        }
        let servers = match resolver {
            Some(resolver) => resolver.to_owned(),
            None => or(&wishes.dns, &self.servers),
        };
        for server in servers.split(' ').filter(|server| !server.is_empty()) {
            text.push_str(&format!("nameserver {server}\n"));
        }
        let options = or(&wishes.options, &self.options);
        if !options.is_empty() {
            text.push_str(&format!("options {options}\n"));
        }
        text
    }
}

/// Whether these options ask for a search list: the last `ndots` counts, and is not 0.
pub fn searches(options: &[String]) -> bool {
    let dots = options.iter().rev().find_map(|option| option.strip_prefix("ndots:"));
    dots.and_then(|dots| dots.parse::<u32>().ok()).is_some_and(|dots| dots > 0)
}
