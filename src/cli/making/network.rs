//! Options about networks.

use std::collections::BTreeMap;

use clap::Args;
use corten_network::network::PREDEFINED;
use corten_network::ports::parse;

use super::value::{fields, strict_pairs};
use crate::cli::{Error, Result};
use crate::engine::networks::Attachment;
use crate::engine::options::host::PortBinding;
use crate::engine::options::{Config, HostConfig};

#[derive(Debug, Args)]
#[command(next_help_heading = "Networks")]
pub(super) struct NetworkArgs {
    /// A network, none, host, or container:NAME; or name=NETWORK,alias=…,ip=…,ip6=…,mac-address=…,
    /// link-local-ip=…,gw-priority=…,driver-opt=NAME=VALUE
    #[arg(long, visible_alias = "net", value_name = "NETWORK")]
    network: Vec<String>,
    /// Another name on the first network
    #[arg(long, visible_alias = "net-alias", value_name = "NAME")]
    network_alias: Vec<String>,
    /// Its address on the first network
    #[arg(long, value_name = "ADDRESS", default_value = "", hide_default_value = true)]
    ip: String,
    /// Its IPv6 address on the first network
    #[arg(long, value_name = "ADDRESS", default_value = "", hide_default_value = true)]
    ip6: String,
    /// Its link layer address on the first network
    #[arg(long, value_name = "ADDRESS", default_value = "", hide_default_value = true)]
    mac_address: String,
    /// A further address on the first network, of that link alone
    #[arg(long, value_name = "ADDRESS")]
    link_local_ip: Vec<String>,
    /// Let a port be reached on the host
    #[arg(short, long, value_name = "[[ADDRESS:]PORT:]PORT[/PROTOCOL]")]
    publish: Vec<String>,
    /// Let every port that the image names be reached on some port of the host
    #[arg(short = 'P', long)]
    publish_all: bool,
    /// A port that the container serves
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    expose: Vec<String>,
    /// A name by which it alone knows another container, of the time before networks had names
    #[arg(long, value_name = "CONTAINER[:ALIAS]")]
    link: Vec<String>,
}

impl NetworkArgs {
    pub(super) fn fill(
        &self,
        config: &mut Config,
        host: &mut HostConfig,
    ) -> Result<BTreeMap<String, Attachment>> {
        let is_none = |link: &&String| {
            let (target, alias) = link.split_once(':').unwrap_or((link, link));
            target.is_empty() || alias.is_empty() || alias.contains(':')
        };
        if let Some(link) = self.link.iter().find(is_none) {
            return Err(Error::invalid("--link", format!("bad format for links: {link}")));
        }
        host.links.clone_from(&self.link);
        config.mac_address.clone_from(&self.mac_address);
        self.ports(config, host)?;
        let mut networks = BTreeMap::new();
        for (at, text) in self.network.iter().enumerate() {
            let (name, mut wanted) = network(text)?;
            if at == 0 {
                host.network_mode.clone_from(&name);
                wanted = self.first(wanted)?;
            }
            if networks.insert(name.clone(), wanted).is_some() {
                let text = format!("network {name:?} is specified multiple times");
                return Err(Error::refused(text));
            }
        }
        if networks.len() > 1 && networks.keys().any(|name| !is_somebody_s(name)) {
            return Err(Error::refused(
                "conflicting options: cannot attach both user-defined and non-user-defined \
                 network-modes",
            ));
        }
        if self.network.is_empty() {
            networks.insert("bridge".to_owned(), self.first(Attachment::default())?);
        } else if let Some(wanted) = networks.remove("default") {
            networks.insert("bridge".to_owned(), wanted);
        }
        Ok(networks)
    }

