//! Names: a DNS server for each network that somebody has made.
//!
//! Containers find each other by name. In Docker's networks they ask 127.0.0.11, and so they do
//! here: one small process for each network has a socket inside of each attached container, looks
//! names up in a table, and asks the host's resolvers for what is not in it.
//!
//! # The map
//!
//! ```text
//! STATE/networks/*/endpoints/*.json ──inotify──▶ census ──▶ table
//!                                                            ▲
//! container ──127.0.0.11:53──redirect──▶ station ──▶ wire ──▶ service ──▶ forward ──▶ resolvers
//!                                          stream (TCP)
//! engine ──control (a packet: "changed")──▶ server: one epoll for all of it
//! ```
//!
//! | module | what it is about |
//! |---|---|
//! | `launch` | starting a server, out of a program that no container can reach |
//! | `control` | what engines say to it |
//! | `census` | who is attached: the files, read and watched |
//! | [`table`] | who is called what, and who may know it |
//! | `station`, `redirect`, `stream` | sockets inside of containers |
//! | `wire` | messages |
//! | `service` | from a question to its answer |
//! | `forward`, `resolvers` | asking others |
//! | `server`, `posts` | the process |

mod census;
mod control;
mod forward;
mod launch;
mod posts;
mod redirect;
mod resolvers;
mod server;
mod service;
mod source;
mod station;
mod stream;
pub mod table;
mod wire;

use std::path::Path;

use corten_supervisor::durable::{self, Worth};

use crate::endpoint::Endpoint;
use crate::error::Result;
use crate::networks::Networks;

pub use control::{Report, Request};
pub use launch::{NAME, Names, as_server};
pub use station::ADDRESS;

impl Networks {
    /// Sees to it that a container that was connected finds the names of its networks, before it is
    /// started. In the default bridge, as in Docker's, there are none. Its end needs no word: the
    /// server sees that the file has gone.
    ///
    /// # Errors
    /// Where the network's server cannot be started, or the container cannot be served.
    pub fn announce(&self, endpoint: &Endpoint) -> Result<()> {
        if self.find(&endpoint.network)?.is_predefined() {
            return Ok(());
        }
        // ROOT/networks, and STATE/networks/pending.
        let above = |path: &Path, levels| path.ancestors().nth(levels).unwrap_or(path).to_owned();
        let root = above(self.store.networks(), 1);
        let names = Names::new(&root, &above(&self.store.pending(), 2));
        let report = names.announce(&endpoint.network)?;
        match report.failed.get(&endpoint.container) {
            None => Ok(()),
            Some(why) => Err(launch::failure(&endpoint.network, why)),
        }
    }

    /// Calls a container otherwise, on all networks that it is on.
    ///
    /// # Errors
    /// Where a file cannot be written, or a name server does not answer.
    pub fn rename(&self, container: &str, name: &str) -> Result<()> {
        for Endpoint { network, id, .. } in self.of_container(container)? {
            let lock = self.store.lock_network(&network)?;
            let file = self.store.endpoints(&network).join(format!("{id}.json"));
            let Some(endpoint) = durable::read_json::<Endpoint>(&file)? else { continue };
            let endpoint = Endpoint { name: name.to_owned(), ..endpoint };
            durable::write_json(&file, &endpoint, Worth::Volatile)?;
            drop(lock);
            self.announce(&endpoint)?;
        }
        Ok(())
    }
}
