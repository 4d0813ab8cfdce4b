//! The steps that build the container's tree and make it `/`.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use corten_namespaces::Root;
use corten_namespaces::error::{Context, KernelError};
use corten_namespaces::mount::attribute::RDONLY;
use corten_namespaces::sys::mount as kernel;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::sys::stat::Mode;

use super::Child;
use super::place::{self, Kind, LastLink};
use crate::create::step::Switch;
use crate::error::{Error, Result};
use crate::mount::{CgroupMount, Inside, Mount, Options, Source};

impl Child {
    // ANCHOR: attach_root
    pub(super) fn attach_root(&mut self, path: &CStr) -> Result<()> {
        let shown = path.to_string_lossy();
        let attach = || {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let target = nix::fcntl::openat(AT_FDCWD, path, flags, Mode::empty())?;
            let tree = kernel::clone_tree(target.as_raw_fd(), c"", true)?;
            // pivot_root refuses a shared parent of the new root; this is private to the container.
            kernel::move_mount(tree.as_fd(), target.as_raw_fd())?;
            Ok::<_, Errno>(tree)
        };
        let tree: OwnedFd =
            attach().on("attach the root file system", std::ffi::OsStr::new(&*shown))?;
        self.null = Some(null_device()?);
        self.root = Some(Root::from_fd(tree, "/"));
        Ok(())
    }
    // ANCHOR_END: attach_root

    pub(super) fn mount(&mut self, mount: &Mount) -> Result<()> {
        let failed =
            |errno: Errno| Error::from(corten_namespaces::Error::from(explain(mount, errno)));
        match &mount.source {
            Source::FileSystem { kind, device } => self.file_system(mount, kind, device),
            Source::Tree { tree, .. } => {
                let place = self.place_of(mount, Kind::of(tree.as_fd()).map_err(failed)?)?;
                self.refuse_proc(mount, &place, tree)?;
                set_attributes(tree.as_fd(), &mount.options).map_err(failed)?;
                kernel::move_mount(tree.as_fd(), place.as_raw_fd()).map_err(failed)?;
                Ok(())
            }
            Source::Cgroups(groups) => self.mount_cgroups(mount, groups),
            Source::Link(to) => self.link(&mount.target, to),
        }
    }

    fn place_of(&self, mount: &Mount, kind: Kind) -> Result<OwnedFd> {
        let last =
            if mount.options.destination_nofollow { LastLink::Keep } else { LastLink::Follow };
        let found = place::find(self.root()?, mount.target.path(), kind, last);
        Ok(found.on("find or make the place of the mount", mount.target.path())?)
    }

    // ANCHOR: refuse_proc
    /// A volume over /proc, or over files in it, would take the place of what security modules are
    /// told through it (CVE-2019-16884, CVE-2023-27561).
    fn refuse_proc(&self, mount: &Mount, place: &OwnedFd, tree: &OwnedFd) -> Result<()> {
        const ALLOWED: [&str; 10] = [
            "uptime",
            "loadavg",
            "stat",
            "meminfo",
            "diskstats",
            "cpuinfo",
            "swaps",
            "slabinfo",
            "net/dev",
            "sys/kernel/ns_last_pid",
        ];
        let target = mount.target.path();
        let inside = match target.strip_prefix("/proc") {
            Ok(inside) => inside,
            // By another name, through a link.
            Err(_) if place::is_proc(place).is_ok() => Path::new(""),
            Err(_) => return Ok(()),
        };
        let whole = inside.as_os_str().is_empty();
        let allowed = if whole {
            place::is_proc(tree).is_ok()
        } else {
            place::is_proc(place).is_err() || ALLOWED.iter().any(|name| inside == Path::new(name))
        };
        if allowed {
            return Ok(());
        }
        let what = format!("mount on {}", mount.target);
        Err(Error::invalid(
            what,
            "cannot be mounted because it is inside /proc and not of type proc",
        ))
    }
    // ANCHOR_END: refuse_proc

