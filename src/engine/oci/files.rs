//! Files in a container's directory that are mounted into it: names, and who resolves them.

use std::net::IpAddr;
use std::path::Path;

use corten_network::files::resolv::{ResolvConf, Wishes};
use corten_network::files::{Hosts, LOOPBACK};
use corten_supervisor::durable::{self, Worth};

use super::{Wanted, hostname};
use crate::engine::error::{Error, Result};
use crate::engine::options::check::extra_host;
use crate::engine::options::{HostConfig, NetworkMode};

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

/// The lines of /etc/hosts that the user adds.
fn extra(entries: &[String], gateway: Option<IpAddr>) -> Result<Vec<(String, IpAddr)>> {
    let mut extra = Vec::new();
    for entry in entries {
        let (name, address) = extra_host(entry)?;
        let address = match address {
            "host-gateway" => gateway,
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
        dns: host.dns.clone(),
        search: host.dns_search.clone(),
        options: host.dns_options.clone(),
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
