//! Options of endpoints and networks that have Docker's names (`com.docker.network.…`).
//!
//! An option of that name that we do not have is refused. One that is written down and does nothing would
//! be found out by who needs it, and late: `gateway_mode_ipv4=isolated` is about who reaches whom.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{At, Error, Result};
use crate::network::{Network, check_link};

const SPACE: &str = "com.docker.network.";
const SYSCTLS: &str = "com.docker.network.endpoint.sysctls";
const INTERFACE: &str = "com.docker.network.endpoint.ifname";
pub(crate) const PREFIX: &str = "com.docker.network.container_iface_prefix";

/// A setting of the container's device: what of `/proc/sys/net` is about one link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Sysctl {
    /// `ipv4/conf`, `ipv6/neigh` and the like.
    group: String,
    name: String,
    value: String,
}

/// The groups of settings that are there for each link.
const GROUPS: [&str; 5] = ["ipv4/conf", "ipv4/neigh", "ipv6/conf", "ipv6/neigh", "mpls/conf"];

impl Sysctl {
    /// Reads `net.ipv4.conf.IFNAME.log_martians=1`.
    ///
    /// # Errors
    /// Where it is none of a link's settings: those of the whole namespace are the container's, and what
    /// is no name could lead elsewhere.
    pub fn parse(text: &str) -> Result<Sysctl> {
        let wrong = || {
            let why = "write net.ipv4.conf.IFNAME.NAME=VALUE, with IFNAME as it stands here; ipv6, mpls \
                       and neigh are there, too";
            Error::invalid(format!("setting {text:?}"), why)
        };
        let (key, value) = text.split_once('=').ok_or_else(wrong)?;
        let parts: Vec<&str> = key.trim().split('.').collect();
        let &["net", family, kind, "IFNAME", name] = parts.as_slice() else { return Err(wrong()) };
        let group = format!("{family}/{kind}");
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let value = value.trim();
        let right = GROUPS.contains(&group.as_str())
            && !name.is_empty()
            && name.bytes().all(is_name)
            && !value.is_empty()
            && !value.contains(char::is_control);
        let (name, value) = (name.to_owned(), value.to_owned());
        if right { Ok(Sysctl { group, name, value }) } else { Err(wrong()) }
    }

    /// Where it is, for the link of this name.
    fn path(&self, link: &str) -> PathBuf {
        Path::new("/proc/sys/net").join(&self.group).join(link).join(&self.name)
    }

    /// What is done, in words.
    pub(crate) fn describe(&self, link: &str) -> String {
        format!("write {} to {}", self.value, self.path(link).display())
    }

    /// Sets it, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// `ENOENT` where the kernel has no such setting, `EINVAL` where it cannot have this value.
    pub(crate) fn apply(&self, link: &str) -> Result<()> {
        let path = self.path(link);
        fs::write(&path, &self.value).at("write", &path)
    }
}

/// What an endpoint's options ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointOptions {
    /// The name of the device in the container.
    pub interface: Option<String>,
    /// Settings of it.
    pub sysctls: Vec<Sysctl>,
}

impl EndpointOptions {
    /// Reads `DriverOpts`. What is not of Docker's is for somebody else's driver, or a note.
    ///
    /// # Errors
    /// For an option of Docker's that there is not, and for one that is malformed.
    pub fn parse(options: &BTreeMap<String, String>) -> Result<EndpointOptions> {
        let mut found = EndpointOptions::default();
        for (name, value) in options {
            match name.as_str() {
                SYSCTLS => {
                    let all = value.split(',').filter(|text| !text.trim().is_empty());
                    found.sysctls = all.map(Sysctl::parse).collect::<Result<_>>()?;
                }
                INTERFACE => {
                    check_link(value)?;
                    found.interface = Some(value.clone());
                }
                _ if !name.starts_with(SPACE) => {}
                _ => {
                    let why =
                        format!("is not supported: an endpoint has {SYSCTLS} and {INTERFACE}");
                    return Err(Error::invalid(format!("driver option {name}"), why));
                }
            }
        }
        Ok(found)
    }
}

/// IPv6 as an option, as docker-compose's documentation has it; the same as `EnableIPv6`.
pub(crate) const ENABLE_IPV6: &str = "com.docker.network.enable_ipv6";

