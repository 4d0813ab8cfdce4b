//! `ls`: which namespaces there are.

use std::collections::BTreeMap;
use std::io::Write;

use corten_namespaces::error::{Context, Error, Result};
use corten_namespaces::namespace::{self, Identity, Member, Namespace};

/// Lists all namespaces with their processes, or those of `pid` beside our own.
///
/// # Errors
/// Where /proc cannot be read or there is no such process.
pub fn ls(pid: Option<libc::pid_t>) -> Result<u8> {
    let text = match pid {
        Some(pid) => of_process(pid)?,
        None => of_machine(&namespace::list()?),
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        // The reader had enough: `ls | head`.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(0),
        other => other.during("write to standard output").map(|()| 0),
    }
}

fn of_process(pid: libc::pid_t) -> Result<String> {
    let member = namespace::member(pid).ok_or_else(|| {
        Error::invalid(
            format!("process {pid}"),
            "is not there, or may not be looked into: try as root",
        )
    })?;
    // The number of this process is positive and fits.
    let own = std::process::id() as libc::pid_t;
    let mut text = format!("{:<7} {:>12}  SHARED WITH US\n", "NS", "INODE");
    for (namespace, identity) in member.namespaces {
        let shared = if namespace.of(own)? == identity { "yes" } else { "no" };
        text += &format!("{namespace:<7} {identity:>12}  {shared}\n");
    }
    Ok(text)
}

fn of_machine(members: &[Member]) -> String {
    let mut found: BTreeMap<(Namespace, Identity), Vec<&Member>> = BTreeMap::new();
    for member in members {
        for (namespace, identity) in &member.namespaces {
            found.entry((*namespace, *identity)).or_default().push(member);
        }
    }
    let mut text = format!("{:<7} {:>12} {:>6} {:>8}  COMMAND\n", "NS", "INODE", "PROCS", "PID");
    for ((namespace, identity), members) in found {
        // The lowest number is the first process as a rule: the list is sorted.
        let Some(first) = members.first() else { continue };
        let command: String = first.command.chars().take(60).collect();
        let (count, pid) = (members.len(), first.pid);
        text += &format!("{namespace:<7} {identity:>12} {count:>6} {pid:>8}  {command}\n");
    }
    text
}
