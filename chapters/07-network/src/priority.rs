//! Which of a container's networks leads everywhere else: the order of its default routes.
//!
//! The kernel takes the one with the lowest metric. Routes that are there keep theirs, unless the network
//! that comes has a higher priority than their own; so a container without priorities costs nothing.

use nix::errno::Errno;

use crate::attach::Site;
use crate::endpoint::Endpoint;
use crate::error::Result;
use crate::namespace::Namespace;
use crate::netlink::{self, Route, Socket};

fn default_routes(socket: &mut Socket) -> Result<Vec<Route>> {
    let mut routes = netlink::routes(socket)?;
    routes.retain(|route| route.to.prefix_len() == 0);
    Ok(routes)
}

// ANCHOR: rank
/// Decides which of a container's default routes the new one's comes before, and gives the devices of
/// those. Where nobody has a priority they count in the order of their numbers.
pub(crate) fn rank(
    endpoint: &mut Endpoint,
    own: &[Endpoint],
    namespace: &mut Namespace,
) -> Result<Vec<String>> {
    if own.is_empty() {
        return Ok(Vec::new());
    }
    let highest = default_routes(namespace.socket()?)?.iter().map(|route| route.metric).max();
    let priority = endpoint.gateway_priority;
    let has_priority = priority != 0 || own.iter().any(|other| other.gateway_priority != 0);
    // They were put in another order before.
    let is_ranked = highest > own.iter().map(|other| other.number).max();
    if has_priority || is_ranked {
        endpoint.metric = highest.map_or(0, |metric| metric + 1);
    }
    let mut lower: Vec<&Endpoint> =
        own.iter().filter(|other| other.gateway_priority < priority).collect();
    lower.sort_by_key(|other| (std::cmp::Reverse(other.gateway_priority), other.number));
    Ok(lower.into_iter().map(|other| other.interface.clone()).collect())
}
// ANCHOR_END: rank

impl Site<'_> {
    // ANCHOR: demote
    /// Lets the default routes by other devices count less than the endpoint's, which is there: each is
    /// made anew with a higher metric before the old one goes.
    pub(crate) fn demote(&mut self, names: &[String]) -> Result<()> {
        let Some(namespace) = &mut self.namespace else { return Ok(()) };
        let socket = namespace.socket()?;
        let routes = default_routes(socket)?;
        for (metric, name) in (self.endpoint.metric + 1..).zip(names) {
            let Some(link) = netlink::find(socket, name)? else { continue };
            let own = routes.iter().filter(|route| route.link == Some(link.index));
            let (mut requests, mut old) = (Vec::new(), Vec::new());
            for (gateway, before) in own.filter_map(|route| Some((route.gateway?, route.metric))) {
                let new = netlink::default_route(link.index, name, gateway, metric);
                // Two of one device are what somebody has left who was killed in between.
                requests.push(new.unless(Errno::EEXIST));
                old.push(netlink::no_default_route(link.index, name, gateway, before));
            }
            requests.extend(old);
            socket.burst(&requests)?;
        }
        Ok(())
    }
    // ANCHOR_END: demote
}