/// What Docker has and we have in one way only, which may be asked for.
const ONE_WAY: [(&str, &str); 3] = [
    ("com.docker.network.bridge.gateway_mode_ipv4", "nat"),
    ("com.docker.network.bridge.gateway_mode_ipv6", "nat"),
    ("com.docker.network.bridge.inhibit_ipv4", "false"),
];

/// Whether a network that is to be made asks for nothing of Docker's that is not there.
///
/// # Errors
/// It names the option.
pub(crate) fn check(network: &Network, known: &[&str]) -> Result<()> {
    for (name, value) in &network.options {
        if !name.starts_with(SPACE)
            || known.contains(&name.as_str())
            || [PREFIX, ENABLE_IPV6].contains(&name.as_str())
        {
            continue;
        }
        match ONE_WAY.iter().find(|(option, _)| option == name) {
            Some((_, only)) if only == value => {}
            Some((_, only)) => {
                let why = format!("is not supported as {value:?}: there is {only:?}");
                return Err(Error::invalid(format!("option {name}"), why));
            }
            None => {
                let why = format!("is not supported by the driver {}", network.driver);
                return Err(Error::invalid(format!("option {name}"), why));
            }
        }
    }
    if let Some(prefix) = network.options.get(PREFIX) {
        // With a number of two digits, it still is a name.
        check_link(&format!("{prefix}99"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::tests::network;

    fn options(of: &[(&str, &str)]) -> BTreeMap<String, String> {
        of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn settings_are_those_of_one_link() {
        let setting = Sysctl::parse("net.ipv4.conf.IFNAME.log_martians=1").unwrap();
        let expected = "write 1 to /proc/sys/net/ipv4/conf/eth0.5/log_martians";
        assert_eq!(setting.describe("eth0.5"), expected);
        assert!(Sysctl::parse("net.ipv6.neigh.IFNAME.base_reachable_time_ms=20000").is_ok());
        for wrong in [
            "net.ipv4.ip_forward=1",
            "net.ipv4.conf.eth0.log_martians=1",
            "net.ipv4.conf.IFNAME.log_martians",
            "net.ipv4.conf.IFNAME.=1",
            "net.ipv4.conf.IFNAME.log_martians=",
            "net.ipv4.conf.IFNAME./../x=1",
            "net.ipv4.route.IFNAME.flush=1",
            "kernel.ipv4.conf.IFNAME.x=1",
            "net.ipv4.conf.IFNAME.a.b=1",
        ] {
            assert!(Sysctl::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_endpoint_s_options_are_read_and_others_refused() {
        let two = "net.ipv4.conf.IFNAME.log_martians=1,net.ipv4.conf.IFNAME.forwarding=0";
        let read =
            EndpointOptions::parse(&options(&[(SYSCTLS, two), (INTERFACE, "lan0")])).unwrap();
        assert_eq!((read.sysctls.len(), read.interface.as_deref()), (2, Some("lan0")));
        let of_docker_s = options(&[("com.docker.network.endpoint.speed", "1")]);
        let other = EndpointOptions::parse(&of_docker_s).unwrap_err();
        assert!(other.to_string().contains("endpoint.speed: is not supported"), "{other}");
        let note = EndpointOptions::parse(&options(&[("com.example.note", "1")])).unwrap();
        assert_eq!(note, EndpointOptions::default());
        assert!(EndpointOptions::parse(&options(&[(INTERFACE, "a/b")])).is_err());
    }

    #[test]
    fn a_network_s_options_are_those_that_do_something() {
        let why = |name, value| {
            check(&network("bridge", &[(name, value)]), &["com.docker.network.driver.mtu"])
        };
        assert!(why("com.docker.network.driver.mtu", "1400").is_ok());
        assert!(why("com.docker.network.bridge.gateway_mode_ipv4", "nat").is_ok());
        assert!(why("com.docker.network.container_iface_prefix", "lan").is_ok());
        assert!(why("org.example.whatever", "1").is_ok(), "it is the user's own");
        for (name, value) in [
            ("com.docker.network.bridge.gateway_mode_ipv4", "isolated"),
            ("com.docker.network.bridge.trusted_host_interfaces", "eth1"),
            ("com.docker.network.container_iface_prefix", "much-too-long-a-"),
        ] {
            assert!(why(name, value).is_err(), "{name}");
        }
    }
}
