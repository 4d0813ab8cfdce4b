//! `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` of a container, as Docker writes them.
//!
//! All of this is text from text: nothing here opens a file but [`host_file`]. `tests/files.rs`
//! compares it with what dockerd 20.10 has written for the same requests.

pub mod resolv;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// What every container's `/etc/hosts` begins with, unless it has the host's network.
pub const LOOPBACK: &str = "127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::0\tip6-localnet\n\
    ff00::0\tip6-mcastprefix\n\
    ff02::1\tip6-allnodes\n\
    ff02::2\tip6-allrouters\n";

/// The file that names the resolvers of a host that uses systemd-resolved, which listens on the
/// loopback interface: those that it asks itself.
const BEHIND_RESOLVED: &str = "/run/systemd/resolve/resolv.conf";

/// The file with the host's resolvers: `/etc/resolv.conf`, or where that leads to systemd-resolved
/// and nobody else, the file with those behind it.
pub fn host_file() -> PathBuf {
    let usual = Path::new("/etc/resolv.conf");
    let stub = IpAddr::from([127, 0, 0, 53]);
    let text = std::fs::read(usual).unwrap_or_default();
    if resolv::ResolvConf::parse(&text).nameservers() == [stub] {
        return BEHIND_RESOLVED.into();
    }
    usual.into()
}

/// A container's names for itself and others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts {
    /// What the file begins with: [`LOOPBACK`], or the host's.
    pub base: String,
    /// `--add-host`, with addresses.
    pub extra: Vec<(String, IpAddr)>,
    /// The container's own addresses, in the order in which it was connected.
    pub own: Vec<IpAddr>,
    /// Its host name.
    pub hostname: String,
    /// Its domain; empty for none.
    pub domain: String,
}

impl Hosts {
    // ANCHOR: hosts
    /// The text of `/etc/hosts`.
    pub fn text(&self) -> String {
        let mut text = self.base.clone();
        for (name, address) in &self.extra {
            text.push_str(&format!("{address}\t{name}\n"));
        }
        let names = self.names();
        for address in &self.own {
            text.push_str(&format!("{address}\t{names}\n"));
        }
        text
    }
    // ANCHOR_END: hosts

    /// `box.example.org box`, or `box` where there is no domain. A dot in the host name makes one.
    fn names(&self) -> String {
        let full = match self.domain.as_str() {
            "" => self.hostname.clone(),
            domain => format!("{}.{domain}", self.hostname),
        };
        match full.split_once('.') {
            Some((short, _)) => format!("{full} {short}"),
            None => full,
        }
    }

    /// The text of `/etc/hostname`.
    pub fn hostname_text(&self) -> String {
        format!("{}\n", self.hostname)
    }
}

/// What a container that is running has in its `/etc/hosts` when it has been connected to another
/// network (`true`), or disconnected. Nothing else in the file changes: it may have lines of
/// the container's own.
pub fn connected(text: &str, hosts: &Hosts, address: IpAddr, comes: bool) -> String {
    let line = format!("{address}\t{}", hosts.names());
    let others = text.lines().filter(|other| *other != line);
    let last = comes.then_some(line.as_str());
    others.chain(last).flat_map(|line| [line, "\n"]).collect()
}

/// An entry of `--add-host`: `NAME:ADDRESS`, or `NAME:host-gateway`, which stands for `gateway`.
///
/// # Errors
/// Where it is malformed, or there is no gateway.
pub fn extra_host(entry: &str, gateway: Option<IpAddr>) -> Result<(String, IpAddr)> {
    let wrong = |why: &str| Error::invalid(format!("--add-host {entry}"), why);
    // An IPv6 address has colons of its own.
    let (name, address) = entry.split_once(':').ok_or_else(|| wrong("not NAME:ADDRESS"))?;
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(wrong("not a name"));
    }
    if address == "host-gateway" {
        let gateway =
            gateway.ok_or_else(|| wrong("unable to derive the IP value for host-gateway"))?;
        return Ok((name.to_owned(), gateway));
    }
    let bare = address.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(address);
    let address = bare.parse().map_err(|_| wrong("not an address"))?;
    Ok((name.to_owned(), address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts() -> Hosts {
        Hosts { hostname: "box".into(), own: vec![[10, 0, 0, 2].into()], ..Hosts::default() }
    }

    #[test]
    fn a_domain_gives_a_second_name() {
        assert_eq!(hosts().text(), "10.0.0.2\tbox\n");
        let split = Hosts { domain: "example.org".into(), ..hosts() };
        assert_eq!(split.text(), "10.0.0.2\tbox.example.org box\n");
        assert_eq!(split.hostname_text(), "box\n");
        let whole = Hosts { hostname: "box.example.org".into(), ..hosts() };
        assert_eq!(whole.text(), "10.0.0.2\tbox.example.org box\n");
    }

    #[test]
    fn connecting_touches_one_line() {
        let text = format!("{}# mine\n9.9.9.9 other\n", hosts().text());
        let second = [10, 1, 0, 2].into();
        let with = connected(&text, &hosts(), second, true);
        assert_eq!(with, format!("{text}10.1.0.2\tbox\n"));
        assert_eq!(connected(&with, &hosts(), second, true), with);
        assert_eq!(connected(&with, &hosts(), second, false), text);
    }

    #[test]
    fn extra_hosts_are_checked() {
        let gateway = IpAddr::from([172, 17, 0, 1]);
        assert_eq!(extra_host("a:1.2.3.4", None).unwrap(), ("a".into(), [1, 2, 3, 4].into()));
        assert_eq!(extra_host("a:[::1]", None).unwrap().1, extra_host("a:::1", None).unwrap().1);
        assert_eq!(extra_host("h:host-gateway", Some(gateway)).unwrap().1, gateway);
        for wrong in
            ["a", ":1.2.3.4", "a b:1.2.3.4", "a:", "a:1.2.3", "h:host-gateway", "a:1.2.3.4\n"]
        {
            assert!(extra_host(wrong, None).is_err(), "{wrong}");
        }
    }
}
