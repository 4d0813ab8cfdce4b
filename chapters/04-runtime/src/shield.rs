//! The runtime's own file, kept out of the container's reach (CVE-2019-5736).
//!
//! A program in a container that executes `/proc/self/exe` at the right moment executes the
//! runtime's file, and whoever looks into that process can open the file by `/proc/PID/exe`: it is
//! on no path of the container, but such links need none. Root in there may write to it as soon as
//! it does not run, and the next container that the host starts runs what was written.
//!
//! So the process that enters a container runs not the file but a read-only clone of the mount that
//! the file is on. The clone is attached nowhere: no path leads to it, nobody can make it writable,
//! and it is gone with its last process.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use corten_namespaces::error::Context;
use corten_namespaces::mount::attribute::RDONLY;
use corten_namespaces::sys::CStrings;
use corten_namespaces::sys::mount as kernel;
use nix::fcntl::{OFlag, SealFlag};
use nix::sys::stat::Mode;
use nix::sys::statvfs::FsFlags;

use crate::error::Result;
use crate::process::c_path;
use crate::sys::process::execute_fd;

const PATH: &str = "/proc/self/exe";

// ANCHOR: shield
/// Executes this program again from where nobody can write to it, unless it is there already.
///
/// # Errors
/// Where neither a clone of the mount nor a copy in memory can be made.
pub fn up() -> Result<()> {
    let (file, safe) = look(Path::new(PATH))?;
    if safe {
        return Ok(());
    }
    let c = |argument: std::ffi::OsString| CString::new(argument.as_bytes()).unwrap_or_default();
    let argv = CStrings::new(std::env::args_os().map(c).collect());
    let envp = CStrings::new(
        std::env::vars_os()
            .map(|(name, value)| {
                let mut variable = name;
                variable.push("=");
                variable.push(value);
                c(variable)
            })
            .collect(),
    );
    let protected = protected(file, Path::new(PATH))?;
    Err(execute_fd(protected.as_fd(), &argv, &envp)).on("execute again", PATH)?
}

/// The file, as nobody can write to it.
fn protected(file: OwnedFd, path: &Path) -> Result<OwnedFd> {
    let name = c_path(path)?;
    let clone = || {
        let tree = kernel::clone_tree(libc::AT_FDCWD, &name, false)?;
        kernel::setattr(tree.as_raw_fd(), c"", false, RDONLY, 0, 0)?;
        Ok::<_, nix::errno::Errno>(tree)
    };
    match clone() {
        Ok(tree) => Ok(tree),
        // Without the right to clone mounts: a copy in memory.
        Err(_) => Ok(in_memory(file).on("copy to memory", path)?.into()),
    }
}
// ANCHOR_END: shield

/// The file `path` as nobody can write to it, to be executed by `/proc/self/fd`.
///
/// # Errors
/// Where it cannot be opened; as [`up`].
pub fn program(path: &Path) -> Result<OwnedFd> {
    let (file, safe) = look(path)?;
    if safe { Ok(file) } else { protected(file, path) }
}

/// A file, and whether it is protected already.
fn look(path: &Path) -> Result<(OwnedFd, bool)> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let file = nix::fcntl::open(path, flags, Mode::empty()).on("open", path)?;
    let flags = nix::sys::statvfs::fstatvfs(&file).on("look at", path)?.flags();
    let safe = flags.contains(FsFlags::ST_RDONLY) || is_sealed(&file);
    Ok((file, safe))
}

const SEALS: SealFlag = SealFlag::F_SEAL_SEAL
    .union(SealFlag::F_SEAL_SHRINK)
    .union(SealFlag::F_SEAL_GROW)
    .union(SealFlag::F_SEAL_WRITE);

fn is_sealed(file: &OwnedFd) -> bool {
    let seals = nix::fcntl::fcntl(file, nix::fcntl::FcntlArg::F_GET_SEALS);
    seals.is_ok_and(|seals| SealFlag::from_bits_truncate(seals).contains(SEALS))
}

fn in_memory(file: OwnedFd) -> std::io::Result<std::fs::File> {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut copy = std::fs::File::from(memfd_create(c"corten-runtime", flags)?);
    std::io::copy(&mut std::fs::File::from(file), &mut copy)?;
    nix::fcntl::fcntl(&copy, nix::fcntl::FcntlArg::F_ADD_SEALS(SEALS))?;
    Ok(copy)
}
