//! `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` of a container, as Docker writes them.
//!
//! All of this is text from text: nothing here opens a file but [`host_file`]. `tests/files.rs`
//! compares it with what dockerd 20.10 has written for the same requests.

pub mod resolv;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

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
}
