//! Exercise 2.3: wait until the last process of a group is gone, whoever started it.
//!
//! `cargo run -p corten-cgroups --example empty -- GROUP`
#![deny(unsafe_code)]

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use corten_cgroups::error::Context;
use corten_cgroups::{Cgroup, Error, Hierarchy, Placement, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

// ANCHOR: empty
/// Returns when no process is left in the group and in those below it.
///
/// # Errors
/// Without a v2 hierarchy: v1 tells nobody, or runs a program (`release_agent`).
pub fn wait_until_empty(cgroup: &Cgroup) -> Result<()> {
    let group = cgroup
        .unified()
        .ok_or_else(|| Error::unavailable("waiting", "there is no v2 hierarchy here"))?;
    let path = group.path().join("cgroup.events");
    let mut events = File::open(&path).on("open", &path)?;
    loop {
        // Read first: a change between the last look and the poll is not lost, because poll
        // compares with what this descriptor has read.
        let mut text = String::new();
        events.rewind().on("read", &path)?;
        events.read_to_string(&mut text).on("read", &path)?;
        if text.contains("populated 0") {
            return Ok(());
        }
        match poll(&mut [PollFd::new(events.as_fd(), PollFlags::POLLPRI)], PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).on("poll", &path),
        }
    }
}
// ANCHOR_END: empty

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    let wait = || {
        let placement = Placement::parse(Some(Path::new(&name)), "")?;
        wait_until_empty(&Cgroup::open(&Hierarchy::detect()?, &placement)?)
    };
    match wait() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("empty: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
