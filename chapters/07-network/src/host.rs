//! What the host itself must do, and what on it is in the way.

use std::fs;
use std::path::Path;

use ipnet::IpNet;

use crate::error::{At, Result};
use crate::netlink::{self, Socket};
use crate::networks::Networks;
use crate::nft::batch;
use crate::nft::element::no_others;

/// What is seen of these files is of the calling thread's network namespace.
const IPV4_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";
const IPV6_FORWARD: &str = "/proc/sys/net/ipv6/conf/all/forwarding";
const IPV6_CONF: &str = "/proc/sys/net/ipv6/conf";
const BRIDGED_IPV4: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";
const BRIDGED_IPV6: &str = "/proc/sys/net/bridge/bridge-nf-call-ip6tables";

/// What the host has a route to or an address in; default routes lead everywhere and count as nothing.
///
/// # Errors
/// Where the kernel refuses.
pub(crate) fn occupied(socket: &mut Socket) -> Result<Vec<IpNet>> {
    let routes = netlink::routes(socket)?.into_iter().map(|route| route.to);
    let mut nets: Vec<IpNet> = routes.filter(|net| net.prefix_len() > 0).collect();
    nets.extend(netlink::addresses(socket)?.into_iter().map(|(_, net)| net.trunc()));
    Ok(nets)
}

/// The longest packet of the host's way out, where it is shorter than usual.
///
/// # Errors
/// Where the kernel refuses.
pub(crate) fn mtu(socket: &mut Socket) -> Result<u32> {
    const USUAL: u32 = 1500;
    let routes = netlink::routes(socket)?;
    let ways: Vec<u32> =
        routes.iter().filter(|r| r.to.prefix_len() == 0).filter_map(|r| r.link).collect();
    let links = netlink::links(socket)?;
    let mtus = links.iter().filter(|link| ways.contains(&link.index)).map(|link| link.mtu);
    Ok(mtus.min().unwrap_or(USUAL).clamp(1280, USUAL))
}

// ANCHOR: forward
/// Makes the host pass packets on, where it does not yet. Whoever could use it as a router then finds
/// that it passes on nothing but what is a container's: that was so before, and stays so.
///
/// # Errors
/// Where the setting cannot be changed.
pub(crate) fn forward(networks: &Networks, socket: &mut Socket, ipv6: bool) -> Result<bool> {
    let path = Path::new(if ipv6 { IPV6_FORWARD } else { IPV4_FORWARD });
    // Without IPv6 in the kernel there is no such file.
    let Ok(now) = fs::read_to_string(path) else { return Ok(false) };
    if now.trim() != "0" {
        return Ok(false);
    }
    networks.note_router(ipv6)?;
    networks.tables.change(socket, &[no_others(ipv6)], &[])?;
    if ipv6 {
        keep_advertised_routes();
    }
    fs::write(path, "1").at("write", path)?;
    Ok(true)
}
// ANCHOR_END: forward

/// Makes the host pass packets on no more.
///
/// # Errors
/// Where the setting cannot be changed.
pub(crate) fn forward_no_more(ipv6: bool) -> Result<()> {
    let path = Path::new(if ipv6 { IPV6_FORWARD } else { IPV4_FORWARD });
    if path.exists() { fs::write(path, "0").at("write", path) } else { Ok(()) }
}

/// A router does not believe other routers' advertisements, unless it is told to (accept_ra 2): what the
/// host has learnt from them until now it shall keep on learning.
fn keep_advertised_routes() {
    for entry in fs::read_dir(IPV6_CONF).into_iter().flatten().flatten() {
        let path = entry.path().join("accept_ra");
        if fs::read_to_string(&path).is_ok_and(|value| value.trim() == "1") {
            // Where it fails the host may lose a route that it would lose without us too.
            let _ = fs::write(&path, "2");
        }
    }
}

// ANCHOR: without_ipv6
/// Takes IPv6 off a port of a bridge, which has no addresses. With it, the kernel gives it a route for
/// multicast when it comes up (`addrconf_add_mroute`), behind those of all other ports in one list, which
/// is walked to its end. Gives whether it could be done: /proc/sys may be mounted for reading only.
pub(crate) fn without_ipv6(port: &str) -> bool {
    fs::write(Path::new(IPV6_CONF).join(port).join("disable_ipv6"), "1").is_ok()
}
// ANCHOR_END: without_ipv6

/// Whether packets of IPv4 that pass a bridge pass the filters of inet tables, too (br_netfilter).
pub(crate) fn filters_bridges() -> bool {
    is_on(BRIDGED_IPV4)
}

fn is_on(setting: &str) -> bool {
    fs::read_to_string(setting).is_ok_and(|value| value.trim() == "1")
}

/// Why published ports are not reached at `[::1]`, where that is so. With br_netfilter an answer gets its
/// old target back when it comes to the bridge, and not when it comes to the host: it comes there from
/// outside for ::1, and that is dropped unseen (ip6_rcv_core in the kernel's net/ipv6/ip6_input.c).
pub(crate) fn loopback6_obstacle() -> Option<String> {
    is_on(BRIDGED_IPV6).then(|| {
        format!(
            "{BRIDGED_IPV6} is 1: this host does not reach published ports at [::1] (it does at its other \
             addresses); write 0 there if nobody needs it"
        )
    })
}

/// Who drops what passes this host, in sentences for whoever runs the engine.
///
/// # Errors
/// Where the kernel cannot be asked.
pub(crate) fn closed_ways(socket: &mut Socket) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for chain in batch::droppers(socket)? {
        found.push(format!(
            "the chain {chain} drops what it has no rule for, and no table of ours can overrule it: \
             containers reach one another on their bridge, and this host reaches them, but \
             nothing passes between them and other machines until that chain accepts it \
             (with Docker: iptables -I DOCKER-USER -i BRIDGE -j ACCEPT, and the same with -o)"
        ));
    }
    if filters_bridges() && !found.is_empty() {
        found.push(format!(
            "{BRIDGED_IPV4} is 1, so that chain also sees what passes between two containers of a \
             bridge"
        ));
    }
    Ok(found)
}
