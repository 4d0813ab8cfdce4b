//! A mount namespace without a process.
//!
//! A thread leaves the namespace of the engine, makes its own, opens what holds it, and ends. The
//! descriptors are all that is left: nothing was mounted where the host or a container sees it.

use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use std::path::{Path, PathBuf};

use corten_namespaces::{Root, sys};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::libc;
use nix::sys::stat::{Mode, fstat};

use super::Scope;
use crate::engine::error::{At, Error, Result};
use crate::engine::volumes::MountPoint;

/// From what it is made.
#[derive(Debug)]
pub(super) enum Base {
    /// A container that runs, as it is.
    Running {
        /// Its mount namespace.
        namespace: OwnedFd,
        /// Whether its /dev is the engine's.
        own_dev: bool,
    },
    /// The root of a container that waits for its restart.
    Supervised {
        /// The mount namespace of its supervisor.
        namespace: OwnedFd,
        /// Where it is in that.
        rootfs: PathBuf,
    },
    /// A root that is mounted nowhere.
    Tree {
        /// The detached mount.
        tree: OwnedFd,
        /// Where it can be attached.
        rootfs: PathBuf,
    },
}

/// What shall be in it.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) scope: Scope,
    /// Outer ones first.
    pub(super) mounts: Vec<Attach>,
    /// Whether the root is.
    pub(super) read_only: bool,
}

/// A file or directory of the host that is seen in it.
#[derive(Debug)]
pub(super) struct Attach {
    source: PathBuf,
    /// A directory in the source, which whoever writes there may have made a link.
    subpath: String,
    pub(super) target: PathBuf,
    read_only: bool,
    recursive: bool,
    /// Whether the target is made where it is missing.
    makes: bool,
}

/// The root of a namespace, and what holds it.
pub(super) type Made = (OwnedFd, OwnedFd);

const HANDLE: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// File systems that are the kernel's, not the container's.
const KERNEL: [&str; 19] = [
    "proc",
    "sysfs",
    "cgroup",
    "cgroup2",
    "devpts",
    "devtmpfs",
    "mqueue",
    "securityfs",
    "selinuxfs",
    "debugfs",
    "tracefs",
    "bpf",
    "pstore",
    "configfs",
    "efivarfs",
    "fusectl",
    "binfmt_misc",
    "nsfs",
    "rpc_pipefs",
];

impl Plan {
    /// Nothing is mounted in it.
    pub(super) fn of(scope: Scope) -> Plan {
        Plan { scope, mounts: Vec::new(), read_only: false }
    }
}

impl Attach {
    /// A volume or a bind mount.
    pub(super) fn of(point: &MountPoint) -> Attach {
        Attach {
            source: PathBuf::from(&point.source),
            subpath: point.subpath.clone(),
            target: PathBuf::from(&point.destination),
            read_only: !point.writable,
            recursive: !point.non_recursive,
            makes: true,
        }
    }

    /// One of the engine's files.
    pub(super) fn own_file(source: PathBuf, target: &str, read_only: bool) -> Attach {
        let (subpath, target) = (String::new(), PathBuf::from(target));
        Attach { source, subpath, target, read_only, recursive: false, makes: false }
    }

    /// The source as a detached mount; `None` where one that need not be there is not.
    fn open(&self) -> Result<Option<OwnedFd>> {
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        let source = match nix::fcntl::open(&self.source, flags, Mode::empty()) {
            Err(Errno::ENOENT) if !self.makes => return Ok(None),
            opened => opened.at("open", &self.source)?,
        };
        let source = match self.subpath.as_str() {
            "" => source,
            part => Root::from_fd(source, &self.source).resolve(part)?,
        };
        sys::mount::clone_tree(source.as_raw_fd(), c"", self.recursive)
            .map(Some)
            .at("clone the mount of", &self.source)
    }

    fn attach(&self, source: &OwnedFd, root: &Root) -> Result<()> {
        let kind = fstat(source).at("stat", &self.source)?.st_mode & libc::S_IFMT;
        let target = match root.resolve(&self.target) {
            Err(error) if error.errno() == Some(Errno::ENOENT) => match self.makes {
                true => self.make(root, kind == libc::S_IFDIR)?,
                false => return Ok(()),
            },
            other => other?,
        };
        sys::mount::move_mount(source.as_fd(), target.as_raw_fd()).at("mount on", &self.target)?;
        if self.read_only {
            let flag = libc::MOUNT_ATTR_RDONLY;
            sys::mount::setattr(source.as_raw_fd(), c"", self.recursive, flag, 0, 0)
                .at("make read-only", &self.target)?;
        }
        Ok(())
    }

    fn make(&self, root: &Root, is_directory: bool) -> Result<OwnedFd> {
        let mode = Mode::from_bits_truncate(0o755);
        if is_directory {
            return Ok(root.create_dir_all(&self.target, mode)?);
        }
        root.create_dir_all(self.target.parent().unwrap_or(Path::new("/")), mode)?;
        let flags = OFlag::O_CREAT | OFlag::O_RDONLY | OFlag::O_NONBLOCK;
        Ok(root.open_at(&self.target, flags, mode)?)
    }
}

