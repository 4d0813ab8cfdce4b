//! Files in a container's directory that are mounted into it: names, and who resolves them.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::net::IpAddr;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use corten_network::files::resolv::{ResolvConf, Wishes};
use corten_network::files::{Hosts, LOOPBACK};
use corten_supervisor::durable::{self, Worth};

use super::{Wanted, hostname, hostname_of};
use crate::engine::error::{At, Error, Result};
use crate::engine::machine::Machine;
use crate::engine::options::check::{HOST_GATEWAY, extra_host};
use crate::engine::options::{HostConfig, NetworkMode};
use crate::engine::record::Record;

/// The files, and where they are seen.
pub const FILES: [(&str, &str); 3] =
    [("resolv.conf", "/etc/resolv.conf"), ("hostname", "/etc/hostname"), ("hosts", "/etc/hosts")];

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
    let read = |path: &Path| std::fs::read(path).unwrap_or_default();
    let shares = wanted.host.network()? == NetworkMode::Host;
    let hosts = Hosts {
        base: match shares {
            true => String::from_utf8_lossy(&read(Path::new("/etc/hosts"))).into_owned(),
            false => LOOPBACK.to_owned(),
        },
        extra: extra(&wanted.host.extra_hosts, addresses.gateway)?,
        own: addresses.own.clone(),
        hostname: hostname(wanted)?,
        domain: wanted.config.domainname.trim_matches('.').to_owned(),
    };
    let of_host = ResolvConf::parse(&read(&corten_network::files::host_file()));
    let resolv = resolv_conf(&of_host, wanted.host, shares, addresses);
    for (name, text) in
        [("hostname", hosts.hostname_text()), ("hosts", hosts.text()), ("resolv.conf", resolv)]
    {
        let path: &Path = &wanted.place.directory.join(name);
        durable::write(path, text.as_bytes(), 0o644, Worth::Volatile)?;
    }
    Ok(())
}

/// No file of ours is as long; one that is, its container has written.
const LONGEST: u64 = 1 << 20;

/// The names of a container in the /etc/hosts of its own.
///
/// # Errors
/// Where a mode is none.
pub fn names_of(record: &Record, machine: &Machine) -> Result<Hosts> {
    Ok(Hosts {
        hostname: hostname_of(&record.config, &record.host_config, &record.id, machine)?,
        domain: record.config.domainname.trim_matches('.').to_owned(),
        ..Hosts::default()
    })
}

/// Adds an address of the container's to its /etc/hosts while it runs, or takes it out.
///
/// # Errors
/// Where the file cannot be read or written.
pub fn rewrite_hosts(directory: &Path, names: &Hosts, address: IpAddr, comes: bool) -> Result<()> {
    rewrite(&directory.join("hosts"), |text| {
        Some(corten_network::files::connected(text, names, address, comes))
    })
}

/// Makes a container that runs ask the network's name server, unless it has written its
/// /etc/resolv.conf itself: then it knows better.
///
/// # Errors
/// Where the file cannot be read or written.
pub fn rewrite_resolv_conf(directory: &Path, host: &HostConfig, before: &Addresses) -> Result<()> {
    let of_host = std::fs::read(corten_network::files::host_file()).unwrap_or_default();
    let of_host = ResolvConf::parse(&of_host);
    let ours =
        Addresses { resolver: Some(corten_network::names::ADDRESS.into()), ..before.clone() };
    rewrite(&directory.join("resolv.conf"), |text| {
        let is_as_made = text == resolv_conf(&of_host, host, false, before);
        is_as_made.then(|| resolv_conf(&of_host, host, false, &ours))
    })
}

