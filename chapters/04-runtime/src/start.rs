//! `start`: lets a created container's process become its program.

use std::os::fd::AsFd;
use std::path::Path;

use corten_namespaces::error::Context;
use nix::errno::Errno;

use crate::channel;
use crate::container::{Container, START_SOCKET, Status};
use crate::create::start_over;
use crate::error::Result;
use crate::hooks;
use crate::id::ContainerId;
use crate::seccomp::Listener;

// ANCHOR: start
/// Starts the container `id`.
///
/// # Errors
/// Where it is not created, or its program cannot be executed; it is stopped then.
pub fn start(root: &Path, id: &ContainerId) -> Result<()> {
    let (container, lock) = Container::locked(root, id)?;
    match container.status() {
        Status::Created => {}
        other => return Err(container.wrong_status("start", other, "")),
    }
    let init = container.init("start")?;
    let bundle = container.bundle()?;
    let pidfd = corten_namespaces::sys::pidfd_open(init.pid).during("open the container")?;
    let path = container.directory.path();
    let directory = std::fs::File::open(path).on("open", path)?;
    let channel = match channel::connect(directory.as_fd(), START_SOCKET) {
        Err(error) if error.errno() == Some(Errno::ECONNREFUSED) => {
            return Err(container.wrong_status("start", Status::Stopped, ""));
        }
        other => other?,
    };
    // Nobody else can start it from here on.
    let socket = path.join(START_SOCKET);
    std::fs::remove_file(&socket).on("remove", &socket)?;
    let listener = listener(bundle.seccomp.as_deref());
    let report = container.report(Status::Created);
    start_over(&channel, pidfd.as_fd(), init.pid, listener.as_ref(), &report)?;
    drop(lock);
    let poststart = bundle.spec.hooks().as_ref().and_then(|hooks| hooks.poststart().clone());
    hooks::run("poststart", &poststart.unwrap_or_default(), &container.report(Status::Running))
}
// ANCHOR_END: start

/// Where a notifying filter's listener goes.
fn listener(seccomp: Option<&str>) -> Option<Listener> {
    let profile: oci_spec::runtime::LinuxSeccomp = crate::json::parse(seccomp?).ok()?;
    Some(Listener {
        path: profile.listener_path().clone()?,
        metadata: profile.listener_metadata().clone().unwrap_or_default(),
    })
}
