//! Exercise 2.1: how much memory may a process really use?
//!
//! `cargo run -p corten-cgroups --example effective -- [PID]`
#![deny(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use corten_cgroups::hierarchy::{Mount, Version};
use corten_cgroups::{Controller, Error, Hierarchy, Max, Result};

// ANCHOR: effective
/// The least memory limit of the group at `dir` and of all groups above it, up to the top.
pub fn effective_limit(mount: &Mount, dir: &Path) -> Max {
    let file = match mount.version {
        Version::V1 => "memory.limit_in_bytes",
        Version::V2 => "memory.max",
    };
    // v2's top has no such file, and a group that is given no controller has none either: no limit.
    let limit = |dir: &Path| match std::fs::read_to_string(dir.join(file)) {
        Ok(text) => text.trim().parse().map_or(Max::Unlimited, Max::At),
        Err(_) => Max::Unlimited,
    };
    let up_to_the_top = dir.ancestors().take_while(|dir| dir.starts_with(&mount.point));
    up_to_the_top.map(limit).min().unwrap_or(Max::Unlimited)
}

/// The hierarchy that limits memory, and the group of `pid` in it.
///
/// # Errors
/// Without a memory controller, or where there is no such process.
pub fn memory_group(pid: &str) -> Result<(Mount, PathBuf)> {
    let here = Hierarchy::detect()?;
    // The group of another process is found by parsing with its membership in the place of ours.
    let path = format!("/proc/{pid}/cgroup");
    let membership =
        std::fs::read_to_string(&path).map_err(|error| Error::invalid(path, error.to_string()))?;
    let mountinfo = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
    let theirs = Hierarchy::parse(&mountinfo, &membership, |point| {
        std::fs::read_to_string(point.join("cgroup.controllers")).unwrap_or_default()
    })?;
    let mount = theirs.of(Controller::Memory).or(here.of(Controller::Memory));
    let mount = mount.ok_or_else(|| Error::unavailable("memory", "no controller is mounted"))?;
    Ok((mount.clone(), mount.own.clone()))
}
// ANCHOR_END: effective

fn main() -> ExitCode {
    let pid = std::env::args().nth(1).unwrap_or_else(|| "self".into());
    match memory_group(&pid).map(|(mount, dir)| effective_limit(&mount, &dir)) {
        Ok(Max::At(bytes)) => println!("{bytes} bytes"),
        Ok(Max::Unlimited) => println!("no limit"),
        Err(error) => {
            eprintln!("effective: {error}");
            return ExitCode::from(error.exit_code());
        }
    }
    ExitCode::SUCCESS
}
