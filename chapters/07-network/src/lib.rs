//! Chapter 7 of Corten: networks.
//!
//! A container's network namespace has a loopback interface and nothing else. This crate connects it:
//! with a pair of virtual Ethernet devices to a bridge of the host, with addresses that nobody else has,
//! with the world by address translation, and the world with it by published ports. Everything is said
//! to the kernel over netlink, in a few packets, by synchronous code; no other program is run.
//!
//! # The map
//!
//! ```text
//! Request ──Networks::create──▶ Network, a file below ROOT
//!                                  │ EndpointRequest
//!                                  ▼
//!                       Networks::connect ── plan (a list of steps, data) ──▶ Endpoint, a file below STATE
//!                          │ rtnetlink        │ nfnetlink
//!                          ▼                  ▼
//!                 links, addresses, routes    elements of sets and maps
//! ```
//!
//! | module | what it is about |
//! |---|---|
//! | [`networks`], [`network`] | all networks; one, with Docker's names and as a checked type |
//! | `configuration` | networks that are a configuration for others only |
//! | [`endpoint`] | a container's place on a network |
//! | [`namespace`] | a network namespace: made, kept, entered by descriptor |
//! | [`plan`], `attach` | what connects and disconnects a container, as data, and carrying it out |
//! | `priority` | which of several networks leads everywhere else |
//! | `repair` | what killed processes have left |
//! | `unload` | leaving the host as it was |
//! | `ipam`, [`usage`] | subnets that collide with nothing, addresses that are given once; how many are left |
//! | [`option`] | options that have Docker's names |
//! | [`ports`] | published ports: parsed, found free, owned |
//! | `bridge`, `host` | a network's own link; what the host itself must do |
//! | `netlink` | links, addresses and routes by rtnetlink(7) |
//! | `nft` | the packet filter: two tables, and elements of their sets |
//! | `store` | what is on the disk, and the locks |
//! | [`names`] | a DNS server for each network that somebody has made |
//! | [`files`] | `/etc/hosts`, `/etc/hostname`, `/etc/resolv.conf` |
//! | [`cli`] | the command line |
//! | `sys` | the system calls: all `unsafe` of the crate |
//!
//! # For an engine
//!
//! ```no_run
//! # use std::path::Path;
//! # use corten_network::{EndpointRequest, Namespace, Networks, ports::parse};
//! # fn main() -> corten_network::Result<()> {
//! # let (id, path) = ("0".repeat(64), Path::new("/run/corten/netns/0"));
//! let networks = Networks::open(Path::new("/var/lib/corten"), Path::new("/run/corten"))?;
//! // Before the container is created; config.json then joins the namespace by this path.
//! let mut namespace = Namespace::create(path)?;
//! let endpoint = networks.connect_in("bridge", &EndpointRequest {
//!     container: id.clone(),
//!     name: "web".into(),
//!     namespace: path.into(),
//!     ports: parse::publish("8080:80")?,
//!     ..EndpointRequest::default()
//! }, &mut namespace)?;
//! println!("{}", serde_json::to_string(&endpoint.settings()).unwrap_or_default());
//! // At its end: all endpoints, and the namespace.
//! networks.release(&id)?;
//! // At an engine's start, or now and then.
//! networks.repair(|container| container == id)?;
//! # Ok(())
//! # }
//! ```
//!
//! What `container:ID` and `none` mean is the engine's affair: the namespace of another container, and
//! one that nothing is connected to. A container on network `host` has no namespace of its own.
#![deny(unsafe_code)]

mod attach;
mod bridge;
pub mod cli;
mod configuration;
pub mod endpoint;
pub mod error;
pub mod files;
mod host;
mod id;
mod ipam;
pub mod mac;
pub mod names;
pub mod namespace;
mod netlink;
pub mod network;
pub mod networks;
mod nft;

pub mod option;
pub mod plan;
pub mod ports;
mod priority;
mod repair;
mod store;
mod sys;
mod unload;
pub mod usage;

pub use endpoint::{Endpoint, EndpointRequest};
pub use error::{Error, Result};
pub use mac::Mac;
pub use namespace::Namespace;
pub use network::Network;
pub use networks::Networks;
