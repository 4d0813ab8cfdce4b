//! All networks of an engine: made, found, listed, removed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use corten_supervisor::durable::{self, Worth};
use ipnet::IpNet;
use serde::Serialize;

use crate::endpoint::{Endpoint, Member};
use crate::error::{Error, Result};
use crate::netlink::Socket;
use crate::network::{
    ConfigFrom, DEFAULT_BRIDGE, Driver, Ipam, Network, PREDEFINED, PoolRequest, Request,
    USUAL_ROOT, check_name,
};
use crate::nft::batch::Tables;
use crate::store::{self, Store};
use crate::{bridge, configuration, host, id, ipam};

/// All networks of an engine. Several processes may have the same ones open.
#[derive(Debug, Clone)]
pub struct Networks {
    pub(crate) store: Store,
    pub(crate) tables: Tables,
    pub(crate) sockets: Sockets,
}

/// A network with its containers, as `docker network inspect` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// The network.
    #[serde(flatten)]
    pub network: Network,
    /// Its containers, by their ids.
    #[serde(rename = "Containers")]
    pub containers: BTreeMap<String, Member>,
}

/// The sockets by which the kernel is asked.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub route: Socket,
    pub filter: Socket,
}

// ANCHOR: sockets
/// Sockets that are open and not in use. They are kept: when a socket of nfnetlink is closed the kernel
/// waits until the memory of removed elements is free (`nft_rcv_nl_event` in its
/// net/netfilter/nf_tables_api.c), which takes an RCU grace period, and most of the time of a
/// container's end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sockets(Arc<Mutex<Vec<Kernel>>>);

impl Sockets {
    /// A pair that nobody else uses meanwhile, of the network namespace of the thread that opened it:
    /// the host's.
    pub fn take(&self) -> Result<Taken> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let kernel = match kept {
            Some(kernel) => kernel,
            None => Kernel { route: Socket::route()?, filter: Socket::netfilter()? },
        };
        Ok(Taken { kernel: Some(kernel), home: self.clone() })
    }
}

/// Sockets in use; they go back when it is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    kernel: Option<Kernel>,
    home: Sockets,
}

impl Taken {
    /// The sockets.
    pub fn kernel(&mut self) -> &mut Kernel {
        // Taken out by `drop` only.
        self.kernel.as_mut().expect("the sockets are there until the end")
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut kept = self.home.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(self.kernel.take());
    }
}
// ANCHOR_END: sockets

impl Networks {
    /// Opens the networks whose files are below `root`, and what lasts until the next reboot below
    /// `state`. What a process was making or undoing when it was killed is undone first.
    ///
    /// # Errors
    /// Where the directories cannot be made, or something cannot be undone.
    pub fn open(root: &Path, state: &Path) -> Result<Networks> {
        let store = Store::open(root, state)?;
        let tables = Tables::new(store.without_frames());
        let networks = Networks { store, tables, sockets: Sockets::default() };
        networks.predefine()?;
        networks.finish()?;
        Ok(networks)
    }

    /// Makes the networks that are always there.
    fn predefine(&self) -> Result<()> {
        // One look where all is well: the last one made is `none`.
        let marker = self.store.networks().join("predefined");
        if marker.exists() {
            return Ok(());
        }
        let _lock = self.store.lock()?;
        let known = self.all()?;
        for name in PREDEFINED {
            if known.iter().any(|network| network.name == name) {
                continue;
            }
            let driver = match name {
                "none" => "null",
                other => other,
            };
            let mut network = empty(name, driver);
            if name == "bridge" {
                let is_usual = self.store.networks().parent() == Some(Path::new(USUAL_ROOT));
                let name = is_usual.then_some(("com.docker.network.bridge.name", DEFAULT_BRIDGE));
                let options = [("com.docker.network.bridge.default_bridge", "true")];
                let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
                network.options = options.into_iter().chain(name).map(owned).collect();
                let taken = self.taken(&known, &mut Socket::route()?)?;
                let pool = ipam::check(&PoolRequest::default(), ipam::free_ipv4(&taken)?)?;
                network.ipam.config.push(pool);
            }
            durable::write_json(&self.store.network(&network.id), &network, Worth::Durable)?;
        }
        Ok(durable::write_json(&marker, &PREDEFINED, Worth::Durable)?)
    }

