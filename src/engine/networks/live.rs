//! Containers are connected and disconnected while they run, and when they do not.
//!
//! What a container is on is in its `config.json`, which is written before it is connected and after
//! it is disconnected: killed in between, an engine leaves a container that lacks what it shall have,
//! and doing the same again makes that good.

use corten_network::{Endpoint, Namespace, Network};

use super::{Attachment, PREDEFINED, has_names, is_mode, shares};
use crate::engine::Engine;
use crate::engine::error::{Error, Result};
use crate::engine::oci::files;
use crate::engine::options::NetworkMode;
use crate::engine::record::Record;

impl Engine {
    /// Connects a container to another network: at once where it runs, and at each start from now on.
    ///
    /// # Errors
    /// What [`Engine::run`] refuses of it; a container without networks of its own.
    pub fn connect_network(
        &self,
        network: &str,
        name_or_id: &str,
        wanted: &Attachment,
    ) -> Result<()> {
        let (record, _) = self.containers.find(name_or_id)?;
        if !matches!(record.host_config.network()?, NetworkMode::Network(_)) {
            return Err(shares());
        }
        let network = self.networks()?.find(network)?;
        if is_mode(&network) {
            return Err(Error::refused(match network.driver.as_str() {
                "host" => {
                    "container cannot be disconnected from host network or connected to host network"
                }
                _ => {
                    "container cannot be connected to multiple networks with one of the networks in \
                     private (none) mode"
                }
            }));
        }
        let asked = [(network.name.clone(), wanted.clone())].into_iter().collect();
        let mut all = self.attachments(&record.config, &record.host_config, &asked, false)?;
        let wanted = all.remove(&network.name).unwrap_or_default();
        self.held(&record, |record, lives| self.connect_held(&network, record, &wanted, lives))
    }

    // ANCHOR: connect_held
    fn connect_held(
        &self,
        network: &Network,
        mut record: Record,
        wanted: &Attachment,
        lives: bool,
    ) -> Result<()> {
        let known = record.networks.insert(network.name.clone(), wanted.clone());
        let endpoints = if lives { self.endpoints(&record)? } else { Vec::new() };
        let is_on = endpoints.iter().any(|endpoint| endpoint.network == network.id);
        // One that runs may lack it, where an engine was killed that was about to connect it.
        if is_on || known.is_some() && !lives {
            let (container, network) = (record.shown_name().to_owned(), network.name.clone());
            return Err(corten_network::Error::AlreadyConnected { container, network }.into());
        }
        let keep = |wanted: Option<&Attachment>| {
            self.containers.modify(&record.id, |kept| match wanted {
                Some(wanted) => drop(kept.networks.insert(network.name.clone(), wanted.clone())),
                None => drop(kept.networks.remove(&network.name)),
            })
        };
        keep(Some(wanted))?;
        if !lives {
            return Ok(());
        }
        let path = self.containers.shelf.namespace(&record.id);
        let joined = Namespace::open(&path)
            .map_err(Error::from)
            .and_then(|mut namespace| self.join(&record, network, &mut namespace, Vec::new()))
            .and_then(|endpoint| self.rewrite_files(&record, &endpoints, &endpoint, true));
        if joined.is_err() {
            // The first error tells more than one of undoing.
            let _ = self.networks()?.disconnect(&network.id, &record.id);
            keep(known.as_ref())?;
        }
        joined
    }
    // ANCHOR_END: connect_held

    /// Takes a container off a network. With `force` it need be no container for Docker, but something of it
    /// must be on the network; here nothing is on one that is no container.
    ///
    /// # Errors
    /// Where it is not on it.
    pub fn disconnect_network(&self, network: &str, name_or_id: &str, force: bool) -> Result<()> {
        let (record, _) = match self.containers.find(name_or_id) {
            Err(Error::NoSuchContainer { name }) if force => {
                return Err(Error::refused(format!("endpoint {name} not found")));
            }
            found => found?,
        };
        let network = self.networks()?.find(network)?;
        self.held(&record, |record, lives| self.disconnect_held(&network, &record, lives))?;
        self.containers.note_network("disconnect", &network, Some(&record.id));
        Ok(())
    }

    fn disconnect_held(&self, network: &Network, record: &Record, lives: bool) -> Result<()> {
        if !record.networks.contains_key(&network.name) {
            let (container, network) = (record.short().to_owned(), network.name.clone());
            return Err(corten_network::Error::NotConnected { container, network }.into());
        }
        if lives {
            let endpoints = self.endpoints(record)?;
            match self.networks()?.disconnect(&network.id, &record.id) {
                Ok(endpoint) => self.rewrite_files(record, &endpoints, &endpoint, false)?,
                // By an engine that was killed before it could write that.
                Err(corten_network::Error::NotConnected { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.containers.modify(&record.id, |kept| drop(kept.networks.remove(&network.name)))
    }

    // ANCHOR: held
    /// Does something to a container while nobody starts, ends or removes it: it is told what the
    /// container is at that moment, and whether it lives.
    fn held<T>(&self, record: &Record, act: impl FnOnce(Record, bool) -> Result<T>) -> Result<T> {
        let owned = self.containers.wait_and_own_started(record)?;
        let (record, _) = self.containers.find(&record.id)?;
        let id = record.id.clone();
        let lives = || owned.is_some() && self.containers.shims.is_alive(&id);
        let done = act(record, lives());
        let is_over = !lives();
        match owned {
            // It has ended meanwhile, and its supervisor's word to us was for whoever had the lock.
            Some(owned) if is_over => drop(self.containers.settle(owned)?),
            Some(owned) => owned.hand_over(),
            None => {}
        }
        done
    }
    // ANCHOR_END: held

    /// Its names for itself and others, in a container that runs.
    fn rewrite_files(
        &self,
        record: &Record,
        before: &[Endpoint],
        endpoint: &Endpoint,
        comes: bool,
    ) -> Result<()> {
        let directory = self.containers.directory_of(&record.id);
        let names = files::names_of(record, self.machine()?)?;
        for address in endpoint.addresses() {
            files::rewrite_hosts(&directory, &names, address, comes)?;
        }
        let network = self.networks()?.find(&endpoint.network)?;
        if comes && has_names(&network.name) {
            let mut alone = record.clone();
            alone.networks.retain(|name, _| PREDEFINED.contains(&name.as_str()));
            files::rewrite_resolv_conf(
                &directory,
                &record.host_config,
                &self.addresses(&alone, before)?,
            )?;
        }
        Ok(())
    }
}