// ANCHOR: make
/// Makes one.
pub(super) fn make(base: Base, plan: Plan) -> Result<Made> {
    let thread = std::thread::Builder::new().name("view".into());
    let path = Path::new("/proc/thread-self");
    let thread = thread.spawn(move || {
        let own = nix::fcntl::open(path, HANDLE, Mode::empty()).at("open", path)?;
        enter(&base).at("make a mount namespace from", path)?;
        match base {
            Base::Running { own_dev, .. } => hide(&own, plan.scope, own_dev)?,
            Base::Supervised { rootfs, .. } => assemble(&rootfs, None, &plan)?,
            Base::Tree { tree, rootfs } => assemble(&rootfs, Some(&tree), &plan)?,
        }
        let root = nix::fcntl::open(".", HANDLE, Mode::empty()).at("open", Path::new("."))?;
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let namespace = openat(&own, "ns/mnt", flags, Mode::empty()).at("open", path)?;
        Ok((root, namespace))
    });
    let thread = thread.at("start a thread", path)?;
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A namespace of this thread's own, from which nothing spreads.
fn enter(base: &Base) -> nix::Result<()> {
    sys::unshare(libc::CLONE_FS)?;
    if let Base::Running { namespace, .. } | Base::Supervised { namespace, .. } = base {
        // The root and the working directory are those of the namespace now.
        sys::setns(namespace.as_raw_fd(), libc::CLONE_NEWNS)?;
    }
    sys::unshare(libc::CLONE_NEWNS)?;
    sys::mount::setattr(AT_FDCWD.as_raw_fd(), c"/", true, 0, 0, libc::MS_PRIVATE)
}
// ANCHOR_END: make

/// Mounts all that is in a container that does not run, and goes there.
fn assemble(rootfs: &Path, tree: Option<&OwnedFd>, plan: &Plan) -> Result<()> {
    // By the host's paths, so before they are out of sight.
    let mut sources = Vec::new();
    for mount in &plan.mounts {
        sources.extend(mount.open()?.map(|source| (mount, source)));
    }
    if let Some(tree) = tree {
        let place = nix::fcntl::open(rootfs, HANDLE, Mode::empty()).at("open", rootfs)?;
        sys::mount::move_mount(tree.as_fd(), place.as_raw_fd()).at("mount on", rootfs)?;
    }
    nix::unistd::chdir(rootfs).at("go to", rootfs)?;
    match sys::mount::pivot_root_here() {
        // The copies of the host's mounts would keep them busy.
        Ok(()) => sys::mount::umount_detach(c".").at("detach", Path::new("/"))?,
        // The host runs from its initramfs, which cannot be left. The view begins below it.
        Err(Errno::EINVAL) if tree.is_some() => {}
        Err(errno) => return Err(errno).at("change the root to", rootfs),
    }
    let root = nix::fcntl::open(".", HANDLE, Mode::empty()).at("open", rootfs)?;
    let root = Root::from_fd(root, "/");
    for (mount, source) in &sources {
        mount.attach(source, &root)?;
    }
    if plan.read_only {
        let flag = libc::MOUNT_ATTR_RDONLY;
        sys::mount::setattr(root.as_fd().as_raw_fd(), c"", false, flag, 0, 0)
            .at("make read-only", rootfs)?;
    }
    Ok(())
}

/// Detaches what is not the container's own, or all but its root.
fn hide(own: &OwnedFd, scope: Scope, own_dev: bool) -> Result<()> {
    let hidden = |(point, kind): &(CString, String)| match scope {
        Scope::Root => point.as_bytes() != b"/",
        Scope::Whole => {
            KERNEL.contains(&kind.as_str())
                || own_dev && kind == "tmpfs" && point.as_bytes() == b"/dev"
        }
    };
    let mut before = usize::MAX;
    loop {
        let mut mounts = mounts(own)?;
        mounts.retain(hidden);
        let Some((point, _)) = mounts.last() else { break };
        if mounts.len() >= before {
            let path = point.to_string_lossy();
            return Err(Error::refused(format!("cannot look below what is mounted on {path}")));
        }
        before = mounts.len();
        for (point, _) in mounts.iter().rev() {
            // What is below it goes with it, or it may be covered: the next round tells.
            let _ = sys::mount::umount_detach(point);
        }
    }
    nix::unistd::chdir("/").at("go to", Path::new("/"))
}

/// What is mounted in this thread's namespace: where, and of which type.
fn mounts(own: &OwnedFd) -> Result<Vec<(CString, String)>> {
    let path = Path::new("/proc/thread-self/mountinfo");
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let file = openat(own, "mountinfo", flags, Mode::empty()).at("open", path)?;
    let mut text = Vec::new();
    File::from(file).read_to_end(&mut text).at("read", path)?;
    let lines = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    Ok(lines.filter_map(mount).collect())
}

/// proc(5): `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [FIELD…] - TYPE SOURCE OPTIONS`.
fn mount(line: &[u8]) -> Option<(CString, String)> {
    let mut fields = line.split(|&byte| byte == b' ');
    let point = unescaped(fields.nth(4)?);
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
    Some((CString::new(point).ok()?, String::from_utf8_lossy(kind).into_owned()))
}

/// A blank, tab, newline or backslash is written as three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|digits| byte == b'\\' && digits[0] <= b'3');
        let code = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            Some(code) => {
                plain.push(code);
                rest = &after[3..];
            }
            None => {
                plain.push(byte);
                rest = after;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo_is_read() {
        let line = b"36 35 98:0 /mnt1 /mnt\\0402\\134 rw,noatime master:1 - ext3 /dev/root rw";
        let (point, kind) = mount(line).unwrap();
        assert_eq!((point.as_bytes(), kind.as_str()), (&b"/mnt 2\\"[..], "ext3"));
        assert!(mount(b"36 35").is_none());
    }
}
