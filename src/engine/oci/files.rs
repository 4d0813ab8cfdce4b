//! Files in a container's directory that are mounted into it: names, and who resolves them.

use std::net::IpAddr;
use std::path::Path;

use super::{Wanted, hostname};
use crate::engine::error::{Error, Result};
use crate::engine::options::check::extra_host;
use crate::engine::options::{HostConfig, NetworkMode};
use corten_supervisor::durable::{self, Worth};

/// The files, and where they are seen.
pub const FILES: [(&str, &str); 3] =
    [("resolv.conf", "/etc/resolv.conf"), ("hostname", "/etc/hostname"), ("hosts", "/etc/hosts")];

/// The names of the loopback addresses, as Docker writes them.
const LOOPBACK: &str = "127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::\tip6-localnet\n\
    ff00::\tip6-mcastprefix\n\
    ff02::1\tip6-allnodes\n\
    ff02::2\tip6-allrouters\n";

/// What a network decides about names. A container without one has none of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses {
    /// The container's own.
    pub own: Vec<IpAddr>,
    /// What `host-gateway` stands for.
    pub gateway: Option<IpAddr>,
    /// The engine's own name server, which is asked instead of the host's.
    pub resolver: Option<IpAddr>,
}

/// Writes the files, where the container does not use another one's.
///
/// # Errors
/// Where one cannot be written, or a host's name has no address.
pub fn write(wanted: &Wanted<'_>, addresses: &Addresses) -> Result<()> {
    if matches!(wanted.host.network()?, NetworkMode::Container(_)) {
        return Ok(());
    }
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let shares = wanted.host.network()? == NetworkMode::Host;
    let hostname = full_name(&hostname(wanted)?, &wanted.config.domainname);
    let names = if shares { read("/etc/hosts") } else { LOOPBACK.to_owned() };
    let hosts = hosts(names, &hostname, &wanted.host.extra_hosts, addresses)?;
    let resolv = resolv_conf(&read("/etc/resolv.conf"), wanted.host, shares, addresses);
    let short = hostname.split(' ').next().unwrap_or_default();
    for (name, text) in
        [("hostname", format!("{short}\n")), ("hosts", hosts), ("resolv.conf", resolv)]
    {
        let path: &Path = &wanted.place.directory.join(name);
        durable::write(path, text.as_bytes(), 0o644, Worth::Volatile)?;
    }
    Ok(())
}

/// `box.example.org box`, or the name alone where there is no domain.
fn full_name(hostname: &str, domain: &str) -> String {
    let domain = domain.trim_matches('.');
    if domain.is_empty() { hostname.to_owned() } else { format!("{hostname}.{domain} {hostname}") }
}

/// /etc/hosts: `names`, then those that the user adds, then the container's own.
///
/// # Errors
/// Where `host-gateway` is used and there is none.
pub fn hosts(
    mut names: String,
    hostname: &str,
    extra: &[String],
    addresses: &Addresses,
) -> Result<String> {
    for entry in extra {
        let (name, address) = extra_host(entry)?;
        let address = match address {
            "host-gateway" => match addresses.gateway {
                Some(gateway) => gateway.to_string(),
                None => {
                    let text = "unable to derive the IP value for host-gateway";
                    return Err(Error::refused(text));
                }
            },
            address => address.to_owned(),
        };
        names.push_str(&format!("{address}\t{name}\n"));
    }
    for address in &addresses.own {
        names.push_str(&format!("{address}\t{hostname}\n"));
    }
    Ok(names)
}

/// /etc/resolv.conf: the host's, with what the user says in its place. A name server on the host's
/// loopback interface cannot be reached from another network namespace, so it is left out.
pub fn resolv_conf(
    of_host: &str,
    host: &HostConfig,
    shares: bool,
    addresses: &Addresses,
) -> String {
    let lines = |keyword: &str| {
        let mut found = Vec::new();
        for line in of_host.lines() {
            let mut words = line.split_whitespace();
            if words.next() == Some(keyword) {
                found.push(words.collect::<Vec<_>>().join(" "));
            }
        }
        found
    };
    let local = |server: &String| {
        let address = server.split('%').next().unwrap_or_default().parse::<IpAddr>();
        address.is_ok_and(|address| address.is_loopback())
    };
    let servers = match addresses.resolver {
        Some(resolver) => vec![resolver.to_string()],
        None if !host.dns.is_empty() => host.dns.clone(),
        None => lines("nameserver").into_iter().filter(|s| shares || !local(s)).collect(),
    };
    let or = |own: &[String], keyword: &str| match own {
        [] => lines(keyword),
        [dot] if dot == "." => Vec::new(),
        own => vec![own.join(" ")],
    };
    let mut text = String::new();
    for server in servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    // The last line of each kind counts, as resolv.conf(5) has it.
    for (own, keyword) in [(&host.dns_search, "search"), (&host.dns_options, "options")] {
        if let Some(line) = or(own, keyword).pop().filter(|line| !line.is_empty()) {
            text.push_str(&format!("{keyword} {line}\n"));
        }
    }
    text
}
