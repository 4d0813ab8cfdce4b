//! Connecting a container to a network, and disconnecting it: a plan is made and carried out.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use corten_supervisor::durable::{self, Worth};
use serde::{Deserialize, Serialize};

use crate::bridge::{self, Below};
use crate::endpoint::{Endpoint, EndpointRequest};
use crate::error::{Error, Result};
use crate::host;
use crate::ipam::{Ledger, link_local};
use crate::mac::Mac;
use crate::namespace::Namespace;
use crate::netlink::{self, Request};
use crate::network::{Driver, Network};
use crate::networks::{Kernel, Networks};
use crate::nft::element::of_published;
use crate::nft::flow;
use crate::option::Sysctl;
use crate::plan::{self, End, Ground, Plan, Step};
use crate::ports::claims::Claims;
use crate::ports::reserve::{Targets, reserve};
use crate::ports::{Publish, Published};
use crate::priority::rank;
use crate::store::{self, Lock};

/// A note of what is being made or undone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Note {
    pub network: Network,
    pub endpoint: Endpoint,
}

/// What a plan is carried out on.
pub(crate) struct Site<'a> {
    pub networks: &'a Networks,
    pub network: &'a Network,
    pub endpoint: &'a Endpoint,
    pub kernel: &'a mut Kernel,
    /// The container's namespace; `None` where it has gone.
    pub namespace: Option<&'a mut Namespace>,
    /// Held from the note on until it is crossed out.
    pub note: Option<Lock>,
}

impl Networks {
    /// Connects a container to a network, by the network's name or id, whether it runs or is being made.
    ///
    /// # Errors
    /// [`Error::NoSuchNetwork`], [`Error::AlreadyConnected`], [`Error::AddressInUse`],
    /// [`Error::NoAddress`], [`Error::PortInUse`], and what the kernel refuses. Nothing is left then.
    pub fn connect(&self, network: &str, request: &EndpointRequest) -> Result<Endpoint> {
        self.connect_in(network, request, &mut Namespace::open(&request.namespace)?)
    }

    /// The same for whoever has the namespace open, as [`Namespace::create`] gives it: it need not be
    /// entered again.
    ///
    /// # Errors
    /// As [`Networks::connect`].
    pub fn connect_in(
        &self,
        network: &str,
        request: &EndpointRequest,
        namespace: &mut Namespace,
    ) -> Result<Endpoint> {
        self.prepare(network, request, namespace, |site, plan| {
            match site.carry_out(plan).and_then(|()| site.forward(&site.endpoint.ports)) {
                Ok(()) => Ok(site.endpoint.clone()),
                Err(error) => {
                    let undo = plan::disconnect(site.network, site.endpoint, End::Now)?;
                    site.undo(&undo)?;
                    Err(error)
                }
            }
        })
    }

    /// What [`Networks::connect`] would do, in words.
    ///
    /// # Errors
    /// As [`Networks::connect`].
    pub fn explain(&self, network: &str, request: &EndpointRequest) -> Result<Plan> {
        let namespace = &mut Namespace::open(&request.namespace)?;
        self.prepare(network, request, namespace, |_, plan| Ok(plan.clone()))
    }

