//! Links: names by which one container alone knows another.
//!
//! On networks that somebody has made they are answered by the network's name server. On the default
//! bridge, which has none, they are lines of /etc/hosts, and variables that tell of the other's ports and
//! environment, as Docker has it since its first versions.

use std::collections::BTreeMap;
use std::net::IpAddr;

use corten_network::Network;

use super::has_names;
use crate::engine::Engine;
use crate::engine::error::{Error, Result};
use crate::engine::options::{Config, HostConfig, NetworkMode};
use crate::engine::record::Record;
use crate::engine::state::State;

/// `CONTAINER[:ALIAS]`: the container, and what it is called. Docker tells of an alias as
/// `/CONTAINER/ALIAS`, and takes that back.
fn parse(link: &str) -> (&str, &str) {
    let (target, alias) = link.split_once(':').unwrap_or((link, link));
    (target.trim_start_matches('/'), alias.rsplit('/').next().unwrap_or(alias))
}

/// The links of a container, each read: of those with one alias the first, as with dockerd.
pub(in crate::engine) fn of(host: &HostConfig) -> Vec<(&str, &str)> {
    let mut links: Vec<(&str, &str)> = Vec::new();
    for (target, alias) in host.links.iter().map(|link| parse(link)) {
        if !links.iter().any(|(_, other)| *other == alias) {
            links.push((target, alias));
        }
    }
    links
}

/// So many containers may stand between a link and the one whose network it leads to.
const LONGEST: usize = 64;

/// `CONTAINER/ALIAS`, by which a link is taken off: the container, and the alias.
pub(crate) fn named(text: &str) -> Option<(&str, &str)> {
    text.trim_start_matches('/').split_once('/')
}

/// The variables that tell of one who is linked: `DB_PORT_5432_TCP_ADDR` and the like.
fn variables(name: &str, alias: &str, address: IpAddr, other: &Config) -> Vec<String> {
    let prefix = alias.to_uppercase().replace('-', "_");
    let mut ports: Vec<(u16, &str)> = other
        .exposed_ports
        .keys()
        .filter_map(|port| {
            let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
            Some((number.parse().ok()?, protocol))
        })
        .collect();
    ports.sort_by_key(|(number, protocol)| (*number, *protocol != "tcp"));
    let mut all = Vec::new();
    if let Some((number, protocol)) = ports.first() {
        all.push(format!("{prefix}_PORT={protocol}://{address}:{number}"));
    }
    for (number, protocol) in ports {
        let port = format!("{prefix}_PORT_{number}_{}", protocol.to_uppercase());
        all.push(format!("{port}={protocol}://{address}:{number}"));
        all.push(format!("{port}_ADDR={address}"));
        all.push(format!("{port}_PORT={number}"));
        all.push(format!("{port}_PROTO={protocol}"));
    }
    all.push(format!("{prefix}_NAME=/{name}/{alias}"));
    let own = other.env.iter().filter_map(|variable| variable.split_once('='));
    let own = own.filter(|(name, _)| !["HOME", "PATH"].contains(name));
    all.extend(own.map(|(name, value)| format!("{prefix}_ENV_{name}={value}")));
    all
}

/// What a container has of its links on the default bridge.
#[derive(Debug, Default)]
pub(in crate::engine) struct Linked {
    /// `NAME:ADDRESS`, for /etc/hosts.
    pub hosts: Vec<String>,
    /// `NAME=VALUE`.
    pub variables: Vec<String>,
}

impl Engine {
    /// Whether the containers that a new one shall be linked with are there, and the link has a sense.
    pub(in crate::engine) fn check_links(&self, host: &HostConfig) -> Result<()> {
        if host.links.is_empty() {
            return Ok(());
        }
        let conflict = || {
            Error::refused(
                "conflicting options: host type networking can't be used with links. This would \
                 result in undefined behavior",
            )
        };
        if host.network()? == NetworkMode::Host {
            return Err(conflict());
        }
        for (target, _) in of(host) {
            let (other, _) = self.other_end(target).map_err(|error| match error {
                Error::NoSuchContainer { name } => Error::refused(format!(
                    "could not get container for {name}: No such container: {name}"
                )),
                other => other,
            })?;
            if other.host_config.network()? == NetworkMode::Host {
                return Err(conflict());
            }
        }
        Ok(())
    }

    /// The container that a link leads to: whose network the one of that name is on.
    pub(in crate::engine) fn other_end(&self, target: &str) -> Result<(Record, State)> {
        let mut found = self.containers.find(target)?;
        for _ in 0..LONGEST {
            let NetworkMode::Container(other) = found.0.host_config.network()? else { break };
            found = self.containers.find(&other)?;
        }
        Ok(found)
    }

