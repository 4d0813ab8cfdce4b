//! linux.netDevices: network devices of the host that are moved into the container.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use corten_namespaces::Namespace;
use corten_namespaces::error::Context;
use nix::errno::Errno;

use crate::error::Result;
use crate::sys::link;

/// RTM_SETLINK, RTM_NEWADDR and RTM_GETADDR of linux/rtnetlink.h.
const SET_LINK: u16 = 19;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESSES: u16 = 22;
/// IFLA_IFNAME, IFLA_NET_NS_FD of linux/if_link.h.
const NAME: u16 = 3;
const NAMESPACE: u16 = 28;
/// IFA_ADDRESS, IFA_LOCAL and IFA_BROADCAST of linux/if_addr.h: what makes an address.
const ADDRESS: [u16; 3] = [1, 2, 4];
/// The length of an ifaddrmsg.
const ADDRESS_HEADER: usize = 8;

// ANCHOR: give
/// Moves the device `name` into the network namespace of the process `pid`, under another name where
/// one is given. Moving takes a device down and its addresses away, so those that are permanent and
/// global are given to it again, and it is set up: runtime-spec, "Network Devices".
///
/// # Errors
/// `ENODEV` where there is no such device, `EEXIST` where the name is taken there.
pub fn give(name: &str, new_name: Option<&str>, pid: libc::pid_t) -> Result<()> {
    let control = link::control().during("open a socket")?;
    let index = link::index(control.as_fd(), name).on("find the network device", name)?;
    let namespace = Namespace::Net.open(pid)?;
    let netlink = link::socket().during("open a netlink socket")?;
    let addresses = link::dump(netlink.as_fd(), GET_ADDRESSES, &[0; ADDRESS_HEADER])
        .on("read the addresses of", name)?;
    let mut body = interface(index, 0, 0);
    body.extend(attribute(NAMESPACE, &(namespace.as_raw_fd()).to_ne_bytes()));
    if let Some(new_name) = new_name {
        body.extend(attribute(NAME, &[new_name.as_bytes(), &[0]].concat()));
    }
    link::request(netlink.as_fd(), SET_LINK, &body).on("move the network device", name)?;

    let (control, netlink) = sockets_in(namespace.as_fd())?;
    // The number may be taken there.
    let there = link::index(control.as_fd(), new_name.unwrap_or(name))
        .on("find the moved network device", name)?;
    for address in addresses.iter().filter_map(|address| lasting(address, index, there)) {
        match link::request(netlink.as_fd(), NEW_ADDRESS, &address) {
            // It is there already.
            Err(Errno::EEXIST) => {}
            other => other.on("give back the address of", name)?,
        }
    }
    let up = libc::IFF_UP as u32;
    Ok(link::request(netlink.as_fd(), SET_LINK, &interface(there, up, up)).on("set up", name)?)
}
// ANCHOR_END: give

/// Two sockets of another network namespace; a socket stays in the one where it was made.
fn sockets_in(namespace: BorrowedFd<'_>) -> Result<(OwnedFd, OwnedFd)> {
    let own = Namespace::Net.open(std::process::id() as libc::pid_t)?;
    Namespace::Net.join(namespace)?;
    let sockets = link::control().and_then(|control| Ok((control, link::socket()?)));
    Namespace::Net.join(own.as_fd())?;
    Ok(sockets.during("open sockets in the container's network namespace")?)
}

/// The request that gives `address`, an answer about the device `index`, to the device `there`;
/// `None` for one of another device, and for one that is not permanent or only for its link.
fn lasting(address: &[u8], index: i32, there: i32) -> Option<Vec<u8>> {
    // struct ifaddrmsg: family, length of the prefix, flags, scope, index of the device.
    let (header, mut rest) = address.split_at_checked(ADDRESS_HEADER)?;
    let of = i32::from_ne_bytes(header.get(4..)?.try_into().ok()?);
    let permanent = header[2] & libc::IFA_F_PERMANENT as u8 != 0;
    if of != index || !permanent || header[3] != libc::RT_SCOPE_UNIVERSE {
        return None;
    }
    let mut body = vec![header[0], header[1], 0, header[3]];
    body.extend(there.to_ne_bytes());
    while let Some((lengths, _)) = rest.split_at_checked(4) {
        let length = usize::from(u16::from_ne_bytes([lengths[0], lengths[1]]));
        let kind = u16::from_ne_bytes([lengths[2], lengths[3]]);
        let value = rest.get(4..length)?;
        if ADDRESS.contains(&kind) {
            body.extend(attribute(kind, value));
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(body)
}

/// struct ifinfomsg.
fn interface(index: i32, flags: u32, change: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(index.to_ne_bytes());
    body.extend(flags.to_ne_bytes());
    body.extend(change.to_ne_bytes());
    body
}

/// struct rtattr with its value, padded to four bytes.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = (4 + value.len()) as u16;
    let mut bytes = Vec::new();
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}