    /// What is said beside `--network`, for the first one.
    fn first(&self, wanted: Attachment) -> Result<Attachment> {
        let fixed = wanted.ipam.clone().unwrap_or_default();
        let conflict = |option: &str, what: &str| {
            let text =
                format!("conflicting options: cannot specify both {option} and per-network {what}");
            Err(Error::refused(text))
        };
        match () {
            () if !self.network_alias.is_empty() && !wanted.aliases.is_empty() => {
                conflict("--network-alias", "alias")
            }
            () if !self.ip.is_empty() && !fixed.ipv4.is_empty() => conflict("--ip", "IPv4 address"),
            () if !self.ip6.is_empty() && !fixed.ipv6.is_empty() => {
                conflict("--ip6", "IPv6 address")
            }
            () if !self.mac_address.is_empty() && !wanted.mac_address.is_empty() => {
                conflict("--mac-address", "MAC address")
            }
            () if !self.link_local_ip.is_empty() && !fixed.link_local.is_empty() => {
                conflict("--link-local-ip", "link-local IP addresses")
            }
            () => {
                let aliases = [wanted.aliases.clone(), self.network_alias.clone()].concat();
                let or = |own: &str, other: &str| {
                    if own.is_empty() { other.to_owned() } else { own.to_owned() }
                };
                let (ip, ip6) = (or(&self.ip, &fixed.ipv4), or(&self.ip6, &fixed.ipv6));
                let wanted = Attachment { aliases, ..wanted };
                Ok(wanted.with_local(self.link_local_ip.clone()).at(&ip, &ip6))
            }
        }
    }

    fn ports(&self, config: &mut Config, host: &mut HostConfig) -> Result<()> {
        host.publish_all_ports = self.publish_all;
        for text in &self.publish {
            for port in parse::publish(&short_form(text)?)? {
                let key = format!("{}/{}", port.container_port, port.protocol);
                config.exposed_ports.entry(key.clone()).or_default();
                host.port_bindings.entry(key).or_default().push(PortBinding {
                    host_ip: port.host.map(|address| address.to_string()).unwrap_or_default(),
                    host_port: match port.host_ports {
                        None => String::new(),
                        Some((one, last)) if one == last => one.to_string(),
                        Some((one, last)) => format!("{one}-{last}"),
                    },
                });
            }
        }
        for text in &self.expose {
            let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
            let (one, last) = parse::range(range)?;
            for port in one..=last {
                config.exposed_ports.entry(format!("{port}/{protocol}")).or_default();
            }
        }
        Ok(())
    }
}

/// Whether a network is one that somebody has made.
fn is_somebody_s(name: &str) -> bool {
    name != "default" && !PREDEFINED.contains(&name) && !name.starts_with("container:")
}

/// `NETWORK`, or `name=NETWORK,alias=…`.
fn network(text: &str) -> Result<(String, Attachment)> {
    if !text.contains('=') {
        return Ok((text.to_owned(), Attachment::default()));
    }
    let wrong = |why: String| Error::invalid(format!("--network {text}"), why);
    let (mut name, mut wanted) = (String::new(), Attachment::default());
    let (mut ip, mut ip6, mut local) = (String::new(), String::new(), Vec::new());
    for field in fields(text) {
        let Some((key, value)) = field.split_once('=') else {
            return Err(wrong(format!("invalid field {field}")));
        };
        let value = value.trim().to_owned();
        match key.trim().to_ascii_lowercase().as_str() {
            "name" => name = value,
            "alias" => wanted.aliases.push(value),
            "ip" => ip = value,
            "ip6" => ip6 = value,
            "mac-address" => wanted.mac_address = value,
            "link-local-ip" => local.push(value),
            "gw-priority" => {
                let number = value.parse();
                wanted.gw_priority =
                    number.map_err(|_| wrong(format!("invalid gw-priority {value:?}")))?;
            }
            "driver-opt" => wanted.driver_opts.extend(strict_pairs("driver-opt", &[value])?),
            other => {
                let why = format!(
                    "has no {other}: there are name, alias, ip, ip6, mac-address, link-local-ip, \
                     gw-priority, driver-opt"
                );
                return Err(wrong(why));
            }
        }
    }
    match name.as_str() {
        "" => Err(wrong("network name is not specified".to_owned())),
        _ => Ok((name, wanted.with_local(local).at(&ip, &ip6))),
    }
}