    // ANCHOR: prepare
    /// Decides all about an endpoint, and gives it and its plan to `then`. The network's lock is held
    /// meanwhile, and that of all ports where some are published.
    fn prepare<T>(
        &self,
        network: &str,
        request: &EndpointRequest,
        namespace: &mut Namespace,
        then: impl FnOnce(&mut Site<'_>, &Plan) -> Result<T>,
    ) -> Result<T> {
        let found = self.find(network)?;
        crate::configuration::check_usable(&found)?;
        self.store.prepare(&found.id)?;
        let _lock = self.store.lock_network(&found.id)?;
        // Removed while we waited?
        let network = self.find(&found.id)?;
        let own = self.of_container(&request.container)?;
        if own.iter().any(|endpoint| endpoint.network == network.id) {
            let (container, network) = (request.name.clone(), network.name);
            return Err(Error::AlreadyConnected { container, network });
        }
        let mut taken = self.sockets.take()?;
        let kernel = taken.kernel();
        self.load(kernel)?;
        let below = bridge::ensure(self, &network, kernel)?;
        let publishes = !request.ports.is_empty() && !network.internal;
        let _ports = publishes.then(|| self.store.lock_ports()).transpose()?;
        let mut endpoint = self.draft_endpoint(&network, request, &own)?;
        let lower = rank(&mut endpoint, &own, namespace)?;
        let Below { index, mtu } = below;
        let filtered = host::filters_bridges();
        let ground = Ground { below: index, mtu, namespace, filtered, lower };
        let plan = plan::connect(&network, &endpoint, &ground)?;
        let mut site = Site {
            networks: self,
            network: &network,
            endpoint: &endpoint,
            kernel,
            namespace: Some(namespace),
            note: None,
        };
        then(&mut site, &plan)
    }
    // ANCHOR_END: prepare

    fn draft_endpoint(
        &self,
        network: &Network,
        request: &EndpointRequest,
        own: &[Endpoint],
    ) -> Result<Endpoint> {
        let driver = network.driver()?;
        let directory = self.store.addresses(&network.id);
        let ledger = Ledger { network: &network.name, directory: &directory };
        let wanted = [request.ipv4.map(IpAddr::from), request.ipv6.map(IpAddr::from)];
        let mut nets = [None, None];
        for (at, wanted) in wanted.into_iter().enumerate() {
            nets[at] = match (network.pool(at == 1), wanted) {
                (Some(pool), wanted) => Some(pool.with_prefix(ledger.choose(pool, wanted)?)),
                (None, None) => None,
                (None, Some(address)) => {
                    let why = format!("network {} has no subnet of its family", network.name);
                    return Err(Error::invalid(format!("address {address}"), why));
                }
            };
        }
        let [ipv4, ipv6] = nets;
        let mac_address = match (&driver, request.mac, ipv4.map(|net| net.addr())) {
            (Driver::Ipvlan(..), ..) => None,
            (_, Some(mac), _) => Some(mac),
            (_, None, Some(IpAddr::V4(address))) => Some(Mac::of(address)),
            _ => Some(Mac::random()),
        };
        // The first number that none of the container's devices has.
        let name = |number| format!("{}{number}", network.prefix());
        let has = |name: &str| own.iter().any(|endpoint| endpoint.interface == name);
        let used = |n: &u32| own.iter().any(|endpoint| endpoint.number == *n) || has(&name(*n));
        let number = (0..).find(|n| !used(n)).unwrap_or_default();
        let interface = request.interface.clone().unwrap_or_else(|| name(number));
        if has(&interface) || interface == "lo" {
            let why = "is one that the container has already";
            return Err(Error::invalid(format!("device name {interface}"), why));
        }
        let gateway =
            |ipv6| network.pool(ipv6).filter(|_| !network.internal).and_then(|pool| pool.gateway);
        let id = crate::id::new();
        let bridged = matches!(driver, Driver::Bridge(_));
        let mut endpoint = Endpoint {
            network: network.id.clone(),
            container: request.container.clone(),
            name: request.name.clone(),
            aliases: request.aliases.clone(),
            ipv4,
            ipv6,
            mac_address,
            namespace: request.namespace.clone(),
            gateway: gateway(false),
            ipv6_gateway: gateway(true),
            gateway_priority: request.gateway_priority,
            metric: number,
            interface,
            sysctls: request.sysctls.clone(),
            number,
            link: if bridged { format!("veth{}", &id[..7]) } else { String::new() },
            ports: Vec::new(),
            dns: request.dns.clone(),
            dns_options: request.dns_options.clone(),
            links: request.links.clone(),
            link_local: request.link_local.iter().map(|address| link_local(*address)).collect(),
            id,
        };
        endpoint.ports = self.free_ports(network, &endpoint, &request.ports)?;
        Ok(endpoint)
    }

    /// Ports of the host for those of an endpoint. The caller has the lock of all ports.
    fn free_ports(
        &self,
        network: &Network,
        endpoint: &Endpoint,
        wanted: &[Publish],
    ) -> Result<Vec<Published>> {
        let Driver::Bridge(bridge) = network.driver()? else { return Ok(Vec::new()) };
        if network.internal {
            return Ok(Vec::new());
        }
        let (mut ipv4, mut ipv6) = (None, None);
        for address in endpoint.addresses() {
            match address {
                IpAddr::V4(address) => ipv4 = Some(address),
                IpAddr::V6(address) => ipv6 = Some(address),
            }
        }
        let targets = Targets { ipv4, ipv6, usual_host: bridge.host_binding };
        reserve(wanted, &targets, &self.claims())
    }

    /// Publishes further ports of a container that is connected.
    ///
    /// # Errors
    /// [`Error::NotConnected`], [`Error::PortInUse`], what the kernel refuses. Nothing is changed then.
    pub fn publish(
        &self,
        network: &str,
        container: &str,
        ports: &[Publish],
    ) -> Result<Vec<Published>> {
        let network = self.find(network)?;
        let _lock = self.store.lock_network(&network.id)?;
        let _ports = self.store.lock_ports()?;
        let old = self.endpoint_of(&network, container)?;
        let new = self.free_ports(&network, &old, ports)?;
        let mut endpoint = old.clone();
        endpoint.ports.extend(new.iter().cloned());
        let mut taken = self.sockets.take()?;
        let kernel = taken.kernel();
        self.load(kernel)?;
        let (networks, namespace, note) = (self, None, None);
        let network = &network;
        // Recorded first: whoever disconnects it later knows all that there may be.
        let mut elements: Vec<_> = new.iter().map(of_published).collect();
        elements.sort_by_key(|element| element.set);
        let mut site = Site { networks, network, endpoint: &endpoint, kernel, namespace, note };
        let (_, file) = site.places();
        let record =
            |endpoint| durable::write_json(&file, endpoint, Worth::Volatile).map_err(Error::from);
        let done = record(&endpoint).and_then(|()| {
            networks.claims().take(&new, &endpoint.id, &endpoint.name)?;
            site.step(&Step::Allow(elements))?;
            flow::forget(&mut site.kernel.filter, &new)?;
            site.forward(&new)
        });
        if let Err(error) = done {
            networks.claims().give_back(&new, &endpoint.id)?;
            record(&old)?;
            return Err(error);
        }
        Ok(new)
    }

    fn endpoint_of(&self, network: &Network, container: &str) -> Result<Endpoint> {
        let own = self.of_container(container)?;
        let endpoint = own.into_iter().find(|endpoint| endpoint.network == network.id);
        endpoint.ok_or_else(|| Error::NotConnected {
            container: container.to_owned(),
            network: network.name.clone(),
        })
    }

    /// Disconnects a container from a network while it runs.
    ///
    /// # Errors
    /// [`Error::NoSuchNetwork`], [`Error::NotConnected`], what the kernel refuses.
    pub fn disconnect(&self, network: &str, container: &str) -> Result<Endpoint> {
        let network = self.find(network)?;
        let endpoint = self.endpoint_of(&network, container)?;
        self.take_down(&network, &endpoint, End::Now)?;
        Ok(endpoint)
    }

    // ANCHOR: release
    /// Ends all that a container has: its endpoints, and its namespace where that is kept. Returns at
    /// once; the kernel takes the devices apart with the namespace.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn release(&self, container: &str) -> Result<Vec<Endpoint>> {
        let own = self.of_container(container)?;
        let mut kept: Vec<&Path> = Vec::new();
        for endpoint in &own {
            if let Some(network) = durable::read_json(&self.store.network(&endpoint.network))? {
                self.take_down(&network, endpoint, End::WithNamespace)?;
            }
            if !endpoint.namespace.starts_with("/proc") && !kept.contains(&&*endpoint.namespace) {
                kept.push(&endpoint.namespace);
            }
        }
        for path in kept {
            Namespace::release(path)?;
        }
        let _ = std::fs::remove_dir(self.store.containers().join(container));
        Ok(own)
    }
    // ANCHOR_END: release

