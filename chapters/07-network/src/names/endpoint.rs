//! An endpoint as it is on disk: a container's place in a network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::files::resolv::searches;

/// What an endpoint's file says. Fields that are not known are ignored.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Record {
    container: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    aliases: Option<Vec<String>>,
    #[serde(default, rename = "IPv4Address")]
    v4: String,
    #[serde(default, rename = "IPv6Address")]
    v6: String,
    #[serde(default)]
    namespace: PathBuf,
    #[serde(default)]
    dns: Option<Vec<IpAddr>>,
    #[serde(default)]
    dns_options: Option<Vec<String>>,
}

/// An endpoint, checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Endpoint {
    /// The container's full id.
    pub container: String,
    /// Its name.
    pub name: String,
    /// What else it is called in this network.
    pub aliases: Vec<String>,
    /// Its addresses.
    pub v4: Option<Ipv4Addr>,
    /// Its addresses.
    pub v6: Option<Ipv6Addr>,
    /// Where its network namespace is pinned.
    pub namespace: PathBuf,
    /// The resolvers that were given for this container (`--dns`); the host's, where there are none.
    pub dns: Vec<IpAddr>,
    /// Whether names are looked for in a search list first, by the options that were given for
    /// this container (`--dns-option`); by the host's, where there are none.
    pub searches: Option<bool>,
}

impl Endpoint {
    /// Reads what stands in an endpoint's file.
    ///
    /// # Errors
    /// What is malformed in it.
    pub fn parse(text: &[u8]) -> std::result::Result<Endpoint, serde_json::Error> {
        let record: Record = serde_json::from_slice(text)?;
        record.try_into().map_err(|error: Error| serde::de::Error::custom(error.to_string()))
    }

    /// Everything that it is called, in small letters. Its full id is no name: it has 64 digits,
    /// and no part of a name has more than 63 (RFC 1035, 2.3.4).
    pub fn names(&self) -> Vec<String> {
        let short = self.container.get(..12).unwrap_or(&self.container);
        let own = [self.name.as_str(), short];
        let all = own.into_iter().chain(self.aliases.iter().map(String::as_str));
        let mut names: Vec<String> =
            all.filter(|name| !name.is_empty()).map(str::to_ascii_lowercase).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Its addresses of both families.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        self.v4.map(IpAddr::V4).into_iter().chain(self.v6.map(IpAddr::V6))
    }
}

impl TryFrom<Record> for Endpoint {
    type Error = Error;

    fn try_from(record: Record) -> Result<Endpoint> {
        let options = record.dns_options.filter(|options| !options.is_empty());
        let searches = options.as_deref().map(searches);
        Ok(Endpoint {
            v4: address(&record.v4)?,
            v6: address(&record.v6)?,
            container: record.container,
            name: record.name,
            aliases: record.aliases.unwrap_or_default(),
            namespace: record.namespace,
            dns: record.dns.unwrap_or_default(),
            searches,
        })
    }
}

/// `172.19.0.2/16`, with the length of the prefix or without; nothing for nothing.
fn address<A: std::str::FromStr>(text: &str) -> Result<Option<A>> {
    let address = text.split_once('/').map_or(text, |(address, _)| address);
    if address.is_empty() {
        return Ok(None);
    }
    address.parse().map(Some).map_err(|_| Error::invalid("address", format!("not one: {text}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_and_checked() {
        let text = br#"{"Container": "0123456789abcdef", "Name": "Web", "Aliases": ["db", "WEB"],
            "IPv4Address": "172.19.0.2/16", "IPv6Address": "", "MacAddress": "02:42:ac:13:00:02",
            "Namespace": "/run/corten/netns/x", "DnsOptions": ["ndots:2"], "Later": 1}"#;
        let endpoint = Endpoint::parse(text).unwrap();
        assert_eq!(endpoint.names(), ["0123456789ab", "db", "web"]);
        assert_eq!(endpoint.v4, Some(Ipv4Addr::new(172, 19, 0, 2)));
        assert_eq!(endpoint.v6, None);
        assert_eq!(endpoint.searches, Some(true));
        assert!(Endpoint::parse(br#"{"Container": "x", "IPv4Address": "nonsense"}"#).is_err());
    }
}
