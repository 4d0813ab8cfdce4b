//! A network: what is asked for, what is written down, and the checked type of its driver.
//!
//! What is written down has Docker's names, so `jq` on the file shows what `docker network inspect`
//! would. The driver's options are text there; [`Network::driver`] reads them into a [`Driver`], and
//! nothing else looks at them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::option;

/// The names that are no user's: every container may name them.
pub const PREDEFINED: [&str; 3] = ["bridge", "host", "none"];

/// The bridge of the network `bridge`. Not docker0, which is another engine's.
pub const DEFAULT_BRIDGE: &str = "corten0";

/// Whose bridge that is. Networks that are kept elsewhere are not the only ones of their machine, and
/// theirs is named like all others.
pub(crate) const USUAL_ROOT: &str = "/var/lib/corten";

/// A network that is to be made: the body of `POST /networks/create`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Request {
    /// Its name.
    pub name: String,
    /// `bridge`, `macvlan` or `ipvlan`; `bridge` where empty.
    pub driver: String,
    /// Whether its containers have IPv6 addresses.
    #[serde(rename = "EnableIPv6")]
    pub enable_ipv6: bool,
    /// Its pools of addresses; chosen where there are none.
    #[serde(rename = "IPAM")]
    pub ipam: IpamRequest,
    /// Whether nothing leaves it.
    pub internal: bool,
    /// Of swarms; written down.
    pub attachable: bool,
    /// Whether it is a configuration for others only.
    pub config_only: bool,
    /// The configuration that it is made by.
    pub config_from: ConfigFrom,
    /// For the driver.
    pub options: BTreeMap<String, String>,
    /// For the user.
    pub labels: BTreeMap<String, String>,
}

impl Request {
    /// With IPv6, where it asks for that by an option.
    pub(crate) fn with_options_read(&self) -> Result<Request> {
        let mut whole = self.clone();
        if let Some(value) = self.options.get(option::ENABLE_IPV6) {
            whole.enable_ipv6 |= truth(option::ENABLE_IPV6, value)?;
        }
        Ok(whole)
    }
}

/// The addresses that are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct IpamRequest {
    /// `default`, or empty.
    pub driver: String,
    /// For it; written down.
    pub options: Option<BTreeMap<String, String>>,
    /// Pools.
    pub config: Vec<PoolRequest>,
}

/// A pool that is asked for. Empty fields are chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PoolRequest {
    /// `172.20.0.0/16`.
    pub subnet: String,
    /// The part of it that addresses are given from.
    #[serde(rename = "IPRange")]
    pub ip_range: String,
    /// The host's address in it.
    pub gateway: String,
    /// Addresses that are given to nobody.
    pub auxiliary_addresses: BTreeMap<String, String>,
}

/// A network, as it is written down and shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Network {
    /// Its name.
    pub name: String,
    /// 64 hexadecimal digits.
    pub id: String,
    /// When it was made: RFC 3339.
    pub created: String,
    /// `local`.
    pub scope: String,
    /// `bridge`, `macvlan`, `ipvlan`, `host` or `null`.
    pub driver: String,
    /// Whether its containers have IPv4 addresses.
    #[serde(rename = "EnableIPv4", default = "yes")]
    pub enable_ipv4: bool,
    /// Whether its containers have IPv6 addresses.
    #[serde(rename = "EnableIPv6")]
    pub enable_ipv6: bool,
    /// Its addresses.
    #[serde(rename = "IPAM")]
    pub ipam: Ipam,
    /// Whether nothing leaves it.
    pub internal: bool,
    /// Of swarms.
    pub attachable: bool,
    /// Of swarms.
    pub ingress: bool,
    /// The configuration that it was made by.
    pub config_from: ConfigFrom,
    /// Whether it is a configuration for others only.
    pub config_only: bool,
    /// For the driver.
    pub options: BTreeMap<String, String>,
    /// For the user.
    pub labels: BTreeMap<String, String>,
}

fn yes() -> bool {
    true
}

/// The name of a configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ConfigFrom {
    /// Empty where there is none.
    pub network: String,
}

/// The addresses of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Ipam {
    /// `default`.
    pub driver: String,
    /// Null, as Docker has it.
    pub options: Option<BTreeMap<String, String>>,
    /// One pool for each family at most.
    pub config: Vec<Pool>,
}

/// A pool of addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Pool {
    /// All of it.
    pub subnet: IpNet,
    /// The part that addresses are given from.
    #[serde(rename = "IPRange", default, skip_serializing_if = "Option::is_none")]
    pub ip_range: Option<IpNet>,
    /// The host's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Addresses that are given to nobody.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub auxiliary_addresses: BTreeMap<String, IpAddr>,
}

