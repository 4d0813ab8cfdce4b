//! `attach`, `explain`, `publish` and `detach`.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;

use super::create::pairs;
use super::show::json;
use crate::endpoint::EndpointRequest;
use crate::error::Result;
use crate::mac::Mac;
use crate::networks::Networks;
use crate::option::EndpointOptions;
use crate::ports::{Publish, parse};

/// What is connected: a process, or the path of a namespace. An engine would name a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Process(u32),
    Path(PathBuf),
}

impl FromStr for Target {
    type Err = Infallible;

    fn from_str(text: &str) -> std::result::Result<Target, Infallible> {
        Ok(text.parse().map_or_else(|_| Target::Path(text.into()), Target::Process))
    }
}

impl Target {
    /// Where its namespace is.
    fn namespace(&self) -> PathBuf {
        match self {
            Target::Process(pid) => format!("/proc/{pid}/ns/net").into(),
            Target::Path(path) => std::path::absolute(path).unwrap_or_else(|_| path.clone()),
        }
    }

    /// What it is called instead of a container's id.
    pub(super) fn container(&self) -> String {
        match self {
            Target::Process(pid) => format!("process-{pid}"),
            // A name of one component.
            Target::Path(_) => {
                let path = self.namespace();
                format!(
                    "path{}",
                    path.display().to_string().replace('%', "%25").replace('/', "%2f")
                )
            }
        }
    }

    /// What others see.
    fn name(&self) -> String {
        match self {
            Target::Process(pid) => pid.to_string(),
            Target::Path(path) => {
                path.file_name().unwrap_or_default().to_string_lossy().into_owned()
            }
        }
    }
}

/// Whether what [`Target::container`] has named is there.
pub(super) fn is_alive(container: &str) -> bool {
    match (container.strip_prefix("process-"), container.strip_prefix("path")) {
        (Some(pid), _) => Path::new("/proc").join(pid).join("ns/net").exists(),
        (_, Some(path)) => Path::new(&path.replace("%2f", "/").replace("%25", "%")).exists(),
        // An engine's; it knows better.
        _ => true,
    }
}

#[derive(Debug, Args)]
pub(super) struct AttachArgs {
    /// A network's name or id
    network: String,
    /// A process, or the path of a namespace
    target: Target,
    /// Its name
    #[arg(long)]
    name: Option<String>,
    /// A further name
    #[arg(long)]
    alias: Vec<String>,
    /// Its address
    #[arg(long)]
    ip: Option<Ipv4Addr>,
    /// Its IPv6 address
    #[arg(long)]
    ip6: Option<Ipv6Addr>,
    /// Its link layer address
    #[arg(long)]
    mac: Option<Mac>,
    /// Of several networks, the one with the highest leads everywhere else
    #[arg(long, value_name = "NUMBER", default_value_t, allow_hyphen_values = true)]
    gw_priority: i64,
    /// For the driver: com.docker.network.endpoint.ifname=…, com.docker.network.endpoint.sysctls=…
    #[arg(long = "driver-opt", value_name = "NAME=VALUE")]
    driver_options: Vec<String>,
    /// A published port, as docker run -p takes it
    #[arg(short, long, value_name = "[[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]")]
    publish: Vec<String>,
    /// A resolver that is asked for this container, and not the host's
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<IpAddr>,
    /// An option of its resolver, as in resolv.conf
    #[arg(long, value_name = "OPTION")]
    dns_option: Vec<String>,
    /// Leave the network's names alone: start no server for them
    #[arg(long)]
    no_names: bool,
}

fn ports(list: &[String]) -> Result<Vec<Publish>> {
    let parsed: Vec<_> = list.iter().map(|text| parse::publish(text)).collect::<Result<_>>()?;
    Ok(parsed.concat())
}

impl AttachArgs {
    fn request(&self) -> Result<EndpointRequest> {
        let options = EndpointOptions::parse(&pairs("option", &self.driver_options)?)?;
        Ok(EndpointRequest {
            interface: options.interface,
            sysctls: options.sysctls,
            gateway_priority: self.gw_priority,
            container: self.target.container(),
            name: self.name.clone().unwrap_or_else(|| self.target.name()),
            aliases: self.alias.clone(),
            ipv4: self.ip,
            ipv6: self.ip6,
            mac: self.mac,
            namespace: self.target.namespace(),
            ports: ports(&self.publish)?,
            dns: self.dns.clone(),
            dns_options: self.dns_option.clone(),
            links: std::collections::BTreeMap::new(),
            link_local: Vec::new(),
        })
    }

    pub(super) fn attach(&self, networks: &Networks) -> Result<()> {
        let endpoint = networks.connect(&self.network, &self.request()?)?;
        if !self.no_names {
            networks.announce(&endpoint)?;
        }
        println!("{}", json(&endpoint)?);
        Ok(())
    }

    pub(super) fn explain(&self, networks: &Networks) -> Result<()> {
        print!("{}", networks.explain(&self.network, &self.request()?)?);
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(super) struct PublishArgs {
    /// A network's name or id
    network: String,
    /// A process, or the path of a namespace
    target: Target,
    /// Further ports
    #[arg(required = true, value_name = "[[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]")]
    ports: Vec<String>,
}

impl PublishArgs {
    pub(super) fn execute(&self, networks: &Networks) -> Result<()> {
        let container = self.target.container();
        for port in networks.publish(&self.network, &container, &ports(&self.ports)?)? {
            println!("{port}");
        }
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(super) struct DetachArgs {
    /// A network's name or id
    network: String,
    /// A process, or the path of a namespace
    target: Target,
}

impl DetachArgs {
    pub(super) fn execute(&self, networks: &Networks) -> Result<()> {
        networks.disconnect(&self.network, &self.target.container()).map(drop)
    }
}