    fn take_down(&self, network: &Network, endpoint: &Endpoint, end: End) -> Result<()> {
        let _lock = self.store.lock_network(&network.id)?;
        let _ports = (!endpoint.ports.is_empty()).then(|| self.store.lock_ports()).transpose()?;
        let mut taken = self.sockets.take()?;
        let kernel = taken.kernel();
        self.undo_one(network, endpoint, end, kernel, None)
    }

    /// Undoes all of an endpoint, or the part of it that is there. The caller has the locks.
    pub(crate) fn undo_one(
        &self,
        network: &Network,
        endpoint: &Endpoint,
        end: End,
        kernel: &mut Kernel,
        note: Option<Lock>,
    ) -> Result<()> {
        let plan = plan::disconnect(network, endpoint, end)?;
        let mut namespace = Namespace::open(&endpoint.namespace).ok();
        let namespace = namespace.as_mut();
        let networks = self;
        let mut site = Site { networks, network, endpoint, kernel, namespace, note };
        site.undo(&plan)
    }

    /// The endpoints of a container, by its full id.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub fn of_container(&self, container: &str) -> Result<Vec<Endpoint>> {
        let directory = self.store.containers().join(container);
        let mut found = Vec::new();
        for id in store::names(&directory)? {
            let Some(network) = durable::read_json::<String>(&directory.join(&id))? else {
                continue;
            };
            let file = self.store.endpoints(&network).join(format!("{id}.json"));
            found.extend(durable::read_json::<Endpoint>(&file)?);
        }
        found.sort_by_key(|endpoint| endpoint.number);
        Ok(found)
    }

    pub(crate) fn claims(&self) -> Claims {
        Claims::new(&self.store.ports())
    }
}