    // ANCHOR: file_system
    fn file_system(&mut self, mount: &Mount, kind: &CStr, device: &CStr) -> Result<()> {
        let strict = kind == c"proc" || kind == c"sysfs";
        let place = if strict {
            place::find(self.root()?, mount.target.path(), Kind::Directory, LastLink::Refuse)
                .and_then(|place| match Kind::of(place.as_fd())? {
                    Kind::Directory => Ok(place),
                    Kind::File => Err(Errno::ENOTDIR),
                })
                .map_err(|errno| match errno {
                    // That says nothing about the place.
                    Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM => {
                        corten_namespaces::Error::from(explain(mount, errno)).into()
                    }
                    _ => {
                        let what = format!("filesystem {kind:?} on {}", mount.target);
                        Error::invalid(what, "must be mounted on ordinary directory")
                    }
                })?
        } else {
            self.place_of(mount, Kind::Directory)?
        };
        let options = &mount.options;
        let long =
            options.data.iter().any(|(_, value)| value.as_ref().is_some_and(|v| v.len() > 255));
        if long {
            return self.mount_old(mount, kind, device, &place);
        }
        let tree = new_file_system(kind, device, options).map_err(|(errno, said)| {
            let mut error = explain(mount, errno);
            if !said.is_empty() {
                error = error.with_remedy(said);
            }
            Error::from(corten_namespaces::Error::from(error))
        })?;
        if options.copy_up && kind == c"tmpfs" {
            super::devices::copy_up(&place, &tree).on("copy up", mount.target.path())?;
        }
        let finish = || {
            set_attributes(tree.as_fd(), options)?;
            kernel::move_mount(tree.as_fd(), place.as_raw_fd())
        };
        finish().map_err(|errno| corten_namespaces::Error::from(explain(mount, errno)))?;
        Ok(())
    }
    // ANCHOR_END: file_system

    /// The older mount(2), for options that are longer than fsconfig(2) takes: an overlay's list of
    /// layers. Its target is the descriptor's name in the host's /proc.
    fn mount_old(&self, mount: &Mount, kind: &CStr, device: &CStr, place: &OwnedFd) -> Result<()> {
        let data: Vec<String> = mount
            .options
            .data
            .iter()
            .map(|(name, value)| match value {
                Some(value) => format!("{name}={value}"),
                None => name.clone(),
            })
            .collect();
        let target = format!("/proc/self/fd/{}", place.as_raw_fd());
        let done =
            crate::sys::mount::mount_old(device, &target, kind, &data.join(",")).and_then(|()| {
                let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
                let mounted = nix::fcntl::openat(AT_FDCWD, target.as_str(), flags, Mode::empty())?;
                set_attributes(mounted.as_fd(), &mount.options)
            });
        Ok(done.map_err(|errno| corten_namespaces::Error::from(explain(mount, errno)))?)
    }

    // ANCHOR: mount_cgroups
    /// The container's groups, by bind mount: its group is the root of what it sees, and nothing of
    /// the hierarchy above can be reached.
    fn mount_cgroups(&self, mount: &Mount, groups: &[CgroupMount]) -> Result<()> {
        let place = self.place_of(mount, Kind::Directory)?;
        let failed = |errno: Errno| corten_namespaces::Error::from(explain(mount, errno));
        let bind = |group: &CgroupMount, at: &OwnedFd| -> Result<()> {
            let path = crate::process::c_path(&group.path)?;
            let tree = kernel::clone_tree(libc::AT_FDCWD, &path, false)
                .on("clone the control group", &group.path)?;
            set_attributes(tree.as_fd(), &mount.options).map_err(failed)?;
            Ok(kernel::move_mount(tree.as_fd(), at.as_raw_fd()).map_err(failed)?)
        };
        if let [only] = groups
            && only.name.is_empty()
        {
            return bind(only, &place);
        }
        let options =
            Options { data: vec![("mode".into(), Some("755".into()))], ..Options::default() };
        let tree =
            new_file_system(c"tmpfs", c"tmpfs", &options).map_err(|(errno, _)| failed(errno))?;
        for group in groups {
            let mode = Mode::from_bits_truncate(0o755);
            nix::sys::stat::mkdirat(&tree, group.name.as_str(), mode).map_err(failed)?;
            for alias in &group.aliases {
                nix::unistd::symlinkat(group.name.as_str(), &tree, alias.as_str())
                    .map_err(failed)?;
            }
        }
        kernel::move_mount(tree.as_fd(), place.as_raw_fd()).map_err(failed)?;
        for group in groups {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let at = nix::fcntl::openat(&tree, group.name.as_str(), flags, Mode::empty())
                .map_err(failed)?;
            bind(group, &at)?;
        }
        Ok(set_attributes(tree.as_fd(), &mount.options).map_err(failed)?)
    }
    // ANCHOR_END: mount_cgroups

