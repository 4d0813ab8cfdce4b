//! Handing the listener of a notifying filter to the program that shall decide.
//!
//! The descriptor appears in the container's process when the filter is loaded, and from then on
//! any call of that process may wait for the very listener that is to be handed over. So another
//! process fetches it (pidfd_getfd(2)), and the container needs no call but a receive, which may
//! wait as long as it likes: by then the listener is where it belongs.

use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

use corten_namespaces::error::Context;
use serde_json::json;

use super::Listener;
use crate::channel;
use crate::container::StateReport;
use crate::error::Result;
use crate::sys;

/// Fetches descriptor `number` of the process behind `pidfd` as soon as it is there, and sends it
/// with the container's state to the listener's socket (runtime-spec, config-linux, "The Container
/// Process State").
///
/// # Errors
/// Where it does not appear within seconds, or nobody listens.
pub fn deliver(
    pidfd: BorrowedFd<'_>,
    number: RawFd,
    listener: &Listener,
    state: &StateReport<'_>,
    pid: libc::pid_t,
) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(5);
    let begun = Instant::now();
    let fd = loop {
        match sys::process::take_fd(pidfd, number) {
            // The process is between telling the number and loading: a few microseconds.
            Err(nix::errno::Errno::EBADF) if begun.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_micros(50));
            }
            other => break other.during("fetch the seccomp listener")?,
        }
    };
    let message = json!({
        "ociVersion": state.oci_version,
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": listener.metadata,
        "state": state,
    });
    let socket = channel::connect_caller(&listener.path)?;
    channel::send_fd(socket.as_fd(), message.to_string().as_bytes(), fd.as_fd())
}