impl Site<'_> {
    fn note_file(&self) -> PathBuf {
        self.networks.store.pending().join(format!("{}.json", self.endpoint.id))
    }

    fn ledger<T>(&self, body: impl FnOnce(&Ledger<'_>) -> Result<T>) -> Result<T> {
        let directory = self.networks.store.addresses(&self.network.id);
        body(&Ledger { network: &self.network.name, directory: &directory })
    }

    // ANCHOR: carry_out
    /// Carries a plan out, up to the first step that fails.
    pub fn carry_out(&mut self, plan: &Plan) -> Result<()> {
        plan.steps.iter().try_for_each(|step| self.step(step))
    }

    /// Carries out as much of a plan as can be, and gives the first failure. The note stays then.
    pub fn undo(&mut self, plan: &Plan) -> Result<()> {
        let mut failure = None;
        for step in &plan.steps {
            if failure.is_some() && *step == Step::Cross {
                break;
            }
            failure = failure.or(self.step(step).err());
        }
        failure.map_or(Ok(()), Err)
    }
    // ANCHOR_END: carry_out

    fn step(&mut self, step: &Step) -> Result<()> {
        let (networks, endpoint) = (self.networks, self.endpoint);
        let id = endpoint.id.as_str();
        match step {
            Step::Note if self.note.is_some() => Ok(()),
            Step::Note => {
                let (network, endpoint) = (self.network.clone(), endpoint.clone());
                let lock = store::write_new(&self.note_file(), &Note { network, endpoint })?;
                self.note = Some(lock);
                Ok(())
            }
            Step::TakeAddress(address) => self.ledger(|ledger| ledger.take(*address, id)),
            Step::TakePorts => networks.claims().take(&endpoint.ports, id, &endpoint.name),
            Step::Host(requests) => self.kernel.route.make(requests),
            Step::Dress(endpoint) => self.dress(endpoint),
            Step::Demote(names) => self.demote(names),
            Step::Raise(request, bridge) => self.raise(request, bridge),
            Step::Mute => {
                let (route, link) = (&mut self.kernel.route, endpoint.link.as_str());
                match netlink::find(route, link)? {
                    Some(found) => route.burst(&[netlink::mute(found.index, link)]),
                    None => Ok(()),
                }
            }
            Step::Strip(requests) => match &mut self.namespace {
                Some(namespace) => namespace.socket()?.burst(requests),
                // What was in it has gone with it.
                None => Ok(()),
            },
            Step::Allow(elements) => networks.tables.change(&mut self.kernel.filter, elements, &[]),
            Step::Forbid(_) => self.forbid(),
            Step::ForgetFlows => flow::forget(&mut self.kernel.filter, &endpoint.ports),
            Step::Record => self.record(),
            Step::ReturnPorts => networks.claims().give_back(&endpoint.ports, id),
            Step::ReturnAddress(address) => self.ledger(|ledger| ledger.give_back(*address, id)),
            Step::Unrecord => self.unrecord(),
            Step::Cross => {
                store::remove(&self.note_file())?;
                self.note = None;
                Ok(())
            }
        }
    }

    fn dress(&mut self, endpoint: &Endpoint) -> Result<()> {
        let Some(namespace) = &mut self.namespace else { return Ok(()) };
        let socket = namespace.socket()?;
        let name = match endpoint.link.is_empty() {
            true => endpoint.first_name(),
            false => endpoint.interface.clone(),
        };
        let index = netlink::find(socket, &name)?.map_or(0, |device| device.index);
        if name != endpoint.interface {
            socket.burst(&[netlink::rename(index, &endpoint.interface)])?;
        }
        if !endpoint.sysctls.is_empty() {
            let apply = |sysctl: &Sysctl| sysctl.apply(&endpoint.interface);
            namespace.within(|| endpoint.sysctls.iter().try_for_each(apply))?;
        }
        namespace.socket()?.burst(&plan::dress(endpoint, index))
    }

    fn raise(&mut self, request: &Request, bridge: &str) -> Result<()> {
        let route = &mut self.kernel.route;
        if !host::without_ipv6(&self.endpoint.link) {
            route.burst(&[netlink::no_link_local(&self.endpoint.link)])?;
        }
        route.burst(std::slice::from_ref(request))?;
        route.settle(&self.endpoint.link);
        route.settle(bridge);
        if let Some(namespace) = &mut self.namespace {
            namespace.socket()?.settle(&self.endpoint.interface);
        }
        Ok(())
    }

    /// Takes from the packet filter what is this endpoint's there: of its ports only those that it
    /// holds, for others may have the same ones since.
    fn forbid(&mut self) -> Result<()> {
        let networks = self.networks;
        let mut mine = self.endpoint.clone();
        let held = networks.claims().held(&self.endpoint.ports, &mine.id)?;
        mine.ports = held.into_iter().cloned().collect();
        let elements = plan::elements(&self.network.driver()?, &mine);
        networks.tables.clear(&mut self.kernel.filter, &elements)
    }

    pub(crate) fn places(&self) -> (PathBuf, PathBuf) {
        let (store, endpoint) = (&self.networks.store, self.endpoint);
        let file = store.endpoints(&self.network.id).join(format!("{}.json", endpoint.id));
        (store.containers().join(&endpoint.container), file)
    }

    fn record(&self) -> Result<()> {
        let (directory, file) = self.places();
        store::directory(&directory)?;
        store::write_new(&directory.join(&self.endpoint.id), &self.network.id)?;
        store::write_new(&file, self.endpoint).map(drop)
    }

    fn unrecord(&self) -> Result<()> {
        let (directory, file) = self.places();
        store::remove(&file)?;
        store::remove(&directory.join(&self.endpoint.id))?;
        // Where it was the last one.
        let _ = std::fs::remove_dir(&directory);
        Ok(())
    }
}
