//! All networks: made, chosen, removed.

use std::collections::BTreeSet;

use corten_network::Network;
use corten_network::network::Request;

use crate::engine::Engine;
use crate::engine::error::{Error, Result};
use crate::engine::filter::{Filters, OF_PRUNE, truth};

/// The filters of `network ls`.
const KNOWN: [&str; 7] = ["dangling", "driver", "id", "label", "name", "scope", "type"];

impl Engine {
    /// Makes a network.
    ///
    /// # Errors
    /// What chapter 7 refuses.
    pub fn create_network(&self, request: &Request) -> Result<Network> {
        let network = self.networks()?.create(request)?;
        self.containers.note_network("create", &network, None);
        Ok(network)
    }

    /// What keeps containers on these networks from other machines, in sentences: chains of other programs
    /// that drop what passes the host. Nothing is said of networks that have no way out by themselves.
    pub fn closed_ways<'a>(&self, names: impl IntoIterator<Item = &'a String>) -> Vec<String> {
        let mut names = names.into_iter().peekable();
        if names.peek().is_none() {
            return Vec::new();
        }
        // Where nobody can say it, something else will fail soon and say why.
        let Ok(networks) = self.networks() else { return Vec::new() };
        let found = networks.closed_ways().unwrap_or_default();
        let is_open = |network: Network| network.driver == "bridge" && !network.internal;
        let mut known = names.filter_map(|name| networks.find(name).ok());
        if found.is_empty() || !known.any(is_open) { Vec::new() } else { found }
    }

    /// The networks that fit, by name.
    ///
    /// # Errors
    /// For a filter that is none; where a file cannot be read.
    pub fn list_networks(&self, filters: &[String]) -> Result<Vec<Network>> {
        let filters = Filters::parse(filters, &KNOWN)?;
        for (name, is_right) in [
            ("dangling", (|value| truth(value).is_some()) as fn(&str) -> bool),
            ("type", |value| ["custom", "builtin"].contains(&value)),
        ] {
            if let Some(value) = filters.values(name).iter().find(|value| !is_right(value)) {
                return Err(Error::refused(format!("invalid filter '{name}={value}'")));
            }
        }
        let used = if filters.has("dangling") { self.used_networks()? } else { BTreeSet::new() };
        let mut list = self.networks()?.all()?;
        list.retain(|network| {
            let is_used = || used.contains(&network.name);
            let dangles = |yes: &str| (truth(yes) == Some(true)) != is_used();
            filters.one_of("dangling", |yes| dangles(yes) && !network.is_predefined())
                && filters.one_of("driver", |driver| network.driver == driver)
                && filters.one_of("id", |id| network.id.contains(id))
                && filters.one_of("name", |name| network.name.contains(name))
                && filters.one_of("scope", |scope| network.scope == scope)
                && filters.one_of("type", |kind| (kind == "builtin") == network.is_predefined())
                && filters.labels_fit(&network.labels)
        });
        Ok(list)
    }

    /// Removes a network; gives its name.
    ///
    /// # Errors
    /// Where there is none of that name or id, or containers are on it, or it is one of Docker's own.
    pub fn remove_network(&self, name_or_id: &str) -> Result<String> {
        let network = self.networks()?.find(name_or_id)?;
        let network = self.networks()?.remove(&network.id)?;
        self.containers.note_network("destroy", &network, None);
        Ok(network.name)
    }

    /// Removes the networks that fit and no container names; gives their names.
    ///
    /// # Errors
    /// For a filter that is none; where one cannot be removed.
    pub fn prune_networks(&self, filters: &[String]) -> Result<Vec<String>> {
        let filters = Filters::parse(filters, &OF_PRUNE)?;
        let until = filters.until()?;
        let used = self.used_networks()?;
        let stays = |network: &Network| {
            let is_young = until.as_ref().is_some_and(|until| network.created >= *until);
            is_young || used.contains(&network.name) || !filters.labels_fit(&network.labels)
        };
        let removed = self.networks()?.prune(stays)?;
        removed.iter().for_each(|network| self.containers.note_network("destroy", network, None));
        self.note_prune("network", 0);
        Ok(removed.into_iter().map(|network| network.name).collect())
    }

    /// The networks that containers name, whether those run or not.
    fn used_networks(&self) -> Result<BTreeSet<String>> {
        let list = self.containers.list()?;
        Ok(list.into_iter().flat_map(|(record, _)| record.networks.into_keys()).collect())
    }
}
