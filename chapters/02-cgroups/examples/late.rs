//! Exercise 2.4, to be debugged: the limit holds for the command, and not for all that it starts.
//!
//! `cargo run -p corten-cgroups --example late -- CMD…` leaves the group, with what is in it.
#![deny(unsafe_code)]

use std::process::{Command, ExitCode};

use corten_cgroups::error::Context;
use corten_cgroups::{Cgroup, Hierarchy, Limits, Max, Placement, Result, launch};

fn limits() -> Limits {
    Limits { pids: Some(Max::At(20)), ..Limits::default() }
}

// ANCHOR: broken
/// "First the command, so that no group is left behind where there is no such command."
///
/// # Errors
/// As for any group; also where the command cannot be started.
pub fn broken(placement: &Placement, command: &[String]) -> Result<(Cgroup, i32)> {
    let (program, arguments) = command.split_first().expect("a command");
    let child = Command::new(program).args(arguments).spawn().during("start the command")?;
    let pid = child.id().cast_signed();
    let cgroup = Cgroup::create(&Hierarchy::detect()?, placement, &limits())?;
    cgroup.add(pid)?;
    Ok((cgroup, pid))
}
// ANCHOR_END: broken

// ANCHOR: mended
/// The group first, and the command is born in it. What it forks is where it is itself.
///
/// # Errors
/// As for any group; also where the command cannot be started.
pub fn mended(placement: &Placement, command: &[String]) -> Result<(Cgroup, i32)> {
    let cgroup = Cgroup::create(&Hierarchy::detect()?, placement, &limits())?;
    match launch::start(&cgroup, command) {
        Ok(running) => Ok((cgroup, running.pid())),
        Err(error) => {
            // The colleague's worry was right: undo what was made.
            cgroup.remove(std::time::Duration::ZERO)?;
            Err(error)
        }
    }
}
// ANCHOR_END: mended

fn main() -> ExitCode {
    let command: Vec<String> = std::env::args().skip(1).collect();
    let placement = Placement::Below(format!("corten-late-{}", std::process::id()).into());
    match broken(&placement, &command).and_then(|(cgroup, _)| cgroup.processes()) {
        Ok(processes) => {
            println!("in the group: {processes:?}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("late: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