/// Changes a file that is mounted into a container: in place, since another one of its name would not
/// be seen there.
fn rewrite(path: &Path, change: impl FnOnce(&str) -> Option<String>) -> Result<()> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).custom_flags(nix::libc::O_NOFOLLOW).open(path);
    let file: File = file.at("open", path)?;
    let mut text = Vec::new();
    (&file).take(LONGEST).read_to_end(&mut text).at("read", path)?;
    let Ok(text) = String::from_utf8(text) else { return Ok(()) };
    if text.len() as u64 == LONGEST {
        return Ok(());
    }
    let Some(new) = change(&text).filter(|new| *new != text) else { return Ok(()) };
    // What is longer goes last, so that nobody finds the file empty.
    file.write_all_at(new.as_bytes(), 0).at("write", path)?;
    file.set_len(new.len() as u64).at("shorten", path)
}

/// The lines of /etc/hosts that the user adds.
fn extra(entries: &[String], gateway: Option<IpAddr>) -> Result<Vec<(String, IpAddr)>> {
    let mut extra = Vec::new();
    for entry in entries {
        let (name, address) = extra_host(entry)?;
        let address = match address {
            HOST_GATEWAY => gateway,
            address => address.parse().ok(),
        };
        let missing = || Error::refused("unable to derive the IP value for host-gateway");
        extra.push((name.to_owned(), address.ok_or_else(missing)?));
    }
    Ok(extra)
}

/// /etc/resolv.conf: the host's, with what the user says in its place.
fn resolv_conf(
    of_host: &ResolvConf,
    host: &HostConfig,
    shares: bool,
    addresses: &Addresses,
) -> String {
    let wishes = Wishes {
        dns: host.dns.clone().unwrap_or_default(),
        search: host.dns_search.clone().unwrap_or_default(),
        options: host.dns_options.clone().unwrap_or_default(),
    };
    match addresses.resolver {
        Some(_) => of_host.for_network(&wishes),
        None if shares => of_host.for_host(&wishes),
        None => of_host.for_bridge(&wishes, addresses.own.iter().any(IpAddr::is_ipv6)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(value: serde_json::Value) -> HostConfig {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn lines_of_the_user_s_name_addresses_and_the_gateway_where_there_is_one() {
        let entries = ["db:1.2.3.4", "six=[::1]", "host.docker.internal:host-gateway"];
        let entries = entries.map(str::to_owned);
        let gateway = "10.0.0.1".parse().unwrap();
        let names = extra(&entries, Some(gateway)).unwrap();
        let shown: Vec<String> = names.iter().map(|(name, ip)| format!("{name} {ip}")).collect();
        assert_eq!(shown, ["db 1.2.3.4", "six ::1", "host.docker.internal 10.0.0.1"]);
        let error = extra(&entries, None).unwrap_err();
        assert_eq!(error.to_string(), "unable to derive the IP value for host-gateway");
    }

    #[test]
    fn who_is_asked_for_names_depends_on_the_network() {
        let of_host = ResolvConf::parse(
            b"nameserver 127.0.0.53\nnameserver ::1\nnameserver 9.9.9.9\nsearch a b\noptions ndots:2\n",
        );
        let usual = host(serde_json::json!({}));
        let none = Addresses::default();
        // One on the host's loopback interface is out of reach from another namespace.
        let bridge = resolv_conf(&of_host, &usual, false, &none);
        assert_eq!(bridge, "nameserver 9.9.9.9\nsearch a b\noptions ndots:2\n");
        assert!(resolv_conf(&of_host, &usual, true, &none).starts_with("nameserver 127.0.0.53\n"));
        let own = Addresses { resolver: Some([127, 0, 0, 11].into()), ..Addresses::default() };
        assert!(resolv_conf(&of_host, &usual, false, &own).contains("nameserver 127.0.0.11\n"));
        let wishes = serde_json::json!(
            {"Dns": ["1.1.1.1"], "DnsSearch": ["."], "DnsOptions": ["x", "y"]});
        let text = resolv_conf(&of_host, &host(wishes), false, &none);
        assert_eq!(text, "nameserver 1.1.1.1\noptions x y\n");
    }
}