    // ANCHOR: switch_root
    pub(super) fn switch_root(&mut self, switch: Switch) -> Result<()> {
        let root = self.root()?;
        let switched = || -> nix::Result<()> {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let old = nix::fcntl::open("/", flags, Mode::empty())?;
            nix::unistd::fchdir(root)?;
            match switch {
                Switch::Pivot => {
                    kernel::pivot_root_here()?;
                    // The old root lies on the new one. With shared propagation its unmounting
                    // would be seen on the host.
                    nix::unistd::fchdir(&old)?;
                    kernel::setattr(AT_FDCWD.as_raw_fd(), c".", true, 0, 0, libc::MS_SLAVE)?;
                    kernel::umount_detach(c".")?;
                }
                Switch::Move => {
                    crate::sys::mount::move_here_to_root()?;
                    nix::unistd::chroot(c".")?;
                }
                Switch::Chroot => nix::unistd::chroot(c".")?,
            }
            nix::unistd::chdir(c"/")
        };
        switched().during("make the root file system /")?;
        // From here on `/` is the root; the handle on it stays what it was.
        Ok(())
    }
    // ANCHOR_END: switch_root

    pub(super) fn make_directory(&self, path: &Inside) -> Result<()> {
        let made = place::find(self.root()?, path.path(), Kind::Directory, LastLink::Follow);
        match made {
            // A program may have its working directory on a read-only mount: chdir tells.
            Ok(_) | Err(Errno::EROFS | Errno::EACCES | Errno::ENOTDIR | Errno::EPERM) => Ok(()),
            Err(errno) => Ok(Err(errno).on("make the working directory", path.path())?),
        }
    }

    /// Unmounts by name in the directory that holds it: umount2(2) takes no descriptor.
    pub(super) fn unmount(&self, path: &Inside) -> Result<()> {
        let (parent, name) = self.root()?.parent(path.path())?;
        let done =
            nix::unistd::fchdir(&parent).and_then(|()| kernel::umount_detach(&c_name(&name)?));
        Ok(done.on("unmount", path.path())?)
    }

    /// A handle on what is there: `None` where it is not.
    fn existing(&self, path: &Inside) -> Result<Option<OwnedFd>> {
        match self.root()?.resolve(path.path()) {
            Ok(fd) => Ok(Some(fd)),
            Err(error) => match error.errno() {
                Some(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
                _ => Err(error.into()),
            },
        }
    }

    pub(super) fn write_protect(&self, path: &Inside) -> Result<()> {
        let Some(place) = self.existing(path)? else { return Ok(()) };
        let protect = || {
            let tree = kernel::clone_tree(place.as_raw_fd(), c"", true)?;
            kernel::setattr(tree.as_raw_fd(), c"", true, RDONLY, 0, 0)?;
            kernel::move_mount(tree.as_fd(), place.as_raw_fd())
        };
        Ok(protect().on("make read-only", path.path())?)
    }

    // ANCHOR: mask
    /// A file is covered with the host's null device: a container's own /dev/null may be a link to
    /// anything, and would hide nothing (CVE-2025-31133). A directory is covered with an empty file
    /// system, the same one for all.
    pub(super) fn mask(&mut self, path: &Inside) -> Result<()> {
        let Some(place) = self.existing(path)? else { return Ok(()) };
        let cover = || match (Kind::of(place.as_fd())?, &self.empty, &self.null) {
            (Kind::File, _, Some(null)) => kernel::clone_tree(null.as_raw_fd(), c"", false),
            (Kind::File, _, None) => Err(Errno::ENODEV),
            // Only a mount that is attached can be cloned, so the first one itself goes here.
            (Kind::Directory, Some(empty), _) => kernel::clone_tree(empty.as_raw_fd(), c"", false),
            (Kind::Directory, None, _) => empty(),
        };
        let cover = cover().on("hide", path.path())?;
        kernel::move_mount(cover.as_fd(), place.as_raw_fd()).on("hide", path.path())?;
        if self.empty.is_none() && Kind::of(cover.as_fd()).is_ok_and(|kind| kind == Kind::Directory)
        {
            self.empty = Some(cover);
        }
        Ok(())
    }
    // ANCHOR_END: mask
}

fn c_name(name: &std::ffi::OsStr) -> nix::Result<std::ffi::CString> {
    let bytes = std::os::unix::ffi::OsStrExt::as_bytes(name);
    std::ffi::CString::new(bytes).map_err(|_| Errno::EINVAL)
}

/// Of `/`: the host's at first, the container's after the switch.
pub(super) fn propagation(flag: u64, below: bool) -> Result<()> {
    let done = kernel::setattr(AT_FDCWD.as_raw_fd(), c"/", below, 0, 0, flag);
    Ok(done.on("set the propagation of", "/")?)
}

/// Makes private the mount in which `path` lies. Only the root of a mount can be named to
/// mount_setattr(2), so the way up is tried until one is found.
pub(super) fn private_parent(path: &CStr) -> Result<()> {
    let shown = path.to_string_lossy();
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let place =
        nix::fcntl::openat(AT_FDCWD, path, flags, Mode::empty()).on("open", Path::new(&*shown))?;
    // Without links in it.
    let real = nix::fcntl::readlink(format!("/proc/self/fd/{}", place.as_raw_fd()).as_str())
        .on("find the real path of", Path::new(&*shown))?;
    for above in Path::new(&real).ancestors() {
        let name = crate::process::c_path(above)?;
        match kernel::setattr(AT_FDCWD.as_raw_fd(), &name, false, 0, 0, libc::MS_PRIVATE) {
            Err(Errno::EINVAL) => {}
            other => return Ok(other.on("make private the mount at", above)?),
        }
    }
    Ok(())
}

/// The host's null device, opened in this mount namespace, or it could not be cloned here.
fn null_device() -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let null = nix::fcntl::open("/dev/null", flags, Mode::empty()).on("open", "/dev/null")?;
    let stat = nix::sys::stat::fstat(&null).on("look at", "/dev/null")?;
    if stat.st_mode & libc::S_IFMT == libc::S_IFCHR && stat.st_rdev == libc::makedev(1, 3) {
        return Ok(null);
    }
    Err(Error::invalid("the host's /dev/null", "is not the null device (character 1:3)"))
}

