//! Exercise 5.1: what happens to all containers, in one place.
//!
//! `cargo run -p corten-supervisor --example watch -- ROOT`
#![deny(unsafe_code)]

use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use corten_supervisor::client::Client;
use corten_supervisor::error::{Context, Error, Result};
use corten_supervisor::protocol::{Event, Operation};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

// ANCHOR: watch
/// Gives all that happens to the containers below `root` to `take`, with the container's name, until
/// the last of them has ended.
///
/// # Errors
/// Where a supervisor cannot be talked to. One that has ended is no error.
pub fn watch(root: &Path, take: &mut dyn FnMut(&str, Event)) -> Result<()> {
    let mut clients = Vec::new();
    for entry in std::fs::read_dir(root).during("list the supervisors")?.flatten() {
        let id = entry.file_name().to_string_lossy().into_owned();
        let asked = Client::connect(&entry.path(), &id)
            .and_then(|mut client| client.perform(Operation::Events).map(|()| client));
        match asked {
            Ok(client) => clients.push(client),
            Err(Error::NoSupervisor { .. } | Error::Gone { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    while !clients.is_empty() {
        let mut fds: Vec<PollFd<'_>> =
            clients.iter().map(|client| PollFd::new(client.as_fd(), PollFlags::POLLIN)).collect();
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).during("wait for events"),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(true)).collect();
        let mut ready = ready.into_iter();
        // One packet of each that is ready: the next call would wait for this one alone.
        clients.retain_mut(|client| {
            if !ready.next().unwrap_or(false) {
                return true;
            }
            let event = client.next_event().ok().flatten();
            let goes_on = event.is_some();
            event.into_iter().for_each(|event| take(client.id(), event));
            goes_on
        });
    }
    Ok(())
}
// ANCHOR_END: watch

fn main() -> ExitCode {
    let Some(root) = std::env::args_os().nth(1) else {
        eprintln!("usage: watch ROOT");
        return ExitCode::FAILURE;
    };
    match watch(root.as_ref(), &mut |id, event| println!("{id}: {event:?}")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("watch: {error}");
            ExitCode::FAILURE
        }
    }
}
