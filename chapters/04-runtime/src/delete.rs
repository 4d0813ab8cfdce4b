//! `delete`: removes what is left of a container.

use std::os::fd::AsFd;
use std::path::Path;

use corten_cgroups::removal;
use corten_namespaces::error::Context;

use crate::bundle::Bundle;
use crate::container::{Container, Status};
use crate::error::{Error, Result};
use crate::hooks;
use crate::id::ContainerId;
use crate::state::{Directory, Init, Lock};

// ANCHOR: delete
/// Removes the container `id`. With `force`, kills it first, whatever it is doing and however much
/// of it there is: this is what cleans up after a runtime that was killed at any point.
///
/// # Errors
/// [`Error::Status`] where it runs; where something cannot be removed.
pub fn delete(root: &Path, id: &ContainerId, force: bool) -> Result<()> {
    let (container, _lock) = match Container::locked(root, id) {
        // runc's callers delete twice, and mean it.
        Err(Error::NotFound { .. }) if force => {
            if let Some((left, _lock)) = Directory::new(root, id).exhume()? {
                finish(&left)?;
            }
            return Ok(());
        }
        other => other?,
    };
    let status = match container.state.init {
        // The lock is ours, so nobody is creating it: that was cut off.
        None => Status::Stopped,
        Some(_) => container.status(),
    };
    match status {
        Status::Stopped => {}
        _ if force => {}
        // As runc has it: a container that never ran may be deleted.
        Status::Created => {}
        _ => {
            let hint = ": stop it first, or use --force";
            return Err(container.wrong_status("delete", status, hint));
        }
    }
    if status != Status::Stopped
        && let Some(init) = container.state.init
    {
        end(init)?;
    }
    remove(&container)
}
// ANCHOR_END: delete

/// Kills one process and waits for its end. It is no child of ours, but a pidfd tells anyone.
fn end(init: Init) -> Result<()> {
    let Ok(pidfd) = corten_namespaces::sys::pidfd_open(init.pid) else { return Ok(()) };
    if !init.is_alive() {
        return Ok(());
    }
    let _ = corten_namespaces::sys::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
    let mut fds = [nix::poll::PollFd::new(pidfd.as_fd(), nix::poll::PollFlags::POLLIN)];
    // A frozen process of v1 ends when its group is thawed, which `remove` sees to.
    nix::poll::poll(&mut fds, 100u8).during("wait for the container's end")?;
    Ok(())
}

// ANCHOR: remove_later
/// Removes a container that has ended, after the answer: there is no container any more when this
/// returns, and a process of its own does what takes long and what nobody waits for. A container of
/// the same name that is created meanwhile waits for its end.
///
/// # Errors
/// Where it cannot be made to disappear; [`remove`] is tried then.
pub fn remove_later(container: Container, lock: Lock) -> Result<()> {
    let bundle = container.bundle()?;
    if bundle.spec.hooks().as_ref().is_some_and(|hooks| hooks.poststop().is_some()) {
        return remove(&container);
    }
    let left = container.directory.bury()?;
    // Not what is on disk: whoever removes the whole state directory would leave its groups.
    let left = Container { directory: left, state: container.state };
    let body = || {
        // Whoever reads our output would wait for its end.
        for number in 0..3 {
            let _ = nix::unistd::close(number);
        }
        let _ = release(&left).and_then(|()| left.directory.remove());
        corten_namespaces::sys::exit_now(0)
    };
    match crate::sys::process::clone(crate::sys::process::CloneOptions::default(), body) {
        // The other process holds it, too, and gives it up by its end.
        Ok(_) => drop(lock),
        Err(_) => {
            release(&left)?;
            left.directory.remove()?;
        }
    }
    Ok(())
}
// ANCHOR_END: remove_later

/// Removes what is left of a container that was made to disappear ([`Directory::bury`]), if nobody
/// else has done it yet. It touches no container that has got the name meanwhile.
///
/// # Errors
/// Where something cannot be removed.
pub fn remove_buried(root: &Path, id: &ContainerId) -> Result<()> {
    match Directory::new(root, id).exhume()? {
        Some((left, _lock)) => finish(&left),
        None => Ok(()),
    }
}

/// Removes what [`remove_later`] has left because it was killed.
///
/// # Errors
/// Where something cannot be removed.
pub(crate) fn finish(left: &Directory) -> Result<()> {
    if let Ok(Some(state)) = left.read() {
        let container = Container { directory: left.clone(), state };
        release(&container)?;
    }
    left.remove()
}

/// Removes a container that has ended: its control groups, its files, and runs its poststop hooks.
///
/// # Errors
/// Where something cannot be removed; a poststop hook that failed, when all is removed.
pub fn remove(container: &Container) -> Result<()> {
    release(container)?;
    let bundle = container.bundle();
    container.directory.remove()?;
    poststop(container, bundle)
}

/// What a container holds of the kernel's.
fn release(container: &Container) -> Result<()> {
    // Whoever removed these was killed then, before what was made above them.
    let saved = container.state.cgroup.iter().flat_map(|saved| saved.paths.values());
    saved.filter(|path| !path.exists()).for_each(|path| removal::remove_above(path));
    match container.cgroup() {
        Ok(Some(cgroup)) => {
            cgroup.kill()?;
            cgroup.remove()?;
        }
        Ok(None) => {}
        Err(Error::Cgroup(error)) if error.is_gone() => {}
        Err(error) => return Err(error),
    }
    crate::create::detach_root(&container.state)?;
    if let Some(rdt) = &container.state.rdt {
        let _ = std::fs::remove_dir(rdt);
    }
    Ok(())
}

fn poststop(container: &Container, bundle: Result<Bundle>) -> Result<()> {
    let Ok(bundle) = bundle else { return Ok(()) };
    // ANCHOR: poststop
    // The container is gone whatever its hooks say. A failure is told by the exit status all the
    // same, and the hooks after it do not run: so runc has it, and its callers know it.
    let hooks = bundle.spec.hooks().as_ref().and_then(|hooks| hooks.poststop().clone());
    hooks::run("poststop", &hooks.unwrap_or_default(), &container.report(Status::Stopped))
    // ANCHOR_END: poststop
}