/// `target=80,published=8080,protocol=udp,host_ip=…` in the short form.
fn short_form(text: &str) -> Result<String> {
    if !text.contains('=') {
        return Ok(text.to_owned());
    }
    let wrong = |why: String| Error::invalid(format!("port `{text}`"), why);
    let [mut target, mut published, mut protocol, mut address] = [const { String::new() }; 4];
    for field in fields(text) {
        let Some((key, value)) = field.split_once('=') else {
            return Err(wrong(format!("invalid field {field}")));
        };
        match key {
            "target" => target = value.to_owned(),
            "published" => published = format!("{value}:"),
            "protocol" => protocol = format!("/{value}"),
            "host_ip" => address = format!("{value}:"),
            // Of swarms.
            "mode" => {}
            other => {
                return Err(wrong(format!(
                    "has no {other}: there are target, published, protocol, host_ip"
                )));
            }
        }
    }
    let published = if published.is_empty() && !address.is_empty() { ":" } else { &published };
    Ok(format!("{address}{published}{target}{protocol}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        network: NetworkArgs,
    }

    type Filled = (BTreeMap<String, Attachment>, HostConfig);

    fn filled(line: &str) -> Result<Filled> {
        let line = Line::parse_from(["corten"].into_iter().chain(line.split_whitespace()));
        let mut host = HostConfig::default();
        Ok((line.network.fill(&mut Config::default(), &mut host)?, host))
    }

    #[test]
    fn networks_are_named_with_what_is_asked_of_each() {
        let (networks, host) = filled("").unwrap();
        assert_eq!((networks.len(), host.network_mode.as_str()), (1, ""));
        let (_, host) = filled("--link web --link web:store").unwrap();
        assert_eq!(host.links, ["web", "web:store"]);
        let line = "--network name=app,alias=a,alias=b,ip=10.0.0.2 --network other --ip6 fd00::2";
        let (networks, host) = filled(line).unwrap();
        assert_eq!(host.network_mode, "app");
        assert_eq!(networks["app"].aliases, ["a", "b"]);
        let fixed = networks["app"].ipam.clone().unwrap();
        assert_eq!((fixed.ipv4.as_str(), fixed.ipv6.as_str()), ("10.0.0.2", "fd00::2"));
        assert_eq!(networks["other"], Attachment::default());
        let line = "--network name=app,gw-priority=-2,link-local-ip=169.254.8.8 --ip 10.0.0.2 \
            --network name=b,driver-opt=com.docker.network.endpoint.ifname=lan";
        let (networks, _) = filled(line).unwrap();
        let (app, fixed) = (&networks["app"], networks["app"].ipam.clone().unwrap());
        assert_eq!((app.gw_priority, fixed.link_local[0].as_str()), (-2, "169.254.8.8"));
        assert_eq!(fixed.ipv4, "10.0.0.2");
        assert_eq!(networks["b"].driver_opts["com.docker.network.endpoint.ifname"], "lan");
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (line, why) in [
            ("--network app --network host", "both user-defined and non-user-defined"),
            ("--network app --network app", "multiple times"),
            ("--network name=app,ip=10.0.0.2 --ip 10.0.0.3", "both --ip and per-network"),
            ("--network name=app,alias=a --network-alias b", "both --network-alias"),
            (
                "--network name=app,link-local-ip=169.254.1.1 --link-local-ip 169.254.1.2",
                "both --link-local-ip and per-network link-local IP addresses",
            ),
            ("--network alias=a", "network name is not specified"),
            ("--network name=app,speed=1", "has no speed"),
            ("--network name=app,gw-priority=high", "invalid gw-priority"),
            ("--network name=app,driver-opt=speed", "must be NAME=VALUE"),
            ("--link web:a:b", "bad format for links: web:a:b"),
            ("--link :a", "bad format for links: :a"),
            ("-p x", "port `x`"),
        ] {
            let error = filled(line).unwrap_err().to_string();
            assert!(error.contains(why), "{line}: {error}");
        }
    }

    #[test]
    fn a_published_port_has_a_long_form_too() {
        for (long, short) in [
            ("target=80", "80"),
            ("target=80,published=8080,protocol=udp", "8080:80/udp"),
            ("target=80,published=8080,host_ip=127.0.0.1", "127.0.0.1:8080:80"),
            ("target=80,host_ip=127.0.0.1", "127.0.0.1::80"),
        ] {
            assert_eq!(short_form(long).unwrap(), short);
        }
        assert!(short_form("target=80,speed=1").is_err());
    }
}
