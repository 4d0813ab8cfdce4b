//! What killed processes have left, and what is missing after somebody else's work.
use corten_supervisor::durable;

use crate::attach::Note;
use nix::errno::Errno;

use crate::endpoint::Endpoint;
use crate::error::Result;
use crate::network::{Driver, Network};
use crate::networks::{Kernel, Networks};
use crate::nft::element::{Element, no_others};
use crate::plan::{self, End};
use crate::{bridge, netlink, store};

impl Networks {
    // ANCHOR: finish
    /// Undoes what processes were making or undoing when they were killed. Costs a look into an empty
    /// directory where nobody was.
    pub(crate) fn finish(&self) -> Result<()> {
        let pending = self.store.pending();
        for id in store::ids(&pending)? {
            let file = pending.join(format!("{id}.json"));
            // Whoever lives has it locked.
            let Some(lock) = store::try_lock(&file)? else { continue };
            let Some(Note { network, endpoint }) = durable::read_json(&file)? else { continue };
            self.store.prepare(&network.id)?;
            let _network = self.store.lock_network(&network.id)?;
            let _ports = self.store.lock_ports()?;
            store::sweep(&self.store.ports())?;
            let mut taken = self.sockets.take()?;
            self.undo_one(&network, &endpoint, End::Now, taken.kernel(), Some(lock))?;
        }
        Ok(())
    }
    // ANCHOR_END: finish

    // ANCHOR: load
    /// Sees to it that the packet filter has our tables, and in them what all networks and endpoints
    /// need. Where they are there, that is two questions.
    pub(crate) fn load(&self, kernel: &mut Kernel) -> Result<()> {
        if self.tables.are_loaded(&mut kernel.filter)? {
            return Ok(());
        }
        let _lock = self.store.lock_tables()?;
        if self.tables.are_loaded(&mut kernel.filter)? {
            return Ok(());
        }
        self.tables.load(&mut kernel.filter)?;
        let links = netlink::links(&mut kernel.route)?;
        let made_router = |ipv6: &bool| self.store.router(*ipv6).exists();
        let mut elements: Vec<Element> =
            [false, true].into_iter().filter(made_router).map(no_others).collect();
        for network in self.all()? {
            let Driver::Bridge(options) = network.driver()? else { continue };
            // Without its bridge a network has no rules; they come together.
            if links.iter().any(|link| link.name == options.name) {
                elements.extend(bridge::elements(&network, &options));
            }
            for endpoint in self.endpoints(&network.id)? {
                elements.extend(plan::elements(&network.driver()?, &endpoint));
            }
        }
        self.allow(kernel, elements)
    }
    // ANCHOR_END: load

    fn allow(&self, kernel: &mut Kernel, mut elements: Vec<Element>) -> Result<()> {
        elements.sort_by_key(|element| (element.family, element.set));
        self.tables.change(&mut kernel.filter, &elements, &[])
    }

    /// Remembers that this host passes packets on because of us.
    pub(crate) fn note_router(&self, ipv6: bool) -> Result<()> {
        match store::write_new(&self.store.router(ipv6), &true) {
            Err(error) if error.errno() == Some(Errno::EEXIST) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Puts in order all that is found: undoes what killed processes have begun, ends what containers
    /// have left that are gone (`alive` knows a container by its full id), gives back addresses and
    /// ports that nobody has, loads the packet filter anew where somebody has flushed it.
    ///
    /// # Errors
    /// Where something cannot be put in order; the rest is.
    pub fn repair(&self, alive: impl Fn(&str) -> bool) -> Result<()> {
        self.finish()?;
        let mut failure = None;
        for container in store::names(&self.store.containers())? {
            if !alive(&container) {
                failure = failure.or(self.release(&container).err());
            }
        }
        {
            let _lock = self.store.lock()?;
            failure = failure.or(store::sweep(self.store.networks()).err());
        }
        let mut known = Vec::new();
        for network in self.all()? {
            match self.sweep(&network) {
                Ok(endpoints) => known.extend(endpoints),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        {
            let _ports = self.store.lock_ports()?;
            failure = failure.or(store::sweep(&self.store.ports()).err());
            let there = |id: &str| known.iter().any(|e: &Endpoint| e.id == id) || self.is_noted(id);
            failure = failure.or(self.claims().sweep(&there).err());
        }
        if !known.is_empty() {
            failure = failure.or(self
                .sockets
                .take()
                .and_then(|mut taken| self.load(taken.kernel()))
                .err());
        }
        failure.map_or(Ok(()), Err)
    }

    fn is_noted(&self, endpoint: &str) -> bool {
        self.store.pending().join(format!("{endpoint}.json")).exists()
    }

    /// Gives back the addresses of a network that no endpoint has. Gives its endpoints.
    fn sweep(&self, network: &Network) -> Result<Vec<Endpoint>> {
        if !self.store.of_network(&network.id).exists() {
            return Ok(Vec::new());
        }
        self.store.prepare(&network.id)?;
        let _lock = self.store.lock_network(&network.id)?;
        store::sweep(&self.store.endpoints(&network.id))?;
        let endpoints = self.endpoints(&network.id)?;
        let directory = self.store.addresses(&network.id);
        for name in store::names(&directory)? {
            let file = directory.join(&name);
            let owner = std::fs::read_to_string(&file).unwrap_or_default();
            if !endpoints.iter().any(|endpoint| endpoint.id == owner) && !self.is_noted(&owner) {
                store::remove(&file)?;
            }
        }
        Ok(endpoints)
    }
}
