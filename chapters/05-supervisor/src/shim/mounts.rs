//! What the shim mounts or opens for the container before the runtime does the rest. It is in a mount
//! namespace of the shim's own, which the host does not see.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use corten_namespaces::{Root, sys};
use corten_runtime::Bundle;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::stat::Mode;

use super::Shim;
use crate::error::{Context, Error, Result};

impl Shim {
    /// Finds the parts of volumes that are mounted, each inside its volume, and puts what was found
    /// in the place of their paths.
    pub(super) fn open_subpaths(&self, bundle: &mut Bundle) -> Result<Vec<OwnedFd>> {
        let mut parts = Vec::new();
        for wanted in &self.settings.subpaths {
            let volume = Root::open(&wanted.volume)?;
            let part = volume.open_at(&wanted.path, OFlag::O_PATH, Mode::empty())?;
            let mounts = bundle.spec.mounts_mut().iter_mut().flatten();
            for mount in mounts.filter(|mount| *mount.destination() == wanted.destination) {
                mount.set_source(Some(format!("/proc/self/fd/{}", part.as_raw_fd()).into()));
            }
            parts.push(part);
        }
        Ok(parts)
    }

    // ANCHOR: mount_root
    /// Mounts the root in a mount namespace of the shim's own: the host never sees it, and whatever
    /// happens to the shim, it is gone with it.
    pub(super) fn mount_root(&mut self) -> Result<()> {
        let Some(root) = self.settings.root.clone().filter(|_| !self.mounted) else {
            return Ok(());
        };
        let driver = corten_unionfs::driver::named(&root.driver).ok_or_else(|| {
            Error::invalid(format!("root.driver `{}`", root.driver), "is no driver of chapter 3")
        })?;
        let tree = driver.mount(&root.layers, Some(&root.writable))?;
        if !self.settings.after.is_empty() {
            let path = Path::new("/proc/self/ns/mnt");
            self.home = Some(open(path)?.into());
        }
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)
            .during("make a mount namespace")?;
        // What the host mounts below a volume arrives, what is mounted here does not leave.
        sys::mount::setattr(libc::AT_FDCWD, c"/", true, 0, 0, libc::MS_SLAVE)
            .during("keep mounts from the host")?;
        let target = open(&root.target)?;
        sys::mount::move_mount(tree.as_fd(), target.as_raw_fd())
            .map_err(|errno| Error::path("mount the root on", &root.target, errno.into()))?;
        self.mounted = true;
        Ok(())
    }
    // ANCHOR_END: mount_root

    /// Takes /dev/shm out of the container whose IPC namespace is used, and mounts it where the runtime
    /// finds it: what programs share by shm_open(3) are files there. They stay as long as one of the two
    /// has it mounted.
    pub(super) fn join_memory(&self) -> Result<()> {
        let Some(wanted) = &self.settings.memory else { return Ok(()) };
        if !self.mounted {
            let why = "needs a root that the supervisor mounts";
            return Err(Error::invalid("memory", why));
        }
        let shared = take(&wanted.namespace)?;
        let target = &wanted.target;
        if let Err(error) = std::fs::create_dir(target)
            && error.kind() != std::io::ErrorKind::AlreadyExists
        {
            return Err(Error::path("make", target, error));
        }
        let at = |errno: Errno| Error::path("mount shared memory on", target, errno.into());
        // That of an earlier start.
        let old = std::ffi::CString::new(target.as_os_str().as_encoded_bytes());
        match sys::mount::umount_detach(&old.map_err(|_| at(Errno::EINVAL))?) {
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(errno) => return Err(at(errno)),
        }
        let place = open(target)?;
        sys::mount::move_mount(shared.as_fd(), place.as_raw_fd()).map_err(at)
    }
}

/// A copy of the mount of /dev/shm in a mount namespace. The shim has one thread, and is back at once.
fn take(namespace: &Path) -> Result<OwnedFd> {
    let home = open(Path::new("/proc/self/ns/mnt"))?;
    let there = open(namespace)?;
    let here = nix::fcntl::open(".", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
        .during("open the working directory")?;
    let enter = |to: &File| sys::setns(to.as_raw_fd(), libc::CLONE_NEWNS);
    enter(&there).map_err(|errno| Error::path("enter", namespace, errno.into()))?;
    // The other container's root may have made a link of it: it leads no farther than its own root.
    let found =
        Root::open("/").and_then(|root| root.open_at("dev/shm", OFlag::O_PATH, Mode::empty()));
    let shared = found.map(|found| sys::mount::clone_tree(found.as_raw_fd(), c"", false));
    enter(&home).during("go back to the shim's mount namespace")?;
    nix::unistd::fchdir(&here).during("go back to the working directory")?;
    shared?.map_err(|errno| Error::path("clone the mount of", Path::new("/dev/shm"), errno.into()))
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|error| Error::path("open", path, error))
}
