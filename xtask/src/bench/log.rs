//! The comparison of corten-supervisor's log with dockerd's, of one container that floods it.

use std::process::Command;

use super::record;
use crate::error::{Error, Result};
use crate::run::build;
use crate::setup::apt::Privilege;
use crate::{process, workspace};

/// So much the container writes.
const MEGABYTES: usize = 1024;

/// So often each writes it, in turns of one.
const ROUNDS: usize = 5;

/// How long both take for it, and how much of the processors.
pub fn run() -> Result<()> {
    let privilege = Privilege::here();
    if privilege == Privilege::None {
        return Err(Error::failed("containers need root: run `sudo -v` first"));
    }
    build("corten-supervisor")?;
    let ours = workspace::target().join("release/corten-supervisor").display().to_string();
    let script = workspace::root().join("benches/log/flood.sh");
    let line =
        |kind: &str, program: &str| format!("{} {kind} {program} {MEGABYTES} 1", script.display());
    let commands =
        [("corten-supervisor", line("corten", &ours)), ("dockerd", line("dockerd", "dockerd"))];
    let (mut times, mut spent) = (vec![Vec::new(); 2], vec![Vec::new(); 2]);
    for _ in 0..ROUNDS {
        for (place, (_, line)) in commands.iter().enumerate() {
            let (time, cpu) = flood(privilege, line)?;
            times[place].push(time);
            spent[place].push(cpu);
        }
    }
    for all in times.iter_mut().chain(&mut spent) {
        all.sort_by(f64::total_cmp);
    }
    let tool = "benches/log/flood.sh";
    let title = "1 GB of lines from one container, until they are in the log";
    record("log-flood", title, ("s", tool), &commands, &times)?;
    let title = "The processors' time of whoever writes that log";
    record("log-flood-cpu", title, ("s", tool), &commands, &spent)
}

/// Seconds that passed, and seconds of processors.
fn flood(privilege: Privilege, line: &str) -> Result<(f64, f64)> {
    let mut words = line.split(' ');
    let mut command: Command = privilege.command(words.next().unwrap_or_default());
    let text = process::read(command.args(words))?;
    let numbers: Vec<f64> = text.split_whitespace().flat_map(str::parse).collect();
    match numbers[..] {
        [time, cpu] => Ok((time, cpu)),
        _ => Err(Error::failed(format!("{line} said {text}"))),
    }
}
