//! The runtime under those that call it: containerd, Docker, a swarm, Podman, as Debian has them.
//! Each has a world of the test's own ([`world`]). The lab VM has none of these programs, so there
//! the tests only say so; the host runs them.
#![allow(clippy::unwrap_used)]

mod containerd;
mod docker;
mod groups;
mod image;
mod podman;
mod swarm;
mod world;

use std::path::Path;

/// The runtime under test.
pub const RUNTIME: &str = env!("CARGO_BIN_EXE_corten-runtime");

/// Debian's client; another version may come first in the PATH.
pub const DOCKER: &str = "/usr/bin/docker";

/// Whether this machine is one that has the callers. On a host, a missing one is a failure.
pub fn is_host() -> bool {
    let in_vm = std::env::var_os(corten_tier::IN_VM).is_some();
    if in_vm {
        println!("the lab VM has no containerd, Docker and Podman: this is tested on the host");
    }
    !in_vm
}

/// Fails where `program` is not installed.
#[track_caller]
pub fn need(program: &str) {
    let found = ["/usr/bin", "/usr/sbin"].iter().any(|dir| Path::new(dir).join(program).exists());
    assert!(found, "{program} is missing: ./x test installs what the tests need");
}
