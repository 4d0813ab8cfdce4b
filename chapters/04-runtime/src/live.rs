//! `mounts add` and `mounts remove`: mounts in a container that runs.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use corten_namespaces::Namespace;
use corten_namespaces::error::Context;
use oci_spec::runtime as oci;

use crate::channel::{Channel, Message};
use crate::child;
use crate::container::Container;
use crate::create::Step;
use crate::error::{Error, Result};
use crate::mount::{self, Inside};
use crate::sys::process::{CloneOptions, clone};

// ANCHOR: add
/// Mounts `list` in the container. The sources are opened here and cloned as detached mounts, so
/// the process that enters the container has only to attach them.
///
/// # Errors
/// As mounting at creation.
pub fn add(container: &Container, list: &[oci::Mount]) -> Result<()> {
    let bundle = container.bundle()?;
    let linux = bundle.spec.linux().as_ref();
    let maps = linux.and_then(|l| l.uid_mappings().as_deref().zip(l.gid_mappings().as_deref()));
    let surroundings = mount::Surroundings {
        bundle: &container.state.bundle,
        propagation: (libc::MS_PRIVATE, true),
        maps,
        joined: None,
        cgroups: Vec::new(),
        label: None,
    };
    let plan = |mount: &oci::Mount| mount::plan(mount, &surroundings).map(Step::Mount);
    let steps = list.iter().map(plan).collect::<Result<_>>()?;
    enter(container, steps)
}
// ANCHOR_END: add

/// Unmounts what is mounted at `paths` in the container.
///
/// # Errors
/// `EINVAL` where nothing is.
pub fn remove(container: &Container, paths: &[PathBuf]) -> Result<()> {
    let step = |path: &PathBuf| Inside::new(path).map(Step::Unmount);
    enter(container, paths.iter().map(step).collect::<Result<_>>()?)
}

/// Lets a process of ours do `steps` in the container's mount namespace.
fn enter(container: &Container, mut steps: Vec<Step>) -> Result<()> {
    let init = container.init("change the mounts of")?;
    let own = std::process::id() as libc::pid_t;
    let mut all = vec![Step::DieWithParent, Step::HideProcess];
    for kind in [Namespace::User, Namespace::Mount] {
        if kind.of(init.pid)? != kind.of(own)? {
            all.push(Step::Join(kind, kind.open(init.pid)?.into()));
        }
    }
    all.push(Step::OpenRoot);
    all.append(&mut steps);
    all.push(Step::Done);
    let (ours, theirs) = Channel::pair()?;
    let proc = child::host_proc()?;
    let number = ours.number();
    let state = container.state.clone();
    let body = || {
        let _ = nix::unistd::close(number);
        child::walk(&all, theirs, proc, state)
    };
    let (pidfd, _) = clone(CloneOptions::default(), body).during("clone3")?;
    let answer = ours.receive();
    let _ = corten_namespaces::sys::wait(pidfd.as_fd());
    match answer? {
        Some(Message::Ready) => Ok(()),
        Some(Message::Failed(code, message)) => Err(Error::Container { message, code }),
        _ => Err(Error::Died { how: "without an answer".into() }),
    }
}

/// A list of mounts in a file: a list, or an object with a list under `mounts`.
///
/// # Errors
/// [`Error::Json`].
pub fn read(path: &Path) -> Result<Vec<oci::Mount>> {
    let text = std::fs::read_to_string(path).on("read", path)?;
    let json = |source| Error::Json { path: path.to_path_buf(), source };
    let value: serde_json::Value = crate::json::parse(&text).map_err(json)?;
    let list = value.get("mounts").cloned().unwrap_or(value);
    crate::json::convert(&list).map_err(json)
}
