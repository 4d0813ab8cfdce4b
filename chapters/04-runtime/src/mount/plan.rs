//! From the mounts of config.json to [`Mount`]s, with their sources opened.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use corten_namespaces::error::Context;
use corten_namespaces::sys::mount as kernel;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::sys::stat::Mode;
use oci_spec::runtime as oci;

use super::{CgroupMount, Inside, Mount, Options, Source};
use crate::error::{Error, Result};
use crate::idmap;
use crate::sys;

/// What the mounts depend on beside their own fields.
pub(crate) struct Surroundings<'a> {
    /// The bundle, from which relative sources count.
    pub bundle: &'a Path,
    /// The propagation of the host's mounts in the container.
    pub propagation: (u64, bool),
    /// The container's own id mappings, for `idmap`.
    pub maps: Option<(&'a [oci::LinuxIdMapping], &'a [oci::LinuxIdMapping])>,
    /// The user namespace that the container joins, for `idmap`, too.
    pub joined: Option<&'a OwnedFd>,
    /// The container's control groups.
    pub cgroups: Vec<CgroupMount>,
    /// The SELinux label of files.
    pub label: Option<&'a str>,
}

/// Opens what `mount` needs on the host.
///
/// # Errors
/// Where the source is not there or cannot be cloned.
pub(crate) fn plan(mount: &oci::Mount, surroundings: &Surroundings<'_>) -> Result<Mount> {
    let mut options = Options::parse(mount.options().iter().flatten().map(String::as_str));
    let target = Inside::new(mount.destination())?;
    let kind = mount.typ().as_deref().unwrap_or("none");
    let source = if options.bind.is_some() || kind == "bind" {
        bind(mount, &mut options, surroundings)?
    } else if kind == "cgroup" || kind == "cgroup2" {
        Source::Cgroups(surroundings.cgroups.clone())
    } else {
        if mount.uid_mappings().is_some() {
            let what = format!("mount {}", mount.destination().display());
            return Err(Error::invalid(what, "only a bind mount can have id mappings"));
        }
        let c = |text: &str| {
            CString::new(text).map_err(|_| Error::invalid("mounts", "a NUL byte in a type"))
        };
        let device = mount.source().as_ref().map_or(kind.into(), |source| source.to_string_lossy());
        if let Some(label) =
            surroundings.label.filter(|_| ["tmpfs", "mqueue", "devpts"].contains(&kind))
            && Path::new("/sys/fs/selinux").exists()
        {
            options.data.push(("context".into(), Some(label.to_owned())));
        }
        Source::FileSystem { kind: c(kind)?, device: c(&device)? }
    };
    Ok(Mount { target, source, options })
}

// ANCHOR: bind
fn bind(
    mount: &oci::Mount,
    options: &mut Options,
    surroundings: &Surroundings<'_>,
) -> Result<Source> {
    let recursive = *options.bind.get_or_insert(false);
    let source = mount.source().as_ref().ok_or_else(|| {
        let what = format!("mount {}", mount.destination().display());
        Error::invalid(what, "a bind mount needs a source")
    })?;
    let from = surroundings.bundle.join(source);
    if options.copy_symlink
        && let Ok(link) = std::fs::read_link(&from)
    {
        return Ok(Source::Link(link));
    }
    let mut flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    if options.source_nofollow {
        flags |= OFlag::O_NOFOLLOW;
    }
    let place = nix::fcntl::openat(AT_FDCWD, &from, flags, Mode::empty())
        .on("open the source of a bind mount", &from)?;
    let tree = kernel::clone_tree(place.as_raw_fd(), c"", recursive)
        .on("clone the source of a bind mount", &from)?;
    // On the host it may be shared: what the container mounts below it would appear there.
    let (flag, _) = surroundings.propagation;
    if flag != libc::MS_SHARED {
        set_propagation(&tree, flag, true).on("make private a copy of", &from)?;
    }
    if let Some(namespace) = id_map(mount, options, surroundings)? {
        let recursive = options.id_map.unwrap_or(false);
        sys::mount::map_ids(tree.as_fd(), recursive, namespace.as_fd()).map_err(|errno| {
            let error = corten_namespaces::KernelError::new("map the ids of", Some(&from), errno);
            corten_namespaces::Error::from(match errno {
                Errno::EINVAL => error.with_remedy(
                    "its file system cannot have mapped ids, or they are mapped already",
                ),
                _ => error,
            })
        })?;
    }
    Ok(Source::Tree { tree, from })
}
// ANCHOR_END: bind

fn set_propagation(tree: &OwnedFd, flag: u64, recursive: bool) -> nix::Result<()> {
    kernel::setattr(tree.as_raw_fd(), c"", recursive, 0, 0, flag)
}

/// The user namespace whose maps the mount shall have.
fn id_map(
    mount: &oci::Mount,
    options: &Options,
    surroundings: &Surroundings<'_>,
) -> Result<Option<OwnedFd>> {
    let what = || format!("mount {}", mount.destination().display());
    if let (Some(uids), Some(gids)) = (mount.uid_mappings(), mount.gid_mappings()) {
        return idmap::namespace(uids, gids).map(Some);
    }
    if options.id_map.is_none() {
        return Ok(None);
    }
    match (surroundings.maps, surroundings.joined) {
        (Some((uids, gids)), _) => idmap::namespace(uids, gids).map(Some),
        (None, Some(joined)) => {
            Ok(Some(joined.try_clone().during("keep the user namespace's descriptor")?))
        }
        (None, None) => Err(Error::invalid(
            what(),
            "idmap needs mappings: its own, or those of a user namespace of the container",
        )),
    }
}
