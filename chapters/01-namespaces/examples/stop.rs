//! Exercise 1.2: stop a container as `docker stop` does: ask, wait, then kill.
//!
//! `cargo run -p corten-namespaces --example stop -- ROOTFS SECONDS CMD…` starts the command and
//! stops it at once.
#![deny(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use corten_namespaces::error::{Context, Error};
use corten_namespaces::spawn::Exit;
use corten_namespaces::{Config, Namespace, Plan, Process, Result, Rootfs};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

// ANCHOR: stop
/// Sends SIGTERM, waits up to `patience` for the container's end, and then sends SIGKILL.
///
/// # Errors
/// Where poll(2) or the signals fail otherwise than by the end of the container.
pub fn stop(container: &mut corten_namespaces::Container, patience: Duration) -> Result<Exit> {
    container.signal(libc::SIGTERM)?;
    let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
    // A pidfd becomes readable when its process ends: no loop over kill(pid, 0), no sleep, and no
    // chance that the number belongs to somebody else meanwhile.
    let mut ended = [PollFd::new(container.pidfd(), PollFlags::POLLIN)];
    if poll(&mut ended, timeout).during("wait for the container")? == 0 {
        container.signal(libc::SIGKILL)?;
    }
    container.wait()
}
// ANCHOR_END: stop

fn start(rootfs: &str, command: &[String]) -> Result<corten_namespaces::Container> {
    let config = Config {
        namespaces: [Namespace::Mount, Namespace::Pid].into_iter().collect(),
        rootfs: Some(Rootfs { path: rootfs.into(), mount: None, switch: Default::default() }),
        process: Process { args: command.to_vec(), ..Process::default() },
        ..Config::default()
    };
    Plan::new(config)?.spawn()
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let run = || match &words[..] {
        [rootfs, seconds, command @ ..] => {
            let seconds = seconds.parse().map_err(|_| Error::invalid("SECONDS", "is no number"))?;
            stop(&mut start(rootfs, command)?, Duration::from_secs(seconds))
        }
        _ => Err(Error::invalid("usage", "stop ROOTFS SECONDS CMD…")),
    };
    match run() {
        Ok(exit) => {
            println!("{exit:?}");
            ExitCode::from(exit.status())
        }
        Err(error) => {
            eprintln!("stop: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
