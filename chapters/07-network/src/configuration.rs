//! Networks that are a configuration only (`network create --config-only`): addresses, options and labels
//! under a name. Nobody is on them, and nothing of them is in the kernel; others are made as they say
//! (`--config-from`), and while there is one of those they stay.
//!
//! What either may have is moby's rule (libnetwork, `validateConfiguration` and `applyConfigurationTo`).

use ipnet::IpNet;

use crate::error::{Error, Result};
use crate::ipam;
use crate::network::{Network, Pool, PoolRequest, Request};

/// Whether a network that is to be made may say what it says beside a configuration.
pub(crate) fn check(request: &Request) -> Result<()> {
    let refused = |why| Err(Error::Configuration { why });
    if request.config_only && (request.internal || request.attachable) {
        return refused(
            "configuration network can only contain network specific fields. Network operator fields \
             like [ ingress | internal | attachable | scope ] are not supported.",
        );
    }
    if request.config_from.network.is_empty() {
        return Ok(());
    }
    if request.config_only {
        return refused("a configuration network cannot depend on another configuration network");
    }
    let ipam = &request.ipam;
    let has_driver = !matches!(ipam.driver.as_str(), "" | "default");
    let has_options = ipam.options.as_ref().is_some_and(|options| !options.is_empty());
    let has_own = !ipam.config.is_empty() || !request.labels.is_empty() || request.enable_ipv6;
    if has_driver || has_options || has_own {
        return refused(
            "user specified configurations are not supported if the network depends on a configuration \
             network",
        );
    }
    if !request.options.is_empty() {
        return refused(
            "network driver options are not supported if the network depends on a configuration network",
        );
    }
    Ok(())
}

/// Fills `network`, which is empty, with what a configuration is to say. Its subnets are nobody's yet.
pub(crate) fn fill(network: &mut Network, request: &Request) -> Result<()> {
    network.config_only = true;
    network.enable_ipv6 = request.enable_ipv6;
    network.options.clone_from(&request.options);
    network.labels.clone_from(&request.labels);
    network.ipam.options.clone_from(&request.ipam.options);
    network.ipam.config = request.ipam.config.iter().map(pool).collect::<Result<_>>()?;
    Ok(())
}

/// A pool, without a gateway where none is asked for: whoever takes the subnet chooses it.
fn pool(wanted: &PoolRequest) -> Result<Pool> {
    let what = || format!("subnet {:?}", wanted.subnet);
    let subnet: IpNet =
        wanted.subnet.parse().map_err(|_| Error::invalid(what(), "write 172.20.0.0/16"))?;
    let mut pool = ipam::check(wanted, subnet)?;
    pool.gateway = pool.gateway.filter(|_| !wanted.gateway.is_empty());
    Ok(pool)
}

/// What is asked for, with all that its configuration says; `None` where it names none.
pub(crate) fn applied(request: &Request, known: &[Network]) -> Result<Option<Request>> {
    let name = &request.config_from.network;
    if name.is_empty() {
        return Ok(None);
    }
    let is_it = |network: &&Network| network.config_only && network.name == *name;
    let Some(from) = known.iter().find(is_it) else {
        return Err(Error::NoSuchConfiguration { name: name.clone() });
    };
    let mut whole = request.clone();
    whole.enable_ipv6 = from.enable_ipv6;
    whole.options.clone_from(&from.options);
    whole.labels.clone_from(&from.labels);
    whole.ipam.options.clone_from(&from.ipam.options);
    whole.ipam.config = from.ipam.config.iter().map(asked).collect();
    Ok(Some(whole))
}

fn asked(pool: &Pool) -> PoolRequest {
    let text = |it: Option<String>| it.unwrap_or_default();
    let auxiliary = pool.auxiliary_addresses.iter();
    PoolRequest {
        subnet: pool.subnet.to_string(),
        ip_range: text(pool.ip_range.map(|range| range.to_string())),
        gateway: text(pool.gateway.map(|gateway| gateway.to_string())),
        auxiliary_addresses: auxiliary.map(|(name, at)| (name.clone(), at.to_string())).collect(),
    }
}

/// That a container can be on this network.
pub(crate) fn check_usable(network: &Network) -> Result<()> {
    match network.config_only {
        true => Err(Error::Configuration {
            why: "cannot create endpoint on configuration-only network",
        }),
        false => Ok(()),
    }
}

/// That no network is made as this one says.
pub(crate) fn check_unused(network: &Network, known: &[Network]) -> Result<()> {
    match known.iter().any(|other| other.config_from.network == network.name) {
        true => Err(Error::ConfigurationInUse { name: network.name.clone() }),
        false => Ok(()),
    }
}
