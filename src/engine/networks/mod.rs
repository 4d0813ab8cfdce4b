//! The networks of containers: chapter 7, composed with their life cycle.
//!
//! A container on networks has a namespace that outlives its program: `STATE/netns/ID`, made before
//! the container and connected while nobody is in it. So a restart by its supervisor finds all as it
//! was, and no process is started on the way. It is given up when the container has ended for good.
//!
//! | module | what |
//! |---|---|
//! | [`attachment`] | what is asked of a network, checked; published ports |
//! | `live` | connected and disconnected while it runs |
//! | `links` | names for one container alone |
//! | [`list`] | listed, removed, pruned |
//! | `show` | what of it `inspect` shows |

pub mod attachment;
pub(crate) mod links;
pub mod list;
mod live;
mod show;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use corten_network::names::ADDRESS;
use corten_network::network::PREDEFINED;
use corten_network::ports::Publish;
use corten_network::{Endpoint, EndpointRequest, Namespace, Network, Networks};

pub use attachment::{Attachment, Fixed};
pub(crate) use show::with_options;

use super::Engine;
use super::error::{Error, Result};
use super::oci::files::Addresses;
use super::options::check::HOST_GATEWAY;
use super::options::{HostConfig, NetworkMode};
use super::record::Record;
use super::state::Containers;

/// The networks of one state directory, opened when somebody asks.
#[derive(Debug)]
pub struct Shelf {
    root: PathBuf,
    state: PathBuf,
    opened: OnceLock<Networks>,
}

impl Shelf {
    /// Those below `root`, with what does not survive a reboot below `state`.
    pub(super) fn new(root: &Path, state: &Path) -> Shelf {
        Shelf { root: root.to_owned(), state: state.to_owned(), opened: OnceLock::new() }
    }

    /// The networks.
    ///
    /// # Errors
    /// Where they cannot be opened.
    pub fn networks(&self) -> Result<&Networks> {
        match self.opened.get() {
            Some(networks) => Ok(networks),
            None => {
                let networks = Networks::open(&self.root, &self.state)?;
                Ok(self.opened.get_or_init(|| networks))
            }
        }
    }

    /// Undoes what was being connected or disconnected by processes that were killed; a look into one
    /// directory where there were none.
    pub(super) fn finish(&self) -> Result<()> {
        let mut notes = std::fs::read_dir(Networks::notes(&self.state)).into_iter().flatten();
        if notes.next().is_some() && self.opened.get().is_none() {
            self.networks()?;
        }
        Ok(())
    }

    /// Takes a container that has ended off its networks, and gives those that it was on.
    pub(super) fn release(&self, record: &Record) -> Result<Vec<String>> {
        match record.host_config.network()? {
            NetworkMode::Network(_) => self.forget(&record.id),
            _ => Ok(Vec::new()),
        }
    }

    /// The same for whoever was called so, of whom nothing else is known; gives the networks that it
    /// was on.
    pub(super) fn forget(&self, id: &str) -> Result<Vec<String>> {
        let left = self.networks()?.release(id)?;
        Namespace::release(&self.namespace(id))?;
        Ok(left.into_iter().map(|endpoint| endpoint.network).collect())
    }

    /// The network that stands for having none of one's own, as Docker tells of it.
    pub(super) fn stand_in(&self, record: &Record) -> Result<Option<Network>> {
        match record.host_config.network()? {
            NetworkMode::None => Ok(Some(self.networks()?.find("none")?)),
            NetworkMode::Host => Ok(Some(self.networks()?.find("host")?)),
            NetworkMode::Container(_) | NetworkMode::Network(_) => Ok(None),
        }
    }

    fn namespace(&self, id: &str) -> PathBuf {
        self.state.join("netns").join(id)
    }
}

/// A container on its networks.
#[derive(Debug, Default)]
pub(super) struct Connected {
    /// Its namespace, where it has one that was made for it.
    pub namespace: Option<PathBuf>,
    /// Its names for itself and others.
    pub addresses: Addresses,
}

/// A container without a network has its name all the same.
const LOCALHOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

impl Containers {
    /// Takes a container that has ended off its networks. Where it `ran`, that is told, and that its
    /// volumes are in use no more.
    pub(super) fn leave(&self, record: &Record, ran: bool) -> Result<()> {
        let left = self.shelf.release(record)?;
        if !ran {
            return Ok(());
        }
        // One that is removed meanwhile has told of its own end.
        let known = |id: &String| self.shelf.networks().ok()?.find(id).ok();
        let mut networks: Vec<Network> = left.iter().filter_map(known).collect();
        networks.extend(self.shelf.stand_in(record)?);
        for network in &networks {
            self.note_network("disconnect", network, Some(&record.id));
        }
        self.note_volumes(record, false);
        Ok(())
    }

    /// A directory that changes when a container is connected or disconnected; it is not there while it
    /// is on no network.
    pub fn endpoints_of(&self, id: &str) -> PathBuf {
        Networks::endpoints_of(&self.shelf.state, id)
    }
}

impl Engine {
    /// The networks.
    ///
    /// # Errors
    /// Where they cannot be opened.
    pub fn networks(&self) -> Result<&Networks> {
        self.containers.shelf.networks()
    }