// ANCHOR: driver
/// How containers are connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Driver {
    /// A bridge of the host's, with a pair of devices for each container.
    Bridge(BridgeOptions),
    /// A device of its own on the wire of `parent`.
    Macvlan(Parent, u32),
    /// The same with the parent's link layer address: mode and flags.
    Ipvlan(Parent, u16, u16),
    /// The host's own namespace.
    Host,
    /// Nothing.
    None,
}
// ANCHOR_END: driver

/// A bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeOptions {
    /// Its name on the host.
    pub name: String,
    /// The longest packet; the way out decides where it is not said.
    pub mtu: Option<u32>,
    /// Whether its containers reach one another.
    pub neighbours: bool,
    /// Whether what leaves has the host's address.
    pub masquerade: bool,
    /// Whether its containers have no other addresses than those they were given.
    pub guard: bool,
    /// Where ports are published for which no address is named.
    pub host_binding: Option<IpAddr>,
}

/// The link below macvlan and ipvlan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    /// Its name.
    pub name: String,
    /// Whether it leads nowhere, and is ours: a dummy.
    pub ours: bool,
    /// The longest packet; the parent's where it is not said.
    pub mtu: Option<u32>,
}

/// The checked name of a network. dockerd asks for one that is not blank, and docker-compose makes
/// `_project_default` of a project `_project`; no file has this name.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let bad = |c: char| c == '/' || c.is_control();
    if (1..=255).contains(&name.len()) && name.trim() == name && !name.contains(bad) {
        return Ok(());
    }
    let why = "has 1 to 255 bytes, no slash, no control character, and no blank at its ends";
    Err(Error::invalid(format!("network name {name:?}"), why))
}

/// A name of a link: what the kernel takes, and what is no path.
pub(crate) fn check_link(name: &str) -> Result<()> {
    let bad = |byte: u8| byte == b'/' || byte == b':' || byte.is_ascii_whitespace() || byte == 0;
    if name.is_empty() || name.len() > 15 || name.bytes().any(bad) || name == "." || name == ".." {
        return Err(Error::invalid(
            format!("link name {name:?}"),
            "has 1 to 15 characters, none of them a slash, colon or space",
        ));
    }
    Ok(())
}

const NAME: &str = "com.docker.network.bridge.name";
const MTU: &str = "com.docker.network.driver.mtu";
const ICC: &str = "com.docker.network.bridge.enable_icc";
const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
const BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";
/// What of Docker's options a bridge has; of the others the last one.
const OF_BRIDGES: [&str; 6] =
    ["com.docker.network.bridge.default_bridge", NAME, ICC, MASQUERADE, BINDING, MTU];
const GUARD: &str = "corten.network.guard";

impl Network {
    /// Reads its driver's options.
    ///
    /// # Errors
    /// Where one is malformed, or the driver unknown.
    pub fn driver(&self) -> Result<Driver> {
        match self.driver.as_str() {
            "bridge" => self.bridge().map(Driver::Bridge),
            "macvlan" => {
                let mode = match self.option("macvlan_mode").unwrap_or("bridge") {
                    "private" => 1,
                    "vepa" => 2,
                    "bridge" => 4,
                    "passthru" => 8,
                    other => return Err(unknown("macvlan_mode", other)),
                };
                Ok(Driver::Macvlan(self.parent("dm")?, mode))
            }
            "ipvlan" => {
                let mode = match self.option("ipvlan_mode").unwrap_or("l2") {
                    "l2" => 0,
                    "l3" => 1,
                    "l3s" => 2,
                    other => return Err(unknown("ipvlan_mode", other)),
                };
                let flags = match self.option("ipvlan_flag").unwrap_or("bridge") {
                    "bridge" => 0,
                    "private" => 1,
                    "vepa" => 2,
                    other => return Err(unknown("ipvlan_flag", other)),
                };
                Ok(Driver::Ipvlan(self.parent("di")?, mode, flags))
            }
            "host" => Ok(Driver::Host),
            "null" => Ok(Driver::None),
            other => Err(Error::invalid(
                format!("network driver {other:?}"),
                "could not be found: there are bridge, macvlan and ipvlan",
            )),
        }
    }

    fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>> {
        let value = self.option(name);
        value.map(|text| text.parse().map_err(|_| unknown(name, text))).transpose()
    }

    fn flag(&self, name: &str) -> Result<Option<bool>> {
        self.option(name).map(|text| truth(name, text)).transpose()
    }

    /// Whether it asks for nothing of Docker's that is not there: for one that is to be made.
    pub(crate) fn check_options(&self) -> Result<()> {
        let known = if self.driver == "bridge" { &OF_BRIDGES[..] } else { &[MTU] };
        option::check(self, known)
    }

    /// What the devices in containers are called, before their numbers.
    pub(crate) fn prefix(&self) -> &str {
        self.option(option::PREFIX).unwrap_or("eth")
    }

