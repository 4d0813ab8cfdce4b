//! Leaving the host: what networks have in the kernel, taken out while nobody needs it.

use std::path::Path;

use crate::error::Result;
use crate::network::Driver;
use crate::networks::{Kernel, Networks};
use crate::{bridge, host, netlink, store};

impl Networks {
    /// The directory of what is being made or undone below `state`; each file there is one piece of work.
    pub fn notes(state: &Path) -> std::path::PathBuf {
        state.join("networks/pending")
    }

    /// The directory of a container's endpoints below `state`: it changes when one comes or goes, and is
    /// not there while there is none.
    pub fn endpoints_of(state: &Path, container: &str) -> std::path::PathBuf {
        state.join("networks/containers").join(container)
    }

    // ANCHOR: unload
    /// Takes all links and rules of networks off this host, where no container is on any of them: the
    /// next container brings them back. Gives whether that was so.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn unload(&self) -> Result<bool> {
        let _lock = self.store.lock()?;
        let all = self.all()?;
        let mut locks = Vec::new();
        for network in &all {
            self.store.prepare(&network.id)?;
            locks.push(self.store.lock_network(&network.id)?);
        }
        let mut left = store::names(&self.store.pending())?;
        for network in &all {
            left.extend(store::ids(&self.store.endpoints(&network.id))?);
        }
        if !left.is_empty() {
            return Ok(false);
        }
        let mut taken = self.sockets.take()?;
        let kernel = taken.kernel();
        let _tables = self.store.lock_tables()?;
        for network in &all {
            bridge::remove(self, network, kernel)?;
        }
        self.forward_no_more(&all, kernel)?;
        // Last: until then they keep this host from being everybody's router.
        self.tables.unload(&mut kernel.filter)?;
        Ok(true)
    }
    // ANCHOR_END: unload

    /// Packets are passed on because of us no longer; for another engine's bridge they are.
    fn forward_no_more(&self, all: &[crate::Network], kernel: &mut Kernel) -> Result<()> {
        let ours = |name: &str| {
            all.iter().any(|network| {
                matches!(network.driver(), Ok(Driver::Bridge(bridge)) if bridge.name == name)
            })
        };
        let others = netlink::links(&mut kernel.route)?;
        let is_bridge = |name: &str| Path::new("/sys/class/net").join(name).join("bridge").exists();
        let needed = others.iter().any(|link| !ours(&link.name) && is_bridge(&link.name));
        for ipv6 in [false, true] {
            let note = self.store.router(ipv6);
            if note.exists() && !needed {
                host::forward_no_more(ipv6)?;
                store::remove(&note)?;
            }
        }
        Ok(())
    }
}
