//! Published ports: what is asked for, which are free, and who has those that are not.
//!
//! | module | what it is about |
//! |---|---|
//! | [`parse`] | `8080:80`, `127.0.0.1:8000-8010:80-90/udp` |
//! | `reserve` | from what is asked for to ports that are free |
//! | `owner` | the process that has a port |
//! | [`forward`] | a process that publishes them without root |
//! | `datagrams` | what it does with UDP |
//! | `claims` | which container has which port |

pub(crate) mod claims;
mod datagrams;
pub mod forward;
mod owner;
pub mod parse;
pub(crate) mod reserve;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A protocol that has ports.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// Its number in IP's header.
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }

    /// As it is written behind a port.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Protocol {
    type Err = Error;

    fn from_str(name: &str) -> Result<Protocol> {
        match name.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Protocol::Tcp),
            "udp" => Ok(Protocol::Udp),
            "sctp" => Ok(Protocol::Sctp),
            _ => Err(Error::invalid(format!("protocol `{name}`"), "is none of tcp, udp, sctp")),
        }
    }
}

/// A port that is to be published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Publish {
    /// The container's port.
    pub container_port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// The host's address; every one where there is none.
    pub host: Option<IpAddr>,
    /// The host's port: the first of these that is free; any where there is none.
    pub host_ports: Option<(u16, u16)>,
}

/// A port that is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Published {
    /// The protocol.
    pub protocol: Protocol,
    /// The host's address; `0.0.0.0` and `::` are every one of their family.
    pub host: IpAddr,
    /// The host's port.
    pub host_port: u16,
    /// The container's address.
    pub container: IpAddr,
    /// The container's port.
    pub container_port: u16,
}

impl Published {
    /// Where it is on the host.
    pub fn place(&self) -> String {
        format!("{}/{}", SocketAddr::new(self.host, self.host_port), self.protocol)
    }
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to = SocketAddr::new(self.container, self.container_port);
        write!(f, "{} -> {to}", self.place())
    }
}