    fn mtu(&self) -> Result<Option<u32>> {
        match self.parsed::<u32>(MTU)? {
            Some(mtu) if !(68..=65535).contains(&mtu) => Err(unknown(MTU, &mtu.to_string())),
            mtu => Ok(mtu),
        }
    }

    fn bridge(&self) -> Result<BridgeOptions> {
        let short = self.id.get(..12).unwrap_or(&self.id);
        let name = self.option(NAME).map_or_else(|| format!("br-{short}"), str::to_owned);
        check_link(&name)?;
        Ok(BridgeOptions {
            name,
            mtu: self.mtu()?,
            neighbours: self.flag(ICC)?.unwrap_or(true),
            masquerade: self.flag(MASQUERADE)?.unwrap_or(true),
            guard: self.flag(GUARD)?.unwrap_or(true),
            host_binding: self
                .parsed::<IpAddr>(BINDING)?
                .filter(|address| !address.is_unspecified()),
        })
    }

    fn parent(&self, prefix: &str) -> Result<Parent> {
        let short = self.id.get(..12).unwrap_or(&self.id);
        let (name, ours) = match self.option("parent") {
            Some(name) => (name.to_owned(), false),
            None => (format!("{prefix}-{short}"), true),
        };
        check_link(&name)?;
        Ok(Parent { name, ours, mtu: self.mtu()? })
    }

    /// Whether nobody may remove it.
    pub fn is_predefined(&self) -> bool {
        PREDEFINED.contains(&self.name.as_str())
    }

    /// The pool of this family.
    pub fn pool(&self, ipv6: bool) -> Option<&Pool> {
        self.ipam.config.iter().find(|pool| pool.subnet.addr().is_ipv6() == ipv6)
    }

    /// Its subnets.
    pub fn subnets(&self) -> Vec<IpNet> {
        self.ipam.config.iter().map(|pool| pool.subnet).collect()
    }
}

/// As Go reads a truth (`strconv.ParseBool`).
fn truth(option: &str, value: &str) -> Result<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        other => Err(unknown(option, other)),
    }
}

fn unknown(option: &str, value: &str) -> Error {
    Error::invalid(format!("option {option}"), format!("cannot be {value:?}"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A network that nobody has made.
    pub(crate) fn network(driver: &str, options: &[(&str, &str)]) -> Network {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Network {
            name: "app".into(),
            id: "0123456789abcdef".repeat(4),
            created: "2026-01-01T00:00:00Z".into(),
            scope: "local".into(),
            driver: driver.into(),
            enable_ipv4: true,
            enable_ipv6: false,
            ipam: Ipam { driver: "default".into(), ..Ipam::default() },
            internal: false,
            attachable: false,
            ingress: false,
            config_from: ConfigFrom::default(),
            config_only: false,
            options: options.iter().map(owned).collect(),
            labels: BTreeMap::new(),
        }
    }

    #[test]
    fn options_become_a_driver_or_an_error_that_names_them() {
        let Driver::Bridge(bridge) = network("bridge", &[(MTU, "1400")]).driver().unwrap() else {
            panic!("no bridge");
        };
        assert_eq!((bridge.name.as_str(), bridge.mtu), ("br-0123456789ab", Some(1400)));
        assert!(bridge.neighbours && bridge.masquerade && bridge.guard);
        let macvlan = network("macvlan", &[("parent", "eth0"), ("macvlan_mode", "vepa")]);
        assert!(matches!(macvlan.driver().unwrap(), Driver::Macvlan(parent, 2) if !parent.ours));
        for (driver, option, value) in [
            ("bridge", MTU, "9"),
            ("bridge", ICC, "maybe"),
            ("bridge", NAME, "../etc"),
            ("bridge", NAME, "a name that is too long"),
            ("ipvlan", "ipvlan_mode", "l4"),
            ("overlay", MTU, "1500"),
        ] {
            assert!(network(driver, &[(option, value)]).driver().is_err(), "{option}={value}");
        }
    }

    #[test]
    fn names_are_dockers() {
        for good in ["app", "a.b_c-d", "0", "a b", "_app_default", "-a", "ä"] {
            check_name(good).unwrap();
        }
        for bad in ["", " ", "a/b", " a", "a\n", "../x"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn it_is_written_as_docker_shows_it() {
        let mut shown = network("bridge", &[]);
        shown.ipam.config.push(Pool {
            subnet: "172.18.0.0/16".parse().unwrap(),
            ip_range: None,
            gateway: Some("172.18.0.1".parse().unwrap()),
            auxiliary_addresses: BTreeMap::new(),
        });
        let json = serde_json::to_value(&shown).unwrap();
        assert_eq!(json["IPAM"]["Config"][0]["Gateway"], "172.18.0.1");
        assert!(json["IPAM"]["Options"].is_null());
        assert_eq!(json["EnableIPv6"], false);
        assert_eq!(serde_json::from_value::<Network>(json).unwrap(), shown);
    }
}
