//! Exercise 2.2: run a command with as little memory as it needs.
//!
//! `cargo run -p corten-cgroups --example grow -- CMD…`
#![deny(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use corten_cgroups::launch::{self, Exit};
use corten_cgroups::limits::Memory;
use corten_cgroups::{Cgroup, Hierarchy, Limits, Max, OomEvent, Placement, Result};

// ANCHOR: grow
/// Runs `command` with `first` bytes of memory, and again with twice as many as long as it is
/// killed for lack of them. Gives how it ended and the limit that was enough.
///
/// # Errors
/// As for any group; also where the command cannot be started.
pub fn grow(command: &[String], first: u64, most: u64) -> Result<(Exit, u64)> {
    let hierarchy = Hierarchy::detect()?;
    let placement = Placement::Below(format!("corten-grow-{}", std::process::id()).into());
    let mut limit = first;
    loop {
        // Without swap: it would hide the lack, and make it slow.
        let max = Some(Max::At(limit));
        let memory = Memory { limit: max, swap: max, ..Memory::default() };
        let cgroup =
            Cgroup::create(&hierarchy, &placement, &Limits { memory, ..Limits::default() })?;
        let ended = run(&cgroup, command);
        // Whatever the command has left behind goes with the group.
        cgroup.kill()?;
        cgroup.remove(Duration::from_secs(5))?;
        match ended? {
            // A new group each time: what the last attempt has left in memory is not charged to it.
            (_, true) if limit < most => limit = (limit * 2).min(most),
            (exit, _) => return Ok((exit, limit)),
        }
    }
}

/// How the command ended, and whether the OOM killer was at work. SIGKILL alone does not say so:
/// anybody may send it, and the victim may be a child of the command.
fn run(cgroup: &Cgroup, command: &[String]) -> Result<(Exit, bool)> {
    let mut events = cgroup.oom_events()?;
    let exit = launch::start(cgroup, command)?.wait()?;
    Ok((exit, matches!(events.take()?, OomEvent::Killed(count) if count > 0)))
}
// ANCHOR_END: grow

fn main() -> ExitCode {
    let command: Vec<String> = std::env::args().skip(1).collect();
    match grow(&command, 1 << 20, 1 << 40) {
        Ok((exit, limit)) => {
            eprintln!("grow: {limit} bytes were enough");
            ExitCode::from(exit.status())
        }
        Err(error) => {
            eprintln!("grow: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
