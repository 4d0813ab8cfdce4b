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
//! | [`endpoint`], `census` | who is attached: the files, read and watched |
//! | [`table`] | who is called what, and who may know it |
//! | `station`, `redirect`, `stream` | sockets inside of containers |
//! | `wire` | messages |
//! | `service` | from a question to its answer |
//! | `forward`, `resolvers` | asking others |
//! | `server`, `posts`, `poller` | the process |

mod census;
mod control;
pub mod endpoint;
mod forward;
mod launch;
mod poller;
mod posts;
pub mod redirect;
mod resolvers;
mod server;
mod service;
mod station;
mod stream;
pub mod table;
mod wire;

pub use control::{Report, Request};
pub use launch::{NAME, Names, as_server};
pub use station::ADDRESS;
