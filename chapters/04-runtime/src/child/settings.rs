//! Settings of the process and of its namespaces, each one or two system calls.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use corten_namespaces::Namespace;
use corten_namespaces::config::Limit;
use corten_namespaces::error::Context;
use corten_namespaces::mount::attribute::RDONLY;
use corten_namespaces::sys;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::sched::CpuSet;
use nix::sys::stat::Mode;

use super::Child;
use super::place;
use crate::error::{Error, Result};
use crate::sys::process;
use crate::sys::schedule::{self, SchedulerAttributes};

fn os(name: &CStr) -> &std::ffi::OsStr {
    std::ffi::OsStr::from_bytes(name.to_bytes())
}

/// Chapter 1 explains why the clocks are set in a namespace that has no process yet.
pub(super) fn offset_clocks(offsets: &CStr) -> Result<()> {
    let moved = || -> nix::Result<()> {
        // The value is the flag's own bit.
        sys::unshare(Namespace::Time.flag() as i32)?;
        if !offsets.is_empty() {
            let write = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
            let file =
                nix::fcntl::openat(AT_FDCWD, c"/proc/self/timens_offsets", write, Mode::empty())?;
            nix::unistd::write(&file, offsets.to_bytes())?;
        }
        let read = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let path = c"/proc/self/ns/time_for_children";
        let made = nix::fcntl::openat(AT_FDCWD, path, read, Mode::empty())?;
        process::setns(made.as_raw_fd(), Namespace::Time.flag())
    };
    Ok(moved().during("set the clocks of a time namespace")?)
}

pub(super) fn new_network() -> Result<()> {
    // The value is one of the CLONE_NEW* flags, which fit.
    let made = sys::unshare(Namespace::Net.flag() as i32);
    Ok(made.during("make a network namespace")?)
}

pub(super) fn umask(mask: u32) -> Result<()> {
    nix::sys::stat::umask(Mode::from_bits_truncate(mask));
    Ok(())
}

pub(super) fn keyring(name: &CStr) -> Result<()> {
    match process::join_session_keyring(name) {
        // No keys in this kernel, or forbidden where a container runs in a container.
        Ok(()) | Err(Errno::ENOSYS | Errno::EPERM | Errno::EACCES) => Ok(()),
        Err(errno) => Ok(Err(errno).on("join the session keyring", os(name))?),
    }
}

pub(super) fn read_only_root() -> Result<()> {
    let set = sys::mount::setattr(AT_FDCWD.as_raw_fd(), c"/", false, RDONLY, 0, 0);
    Ok(set.on("make read-only", "/")?)
}

pub(super) fn hostname(name: &CStr) -> Result<()> {
    Ok(nix::unistd::sethostname(os(name)).on("set the host name", os(name))?)
}

pub(super) fn domainname(name: &CStr) -> Result<()> {
    Ok(sys::setdomainname(name).on("set the domain name", os(name))?)
}

pub(super) fn loopback_up() -> Result<()> {
    Ok(sys::loopback_up().on("set up the interface", "lo")?)
}

pub(super) fn limit(limit: &Limit) -> Result<()> {
    let Limit { name, resource, soft, hard } = *limit;
    let set = sys::set_rlimit(resource, soft, hard);
    Ok(set.during(&format!("set the limit {name}={soft}:{hard}"))?)
}

pub(super) fn affinity(cpus: &[usize]) -> Result<()> {
    let set = || -> nix::Result<()> {
        let mut set = CpuSet::new();
        for cpu in cpus {
            set.set(*cpu)?;
        }
        nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set)
    };
    Ok(set().on("set the processor affinity", crate::process::mask(cpus))?)
}

pub(super) fn scheduler(attributes: SchedulerAttributes) -> Result<()> {
    Ok(schedule::set_scheduler(attributes).during("set the scheduling policy")?)
}

pub(super) fn io_priority(class: u32, level: u32) -> Result<()> {
    Ok(schedule::set_io_priority(class, level).during("set the I/O priority")?)
}

pub(super) fn personality(persona: u64) -> Result<()> {
    Ok(process::personality(persona).during("set the personality")?)
}

pub(super) fn memory_policy(mode: i32, nodes: &[u64]) -> Result<()> {
    Ok(schedule::set_memory_policy(mode, nodes).during("set the memory policy")?)
}

impl Child {
    // ANCHOR: proc_file
    /// Opens a file of the host's procfs for writing. Not by the container's `/proc`, where an
    /// image could have put links that send the write elsewhere (CVE-2019-16884, CVE-2025-52881).
    fn proc_file(&self, path: &Path) -> nix::Result<OwnedFd> {
        let c = std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
        // The widening keeps the bit pattern: flags are never negative.
        let flags = (OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC).bits() as u64;
        let resolve = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_MAGICLINKS | libc::RESOLVE_NO_XDEV;
        let file = sys::openat2(self.proc.as_raw_fd(), &c, flags, 0, resolve)?;
        place::is_proc(&file)?;
        Ok(file)
    }
    // ANCHOR_END: proc_file

    pub(super) fn sysctl(&self, path: &Path, value: &str) -> Result<()> {
        let shown = Path::new("/proc/sys").join(path);
        let written = self
            .proc_file(&Path::new("sys").join(path))
            .and_then(|file| nix::unistd::write(&file, value.as_bytes()));
        written.on(&format!("write {value:?} to"), &shown)?;
        Ok(())
    }

    pub(super) fn label(&self, file: &str, value: &CStr) -> Result<()> {
        let path = Path::new("self/attr").join(file);
        let written =
            self.proc_file(&path).and_then(|file| nix::unistd::write(&file, value.to_bytes()));
        written.map_err(|errno| {
            let what = format!("the label {}", value.to_string_lossy());
            let why = match errno {
                Errno::ENOENT => "this kernel runs no security module that has labels".to_owned(),
                other => format!("the security module refused it: {other}"),
            };
            Error::invalid(what, why)
        })?;
        Ok(())
    }
}
