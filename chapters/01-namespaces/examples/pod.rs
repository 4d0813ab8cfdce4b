//! Exercise 1.3: two containers that share a network and nothing else, as in a Kubernetes pod.
//!
//! `cargo run -p corten-namespaces --example pod -- ROOTFS CMD…` runs the command twice.
#![deny(unsafe_code)]

use std::os::fd::OwnedFd;
use std::process::ExitCode;

use corten_namespaces::{
    Config, Container, Namespace, NamespaceSet, Plan, Process, Result, Rootfs,
};

// ANCHOR: pod
/// Starts a container of the pod: in a new network namespace, or in that of `first`. Its standard
/// output goes to `output`.
///
/// # Errors
/// As [`Plan::spawn`].
pub fn member(
    rootfs: &str,
    command: &[String],
    first: Option<&Container>,
    output: Option<OwnedFd>,
) -> Result<Container> {
    use Namespace::{Ipc, Mount, Net, Pid, Uts};
    let mut namespaces: NamespaceSet = [Mount, Pid, Net, Ipc, Uts].into_iter().collect();
    let mut join = Vec::new();
    if let Some(first) = first {
        namespaces = namespaces.without(Net);
        // Open from here on: even if `first` ends now, the namespace lives as long as this does.
        join.push((Net, OwnedFd::from(Net.open(first.pid())?)));
    }
    let config = Config {
        namespaces,
        join,
        rootfs: Some(Rootfs { path: rootfs.into(), mount: None, switch: Default::default() }),
        process: Process {
            args: command.to_vec(),
            stdio: [None, output, None],
            ..Process::default()
        },
        ..Config::default()
    };
    Plan::new(config)?.spawn()
}
// ANCHOR_END: pod

fn run(rootfs: &str, command: &[String]) -> Result<()> {
    let mut first = member(rootfs, command, None, None)?;
    let mut second = member(rootfs, command, Some(&first), None)?;
    println!("first: {:?}, second: {:?}", first.wait()?, second.wait()?);
    Ok(())
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [rootfs, command @ ..] = &words[..] else {
        eprintln!("usage: pod ROOTFS CMD…");
        return ExitCode::from(125);
    };
    match run(rootfs, command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pod: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
