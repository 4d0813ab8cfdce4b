//! Id mappings of config.json, and a user namespace that exists for its maps only.

use std::os::fd::OwnedFd;

use corten_namespaces::Namespace;
use corten_namespaces::error::Context;
use corten_namespaces::idmap::{IdMap, Range, write_maps};
use oci_spec::runtime::LinuxIdMapping;

use crate::error::Result;
use crate::sys;

/// The checked form of a list of mappings.
///
/// # Errors
/// Where they overlap or are empty.
pub fn map(mappings: &[LinuxIdMapping]) -> Result<IdMap> {
    let range = |m: &LinuxIdMapping| Range {
        inside: m.container_id(),
        outside: m.host_id(),
        length: m.size(),
    };
    Ok(IdMap::new(mappings.iter().map(range).collect())?)
}

// ANCHOR: namespace
/// A user namespace with these maps. mount_setattr(2) wants one, and takes the maps from it; so a
/// process is made only to be in it until its file has been opened.
///
/// # Errors
/// Where user namespaces are forbidden, or the maps are refused.
pub fn namespace(uids: &[LinuxIdMapping], gids: &[LinuxIdMapping]) -> Result<OwnedFd> {
    let (uids, gids) = (map(uids)?, map(gids)?);
    let options =
        sys::process::CloneOptions { flags: Namespace::User.flag(), ..Default::default() };
    let (pidfd, pid) = sys::process::clone(options, || {
        // Nothing is to be done but to be there; the parent ends it.
        let _ = corten_namespaces::sys::identity::prctl(
            libc::PR_SET_PDEATHSIG,
            libc::SIGKILL as u64,
            0,
        );
        loop {
            nix::unistd::pause();
        }
    })
    .during("clone3 with a user namespace for an id map")?;
    let opened = write_maps(pid, &uids, &gids).and_then(|()| Namespace::User.open(pid));
    use std::os::fd::AsFd;
    let _ = corten_namespaces::sys::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
    let _ = corten_namespaces::sys::wait(pidfd.as_fd());
    Ok(opened?.into())
}
// ANCHOR_END: namespace
