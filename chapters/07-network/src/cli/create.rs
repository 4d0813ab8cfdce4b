//! `create`.

use std::collections::BTreeMap;

use clap::Args;

use crate::error::{Error, Result};
use crate::network::{ConfigFrom, IpamRequest, PoolRequest, Request};
use crate::networks::Networks;

/// A network that is to be made, as it is described on a command line.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Its name
    name: String,
    /// bridge, macvlan or ipvlan
    #[arg(short, long, default_value = "bridge")]
    driver: String,
    /// A subnet, one of each family at most; one that is free where there is none
    #[arg(long)]
    subnet: Vec<String>,
    /// The host's address in it
    #[arg(long)]
    gateway: Vec<String>,
    /// The part of it that addresses are given from
    #[arg(long)]
    ip_range: Vec<String>,
    /// An address that is given to nobody
    #[arg(long = "aux-address", value_name = "NAME=ADDRESS")]
    auxiliary: Vec<String>,
    /// IPv6, too
    #[arg(long)]
    ipv6: bool,
    /// Nothing leaves it
    #[arg(long)]
    internal: bool,
    /// Of swarms; written down
    #[arg(long)]
    attachable: bool,
    /// No network, but a configuration by which others are made
    #[arg(long)]
    config_only: bool,
    /// The configuration by which it is made
    #[arg(long, value_name = "NETWORK", default_value = "", hide_default_value = true)]
    config_from: String,
    /// Who gives addresses
    #[arg(long, default_value = "default")]
    ipam_driver: String,
    /// For whoever gives addresses; written down
    #[arg(long = "ipam-opt", value_name = "NAME=VALUE")]
    ipam_options: Vec<String>,
    /// For the driver: parent=eth0, macvlan_mode=private, com.docker.network.driver.mtu=1400 …
    #[arg(short, long = "opt", value_name = "NAME=VALUE")]
    options: Vec<String>,
    /// For you
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<String>,
}

pub(super) fn pairs(what: &str, list: &[String]) -> Result<BTreeMap<String, String>> {
    let split = |text: &String| match text.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(Error::invalid(format!("{what} {text:?}"), "write NAME=VALUE")),
    };
    list.iter().map(split).collect()
}

fn is_ipv6(text: &str) -> bool {
    text.contains(':')
}

impl CreateArgs {
    pub(super) fn execute(&self, networks: &Networks) -> Result<()> {
        println!("{}", networks.create(&self.request()?)?.id);
        for obstacle in networks.obstacles()? {
            eprintln!("corten-network: warning: {obstacle}");
        }
        Ok(())
    }

    /// What is asked for.
    ///
    /// # Errors
    /// Where an option or a label is no pair.
    pub fn request(&self) -> Result<Request> {
        Ok(Request {
            name: self.name.clone(),
            driver: self.driver.clone(),
            enable_ipv6: self.ipv6,
            internal: self.internal,
            attachable: self.attachable,
            config_only: self.config_only,
            config_from: ConfigFrom { network: self.config_from.clone() },
            ipam: IpamRequest {
                driver: self.ipam_driver.clone(),
                config: self.pools()?,
                options: match &self.ipam_options {
                    none if none.is_empty() => None,
                    some => Some(pairs("option", some)?),
                },
            },
            options: pairs("option", &self.options)?,
            labels: pairs("label", &self.label)?,
        })
    }

    /// Gateways, ranges and auxiliary addresses belong to the subnet of their family.
    fn pools(&self) -> Result<Vec<PoolRequest>> {
        let auxiliary = pairs("address", &self.auxiliary)?;
        let of = |list: &[String], ipv6: bool| {
            list.iter().find(|text| is_ipv6(text) == ipv6).cloned().unwrap_or_default()
        };
        let pool = |subnet: String, ipv6: bool| PoolRequest {
            subnet,
            gateway: of(&self.gateway, ipv6),
            ip_range: of(&self.ip_range, ipv6),
            auxiliary_addresses: auxiliary
                .iter()
                .filter(|(_, address)| is_ipv6(address) == ipv6)
                .map(|(name, address)| (name.clone(), address.clone()))
                .collect(),
        };
        let mut pools: Vec<PoolRequest> =
            self.subnet.iter().map(|subnet| pool(subnet.clone(), is_ipv6(subnet))).collect();
        for ipv6 in [false, true] {
            let named = self.subnet.iter().any(|subnet| is_ipv6(subnet) == ipv6);
            let rest = pool(String::new(), ipv6);
            if !named && rest != PoolRequest::default() {
                pools.push(rest);
            }
        }
        Ok(pools)
    }
}