    /// What no new network may touch.
    fn taken(&self, known: &[Network], route: &mut Socket) -> Result<Vec<IpNet>> {
        let mut taken = host::occupied(route)?;
        taken.extend(subnets(known));
        Ok(taken)
    }

    /// All networks, by name.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub fn all(&self) -> Result<Vec<Network>> {
        let mut all = Vec::new();
        for id in store::ids(self.store.networks())? {
            // It may be removed meanwhile.
            all.extend(durable::read_json::<Network>(&self.store.network(&id))?);
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// The network of this name, this id, or with the one id that begins so.
    ///
    /// # Errors
    /// [`Error::NoSuchNetwork`], [`Error::Ambiguous`].
    pub fn find(&self, name: &str) -> Result<Network> {
        let wanted = if name == "default" { "bridge" } else { name };
        let missing = || Error::NoSuchNetwork { name: name.to_owned() };
        if id::is_id(wanted) {
            return durable::read_json(&self.store.network(wanted))?.ok_or_else(missing);
        }
        let mut all = self.all()?;
        if let Some(at) = all.iter().position(|network| network.name == wanted) {
            return Ok(all.swap_remove(at));
        }
        all.retain(|network| !wanted.is_empty() && network.id.starts_with(wanted));
        match all.len() {
            0 => Err(missing()),
            1 => Ok(all.swap_remove(0)),
            count => Err(Error::Ambiguous { prefix: name.to_owned(), count }),
        }
    }

    // ANCHOR: create
    /// Makes a network.
    ///
    /// # Errors
    /// [`Error::NameInUse`], [`Error::Overlap`], [`Error::NoPool`], [`Error::Configuration`],
    /// [`Error::NoSuchConfiguration`], what is malformed, and what the kernel refuses; nothing is left then.
    pub fn create(&self, request: &Request) -> Result<Network> {
        let request = &request.with_options_read()?;
        check_name(&request.name)?;
        if PREDEFINED.contains(&request.name.as_str()) || request.name == "default" {
            return Err(Error::Predefined { name: request.name.clone(), what: "created" });
        }
        let mut taken = self.sockets.take()?;
        let kernel = taken.kernel();
        let lock = self.store.lock()?;
        let known = self.all()?;
        if known.iter().any(|network| network.name == request.name) {
            return Err(Error::NameInUse { name: request.name.clone() });
        }
        configuration::check(request)?;
        if request.config_only {
            return self.create_configuration(request);
        }
        let whole = configuration::applied(request, &known)?;
        let network = self.draft(whole.as_ref().unwrap_or(request), &known, &mut kernel.route)?;
        let driver = network.driver()?;
        if matches!(driver, Driver::Host | Driver::None) {
            return Err(Error::invalid(
                format!("driver {}", network.driver),
                "has one network, which is there",
            ));
        }
        let file = self.store.network(&network.id);
        self.store.prepare(&network.id)?;
        durable::write_json(&file, &network, Worth::Durable)?;
        drop(lock);
        // What cannot be made is told now, and not to the first container.
        let _lock = self.store.lock_network(&network.id)?;
        self.load(kernel)?;
        let made = bridge::ensure(self, &network, kernel);
        match made {
            Ok(_) => Ok(network),
            Err(error) => {
                store::remove_durably(&file)?;
                let _ = std::fs::remove_dir_all(self.store.of_network(&network.id));
                Err(error)
            }
        }
    }
    // ANCHOR_END: create

    /// Writes a configuration down. The caller holds the store's lock.
    fn create_configuration(&self, request: &Request) -> Result<Network> {
        // Nobody can be on it, whoever reads the file.
        let mut network = empty(&request.name, "null");
        configuration::fill(&mut network, request)?;
        durable::write_json(&self.store.network(&network.id), &network, Worth::Durable)?;
        Ok(network)
    }

    fn remove_configuration(&self, network: Network) -> Result<Network> {
        // None is made by it meanwhile.
        let _lock = self.store.lock()?;
        configuration::check_unused(&network, &self.all()?)?;
        store::remove_durably(&self.store.network(&network.id))?;
        Ok(network)
    }

    /// The network as it would be.
    fn draft(&self, request: &Request, known: &[Network], route: &mut Socket) -> Result<Network> {
        let driver = if request.driver.is_empty() { "bridge" } else { request.driver.as_str() };
        let mut network = empty(&request.name, driver);
        network.enable_ipv6 = request.enable_ipv6;
        network.internal = request.internal;
        network.attachable = request.attachable;
        network.config_from.clone_from(&request.config_from);
        network.options = request.options.clone();
        network.labels = request.labels.clone();
        network.check_options()?;
        if !matches!(request.ipam.driver.as_str(), "" | "default") {
            let what = format!("ipam driver {:?}", request.ipam.driver);
            return Err(Error::invalid(what, "could not be found: there is `default`"));
        }
        let links = |network: &Network| match network.driver() {
            Ok(Driver::Bridge(bridge)) => Some(bridge.name),
            _ => None,
        };
        if let Some(name) = links(&network)
            && let Some(other) = known.iter().find(|other| links(other).as_ref() == Some(&name))
        {
            let why = format!("is the bridge of network {}", other.name);
            return Err(Error::invalid(format!("bridge {name}"), why));
        }
        let taken = self.taken(known, route)?;
        network.ipam.options.clone_from(&request.ipam.options);
        network.ipam.config = pools(request, driver, known, &taken)?;
        Ok(network)
    }

    /// Removes a network, by name or id.
    ///
    /// # Errors
    /// [`Error::NoSuchNetwork`], [`Error::Predefined`], [`Error::ActiveEndpoints`],
    /// [`Error::ConfigurationInUse`].
    pub fn remove(&self, name: &str) -> Result<Network> {
        let network = self.find(name)?;
        if network.is_predefined() {
            return Err(Error::Predefined { name: network.name, what: "removed" });
        }
        if network.config_only {
            return self.remove_configuration(network);
        }
        self.store.prepare(&network.id)?;
        let _lock = self.store.lock_network(&network.id)?;
        let endpoints = self.endpoints(&network.id)?;
        if !endpoints.is_empty() {
            return Err(Error::active(network, &endpoints));
        }
        let mut taken = self.sockets.take()?;
        let kernel = taken.kernel();
        self.load(kernel)?;
        bridge::remove(self, &network, kernel)?;
        store::remove_durably(&self.store.network(&network.id))?;
        let _ = std::fs::remove_dir_all(self.store.of_network(&network.id));
        Ok(network)
    }

    /// Removes the networks that no container is on, except the predefined ones, configurations and those
    /// that `keep` names. Gives those that are gone.
    ///
    /// # Errors
    /// Where the networks cannot be read.
    pub fn prune(&self, keep: impl Fn(&Network) -> bool) -> Result<Vec<Network>> {
        let mut gone = Vec::new();
        for network in self.all()? {
            if network.is_predefined() || network.config_only || keep(&network) {
                continue;
            }
            match self.remove(&network.id) {
                Ok(network) => gone.push(network),
                Err(Error::ActiveEndpoints { .. } | Error::NoSuchNetwork { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(gone)
    }

    /// A network with its containers.
    ///
    /// # Errors
    /// As [`Networks::find`].
    pub fn inspect(&self, name: &str) -> Result<Inspection> {
        let network = self.find(name)?;
        let endpoints = self.endpoints(&network.id)?;
        let members = endpoints.iter().map(|one| (one.container.clone(), one.member()));
        Ok(Inspection { containers: members.collect(), network })
    }

    /// The endpoints of a network, by its id.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub fn endpoints(&self, network: &str) -> Result<Vec<Endpoint>> {
        let directory = self.store.endpoints(network);
        let mut endpoints = Vec::new();
        for id in store::ids(&directory)? {
            endpoints.extend(durable::read_json(&directory.join(format!("{id}.json")))?);
        }
        Ok(endpoints)
    }

    /// The directory where the endpoints of a network are written down, by its id.
    pub fn endpoints_directory(&self, network: &str) -> std::path::PathBuf {
        self.store.endpoints(network)
    }

    /// What keeps containers of this host from other machines, in sentences: one question to the kernel.
    ///
    /// # Errors
    /// Where the kernel cannot be asked.
    pub fn closed_ways(&self) -> Result<Vec<String>> {
        host::closed_ways(&mut self.sockets.take()?.kernel().filter)
    }

    /// The same, and all else on this host that is in the way of networks.
    ///
    /// # Errors
    /// Where the kernel cannot be asked.
    pub fn obstacles(&self) -> Result<Vec<String>> {
        let mut found = self.closed_ways()?;
        if !self.tables.have_frames() {
            found.push(
                "the kernel has no packet filter for frames (module nft_meta_bridge): a container \
                 with CAP_NET_RAW can speak as its neighbour on the same network"
                    .to_owned(),
            );
        }
        let has_ipv6 = |network: &Network| network.enable_ipv6 && network.driver == "bridge";
        if self.all()?.iter().any(has_ipv6) {
            found.extend(host::loopback6_obstacle());
        }
        Ok(found)
    }
}

/// A network with nothing in it.
fn empty(name: &str, driver: &str) -> Network {
    let now = time::OffsetDateTime::now_utc();
    let format = &time::format_description::well_known::Rfc3339;
    Network {
        name: name.to_owned(),
        id: id::new(),
        created: now.format(format).unwrap_or_default(),
        scope: "local".to_owned(),
        driver: driver.to_owned(),
        enable_ipv4: true,
        enable_ipv6: false,
        ipam: Ipam { driver: "default".to_owned(), options: None, config: Vec::new() },
        internal: false,
        attachable: false,
        ingress: false,
        config_from: ConfigFrom::default(),
        config_only: false,
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
    }
}

/// The subnets that networks have. A configuration has none yet.
fn subnets(known: &[Network]) -> impl Iterator<Item = IpNet> {
    known.iter().filter(|network| !network.config_only).flat_map(Network::subnets)
}

// ANCHOR: pools
/// The pools of a network: those that are asked for, and one for each family that is missing.
fn pools(
    request: &Request,
    driver: &str,
    known: &[Network],
    taken: &[IpNet],
) -> Result<Vec<crate::network::Pool>> {
    let mut pools: Vec<crate::network::Pool> = Vec::new();
    for wanted in request.ipam.config.iter().filter(|pool| !pool.subnet.is_empty()) {
        let what = format!("subnet {:?}", wanted.subnet);
        let subnet: IpNet =
            wanted.subnet.parse().map_err(|_| Error::invalid(&*what, "write 172.20.0.0/16"))?;
        if pools.iter().any(|pool| pool.subnet.addr().is_ipv6() == subnet.addr().is_ipv6()) {
            return Err(Error::invalid(what, "a network has one subnet of each family"));
        }
        if subnet.addr().is_ipv6() && !request.enable_ipv6 {
            return Err(Error::invalid(what, "needs EnableIPv6"));
        }
        // On somebody else's wire the addresses are somebody else's, too.
        let others: Vec<IpNet> = match driver {
            "bridge" => taken.to_vec(),
            _ => subnets(known).collect(),
        };
        if let Some(other) = others.iter().find(|other| ipam::overlap(&subnet, other)) {
            let (subnet, other) = (subnet.to_string(), other.to_string());
            return Err(Error::Overlap { subnet, other });
        }
        pools.push(ipam::check(wanted, subnet)?);
    }
    let has = |pools: &[crate::network::Pool], ipv6| {
        pools.iter().any(|pool| pool.subnet.addr().is_ipv6() == ipv6)
    };
    // A gateway or range without a subnet is in none.
    let loose = |pool: &&PoolRequest| {
        pool.subnet.is_empty() && !(pool.gateway.is_empty() && pool.ip_range.is_empty())
    };
    if let Some(pool) = request.ipam.config.iter().find(loose) {
        return Err(Error::invalid(
            format!("gateway {:?}", pool.gateway),
            "every ip-range or gateway must have a corresponding subnet",
        ));
    }
    if !has(&pools, false) {
        pools.push(ipam::check(&PoolRequest::default(), ipam::free_ipv4(taken)?)?);
    }
    if request.enable_ipv6 && !has(&pools, true) {
        pools.push(ipam::check(&PoolRequest::default(), ipam::free_ipv6(taken))?);
    }
    pools.sort_by_key(|pool| pool.subnet.addr().is_ipv6());
    Ok(pools)
}
// ANCHOR_END: pools
