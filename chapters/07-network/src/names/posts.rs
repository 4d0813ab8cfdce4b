//! Which containers are served: the endpoints of the network, made into sockets.

use std::collections::BTreeSet;
use std::os::fd::AsFd;

use corten_supervisor::poller::Registered;
use nix::sys::epoll::EpollFlags;

use super::redirect::redirect_names;
use super::server::{Post, Server};
use super::source::Source;
use super::station::{Station, is_at};
use crate::endpoint::Endpoint;
use crate::error::Result;

impl Server {
    /// Sees to it that these containers are served as the files say.
    pub(super) fn settle(&mut self, containers: BTreeSet<String>) {
        for container in containers {
            self.failed.remove(&container);
            let endpoints = self.table.endpoints(&self.settings.network);
            let own = endpoints.map(|(_, it)| it).find(|it| it.container == container).cloned();
            let post = self.posts.iter().find(|(_, post)| post.container == container);
            let post = post.map(|(number, post)| (*number, post));
            let stays = match (&own, &post) {
                (Some(own), Some((_, post))) => is_at(&post.namespace, &own.namespace),
                _ => false,
            };
            let number = post.map(|(number, _)| number);
            if let (Some(number), false) = (number, stays) {
                self.leave(number);
            }
            let Some(own) = own else { continue };
            // Without a namespace yet: it has not been started.
            if own.namespace.as_os_str().is_empty() {
                continue;
            }
            let served = match number.filter(|_| stays) {
                Some(number) => Ok(number),
                None => self.enter(&own),
            };
            if let Err(error) = served.and_then(|number| self.lead_home(number)) {
                self.failed.insert(container, error.to_string());
            }
        }
    }

    /// Opens the sockets in a container.
    fn enter(&mut self, endpoint: &Endpoint) -> Result<u32> {
        let station = Station::open(self.home.as_fd(), &endpoint.namespace)?;
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        let readable = EpollFlags::EPOLLIN;
        let Station { namespace, ports, datagrams, listener } = station;
        let datagrams =
            Registered::new(&mut self.poller, datagrams, Source::Datagrams(number), readable)?;
        let listener =
            Registered::new(&mut self.poller, listener, Source::Listener(number), readable)?;
        let container = endpoint.container.clone();
        let post = Post { container, namespace, ports, datagrams, listener, is_home: false };
        self.posts.insert(number, post);
        Ok(number)
    }

    // ANCHOR: lead_home
    /// A container of several networks has a server for each of them, all of which know the names
    /// of all of its networks. Its questions can go to one: that of the network with the smallest
    /// id. So nobody has to agree on anything, and when that network is left, the next one knows.
    fn lead_home(&mut self, number: u32) -> Result<()> {
        let Some(post) = self.posts.get_mut(&number) else { return Ok(()) };
        let first = self.table.networks_of(&post.container).first();
        let is_home = first.is_some_and(|first| *first == self.settings.network);
        if is_home && !post.is_home {
            let (udp, tcp) = post.ports;
            redirect_names(self.home.as_fd(), post.namespace.as_fd(), udp, tcp)?;
        }
        post.is_home = is_home;
        Ok(())
    }
    // ANCHOR_END: lead_home

    /// Closes the sockets in a container, and forgets what it has asked.
    fn leave(&mut self, number: u32) {
        let Some(post) = self.posts.remove(&number) else { return };
        post.datagrams.end(&mut self.poller);
        post.listener.end(&mut self.poller);
        for stream in self.streams.of(number) {
            self.streams.close(&mut self.poller, stream);
        }
        self.forwards.forget(&mut self.poller, |asker| asker.station() == number);
    }

    /// The networks whose servers have to serve containers of ours.
    pub(super) fn elsewhere(&self) -> Vec<String> {
        let own = &self.settings.network;
        let containers = self.posts.values().map(|post| post.container.as_str());
        let homes = containers.filter_map(|container| self.table.networks_of(container).first());
        let others: BTreeSet<&String> = homes.filter(|home| *home != own).collect();
        others.into_iter().cloned().collect()
    }
}