    // ANCHOR: connect
    /// Makes the container's namespace and connects it to its networks, before anybody is in it.
    pub(super) fn connect(&self, record: &Record) -> Result<Connected> {
        let host = &record.host_config;
        let NetworkMode::Network(main) = host.network()? else {
            if let Some(network) = self.containers.shelf.stand_in(record)? {
                self.containers.note_network("connect", &network, Some(&record.id));
            }
            return Ok(Connected { namespace: None, addresses: self.alone(host)? });
        };
        let (shelf, networks) = (&self.containers.shelf, self.networks()?);
        let path = shelf.namespace(&record.id);
        // What is left of a run that was killed.
        shelf.release(record)?;
        let mut namespace = Namespace::create(&path)?;
        // The network of its mode is the first: its default route is there, where none has a priority.
        let main = networks.find(&main).ok().map(|network| network.name);
        let mut names: Vec<&String> = record.networks.keys().collect();
        names.sort_by_key(|name| Some(*name) != main.as_ref());
        let find = |name: &&String| networks.find(name).map_err(Error::from);
        let all = names.iter().map(find).collect::<Result<Vec<Network>>>()?;
        let mut ports = attachment::published(&record.config, host)?;
        let way_out = way_out(record, &all);
        let mut endpoints = Vec::new();
        for network in &all {
            let has_ports = way_out.is_some_and(|way_out| way_out.id == network.id);
            let own = if has_ports { std::mem::take(&mut ports) } else { Vec::new() };
            endpoints.push(self.join(record, network, &mut namespace, own)?);
        }
        let addresses = self.addresses(record, &endpoints)?;
        Ok(Connected { namespace: Some(path), addresses })
    }
    // ANCHOR_END: connect

    /// Connects a container to one of its networks.
    fn join(
        &self,
        record: &Record,
        network: &Network,
        namespace: &mut Namespace,
        ports: Vec<Publish>,
    ) -> Result<Endpoint> {
        let wanted = record.networks.get(&network.name).cloned().unwrap_or_default();
        let host = &record.host_config;
        let links = match has_names(&network.name) {
            true => Engine::links_on(record, network)?,
            false => Default::default(),
        };
        let request = EndpointRequest {
            container: record.id.clone(),
            name: record.shown_name().to_owned(),
            namespace: namespace.path().to_owned(),
            ports,
            dns: host.dns.iter().flatten().filter_map(|server| server.parse().ok()).collect(),
            dns_options: host.dns_options.clone().unwrap_or_default(),
            links,
            ..wanted.request()?
        };
        let networks = self.networks()?;
        let endpoint = networks.connect_in(&network.name, &request, namespace)?;
        networks.announce(&endpoint)?;
        self.containers.note_network("connect", network, Some(&record.id));
        Ok(endpoint)
    }

    /// The endpoints of a container that runs.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub fn endpoints(&self, record: &Record) -> Result<Vec<Endpoint>> {
        match record.host_config.network()? {
            NetworkMode::Network(_) => Ok(self.networks()?.of_container(&record.id)?),
            _ => Ok(Vec::new()),
        }
    }

    /// What a container on no network has of names.
    fn alone(&self, host: &HostConfig) -> Result<Addresses> {
        let own = if super::oci::own_network(host)? { vec![LOCALHOST] } else { Vec::new() };
        // With the host's network the host is at hand.
        let at_hand = (host.network()? == NetworkMode::Host).then_some(LOCALHOST);
        Ok(Addresses { own, gateway: self.host_gateway(host, at_hand)?, resolver: None })
    }

    /// What a container on these networks has of names.
    fn addresses(&self, record: &Record, endpoints: &[Endpoint]) -> Result<Addresses> {
        let near = endpoints.iter().find_map(|endpoint| endpoint.gateway);
        Ok(Addresses {
            own: endpoints.iter().flat_map(Endpoint::addresses).collect(),
            gateway: self.host_gateway(&record.host_config, near)?,
            resolver: record.networks.keys().any(|name| has_names(name)).then_some(ADDRESS.into()),
        })
    }

    /// What the name of the host's means: the address that is near; where there is none, and somebody asks,
    /// that on the default bridge, as with dockerd, whether it leads there or not.
    fn host_gateway(&self, host: &HostConfig, near: Option<IpAddr>) -> Result<Option<IpAddr>> {
        let asks = || host.extra_hosts.iter().any(|entry| entry.ends_with(HOST_GATEWAY));
        if near.is_some() || !asks() {
            return Ok(near);
        }
        Ok(self.networks()?.find("bridge")?.ipam.config.iter().find_map(|pool| pool.gateway))
    }
}

/// The network by which what is on none of them is reached, and where ports are published.
fn way_out<'a>(record: &Record, networks: &'a [Network]) -> Option<&'a Network> {
    let priority = |network: &Network| {
        record.networks.get(&network.name).map_or(0, |wanted| wanted.gw_priority)
    };
    // Of several, the first.
    let open = networks.iter().filter(|network| !network.internal);
    open.min_by_key(|network| std::cmp::Reverse(priority(network)))
}

/// Whether the containers of a network find one another by name.
fn has_names(network: &str) -> bool {
    !PREDEFINED.contains(&network)
}

/// A network that is no container's to be connected to.
fn is_mode(network: &Network) -> bool {
    !network.config_only && matches!(network.driver.as_str(), "host" | "null")
}

/// Why a container without networks of its own cannot be connected to one.
fn shares() -> Error {
    Error::refused(
        "container sharing network namespace with another container or host cannot be connected to \
         any other network",
    )
}