fn empty() -> nix::Result<OwnedFd> {
    let one = |name: &str| (name.to_owned(), Some("1".to_owned()));
    let data = vec![one("nr_blocks"), one("nr_inodes")];
    let options = Options { data, ..Options::default() };
    let tree = new_file_system(c"tmpfs", c"tmpfs", &options).map_err(|(errno, _)| errno)?;
    kernel::setattr(tree.as_raw_fd(), c"", false, RDONLY, 0, 0)?;
    Ok(tree)
}

/// A detached mount of a new file system; where that fails, with what the kernel says of it.
fn new_file_system(
    kind: &CStr,
    device: &CStr,
    options: &Options,
) -> std::result::Result<OwnedFd, (Errno, String)> {
    let context = kernel::fsopen(kind).map_err(|errno| (errno, String::new()))?;
    let configured = || {
        kernel::set_string(context.as_fd(), c"source", device)?;
        let c = |text: &str| std::ffi::CString::new(text).map_err(|_| Errno::EINVAL);
        for (name, value) in &options.data {
            match value {
                Some(value) => kernel::set_string(context.as_fd(), &c(name)?, &c(value)?)?,
                None => kernel::set_flag(context.as_fd(), &c(name)?)?,
            }
        }
        let of_kernel = [c"tmpfs", c"proc", c"sysfs", c"mqueue", c"devpts"].contains(&kind);
        if options.set & RDONLY != 0 && !of_kernel {
            kernel::set_flag(context.as_fd(), c"ro")?;
        }
        kernel::create(context.as_fd())?;
        // What makes it read-only has to wait until it has been filled.
        kernel::fsmount(context.as_fd(), options.set & !RDONLY)
    };
    configured().map_err(|errno| {
        let mut log = [0; 256];
        let length = nix::unistd::read(&context, &mut log).unwrap_or(0);
        let said = String::from_utf8_lossy(log.get(..length).unwrap_or_default()).into_owned();
        // `e tmpfs: Bad value for 'size'`: the letter is the level.
        (errno, said.strip_prefix("e ").unwrap_or_default().trim().to_owned())
    })
}

// ANCHOR: attributes
fn set_attributes(tree: BorrowedFd<'_>, options: &Options) -> nix::Result<()> {
    let fd = tree.as_raw_fd();
    if options.set | options.clear != 0 {
        kernel::setattr(fd, c"", false, options.set, options.clear, 0)?;
    }
    if options.set_recursive | options.clear_recursive != 0 {
        kernel::setattr(fd, c"", true, options.set_recursive, options.clear_recursive, 0)?;
    }
    for (flag, below) in &options.propagation {
        kernel::setattr(fd, c"", *below, 0, 0, *flag)?;
    }
    Ok(())
}
// ANCHOR_END: attributes

fn explain(mount: &Mount, errno: Errno) -> KernelError {
    let operation = match &mount.source {
        Source::FileSystem { kind, .. } => format!("mount {} on", kind.to_string_lossy()),
        Source::Tree { from, .. } => format!("bind {} on", from.display()),
        Source::Cgroups(_) => "mount the control groups on".to_owned(),
        Source::Link(_) => "make the link".to_owned(),
    };
    let error = KernelError::new(operation, Some(mount.target.path()), errno);
    match (&mount.source, errno) {
        (Source::Tree { .. }, Errno::ENOTDIR | Errno::EINVAL) => {
            error.with_remedy("a directory cannot be mounted on a file, nor a file on a directory")
        }
        _ => error,
    }
}