    /// The links of a container on the default bridge. One whose other end is removed is none any more.
    ///
    /// # Errors
    /// Where the other end does not run, or is not on that network.
    pub(in crate::engine) fn linked(&self, record: &Record) -> Result<Linked> {
        let mut linked = Linked::default();
        let NetworkMode::Network(main) = record.host_config.network()? else { return Ok(linked) };
        if record.host_config.links.is_empty() || has_names(&main) {
            return Ok(linked);
        }
        let network = self.networks()?.find(&main)?.id;
        for (target, alias) in of(&record.host_config) {
            let Ok((other, state)) = self.other_end(target) else { continue };
            let (own, name) = (record.shown_name(), other.shown_name());
            if !matches!(state, State::Running { .. }) {
                return Err(Error::refused(format!(
                    "Cannot link to a non running container: /{name} AS /{own}/{alias}"
                )));
            }
            let endpoints = self.endpoints(&other)?;
            let mut at = endpoints.iter().filter(|endpoint| endpoint.network == network);
            let Some(address) = at.find_map(|at| at.addresses().into_iter().next()) else {
                return Err(Error::refused(format!(
                    "Cannot link to /{name}, as it does not belong to the default network"
                )));
            };
            linked.hosts.push(format!("{alias}:{address}"));
            linked.variables.extend(variables(own, alias, address, &other.config));
        }
        Ok(linked)
    }

    /// The links of a container on a network with names: of each alias, whom it means, who need not be
    /// there yet.
    pub(super) fn links_on(record: &Record, network: &Network) -> Result<BTreeMap<String, String>> {
        let mut links: Vec<&String> = Vec::new();
        if let Some(wanted) = record.networks.get(&network.name) {
            links.extend(&wanted.links);
        }
        if let NetworkMode::Network(main) = record.host_config.network()?
            && (main == network.name || main == network.id)
        {
            links.extend(&record.host_config.links);
        }
        let named = links.into_iter().map(|link| {
            let (target, alias) = parse(link);
            (alias.to_ascii_lowercase(), target.to_owned())
        });
        Ok(named.collect())
    }

    /// Takes a link off a container.
    ///
    /// # Errors
    /// Where there is none of that name.
    pub fn unlink(&self, name_or_id: &str, alias: &str) -> Result<()> {
        let (record, _) = self.containers.find(name_or_id)?;
        if !record.host_config.links.iter().any(|link| parse(link).1 == alias) {
            let name = format!("{name_or_id}/{alias}");
            return Err(Error::NoSuchContainer { name });
        }
        self.containers.modify(&record.id, |kept| {
            kept.host_config.links.retain(|link| parse(link).1 != alias);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_link_names_a_container_and_what_it_is_called() {
        assert_eq!(parse("db"), ("db", "db"));
        assert_eq!(parse("db:store"), ("db", "store"));
        assert_eq!(parse("/db:/web/store"), ("db", "store"));
        let links = ["a:x", "b:y", "c:x"].map(str::to_owned).to_vec();
        let host = HostConfig { links, ..HostConfig::default() };
        assert_eq!(of(&host), [("a", "x"), ("b", "y")], "the first one counts");
    }

    #[test]
    fn variables_tell_of_ports_and_environment_as_docker_s_do() {
        let other: Config = serde_json::from_value(json!({
            "ExposedPorts": {"5432/tcp": {}, "53/udp": {}, "53/tcp": {}},
            "Env": ["PATH=/bin", "MODE=a=b"],
        }))
        .unwrap();
        let all = variables("web", "my-db", [172, 17, 0, 2].into(), &other);
        assert_eq!(all[0], "MY_DB_PORT=tcp://172.17.0.2:53");
        for line in [
            "MY_DB_PORT_53_UDP=udp://172.17.0.2:53",
            "MY_DB_PORT_5432_TCP=tcp://172.17.0.2:5432",
            "MY_DB_PORT_5432_TCP_ADDR=172.17.0.2",
            "MY_DB_PORT_5432_TCP_PORT=5432",
            "MY_DB_PORT_5432_TCP_PROTO=tcp",
            "MY_DB_NAME=/web/my-db",
            "MY_DB_ENV_MODE=a=b",
        ] {
            assert!(all.iter().any(|own| own == line), "{line} in {all:?}");
        }
        assert!(!all.iter().any(|line| line.contains("ENV_PATH")));
    }
}
