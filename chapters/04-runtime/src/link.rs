//! linux.netDevices: network devices of the host that are moved into the container.

use std::os::fd::{AsFd, AsRawFd};

use corten_namespaces::Namespace;
use corten_namespaces::error::Context;

use crate::error::Result;
use crate::sys::link;

/// RTM_NEWLINK, RTM_SETLINK of linux/rtnetlink.h.
const SET_LINK: u16 = 19;
/// IFLA_IFNAME, IFLA_NET_NS_FD of linux/if_link.h.
const NAME: u16 = 3;
const NAMESPACE: u16 = 28;

// ANCHOR: give
/// Moves the device `name` into the network namespace of the process `pid`, under another name where
/// one is given. Addresses do not come along; the kernel drops them.
///
/// # Errors
/// `ENODEV` where there is no such device, `EEXIST` where the name is taken there.
pub fn give(name: &str, new_name: Option<&str>, pid: libc::pid_t) -> Result<()> {
    let control = link::control().during("open a socket")?;
    let index = link::index(control.as_fd(), name).on("find the network device", name)?;
    let namespace = Namespace::Net.open(pid)?;
    let netlink = link::socket().during("open a netlink socket")?;
    let mut body = interface(index, 0, 0);
    body.extend(attribute(NAMESPACE, &(namespace.as_raw_fd()).to_ne_bytes()));
    if let Some(new_name) = new_name {
        body.extend(attribute(NAME, &[new_name.as_bytes(), &[0]].concat()));
    }
    Ok(link::request(netlink.as_fd(), SET_LINK, &body).on("move the network device", name)?)
}
// ANCHOR_END: give

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
