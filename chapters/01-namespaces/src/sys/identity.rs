//! Who a process is and what it may: ids, groups, capabilities. Of the calling thread alone: the C
//! library's own functions would signal all threads, which a child of clone3 does not have.

use std::ffi::{c_int, c_ulong};

use super::check;

/// Replaces the supplementary groups.
///
/// # Errors
/// `EPERM` without CAP_SETGID, or where setgroups is denied in a user namespace.
pub fn setgroups(groups: &[libc::gid_t]) -> nix::Result<()> {
    // SAFETY: the pointer and the length describe the slice.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}

/// Sets all three group ids.
///
/// # Errors
/// `EINVAL` where the id is not mapped, `EPERM` without CAP_SETGID.
pub fn setgid(gid: libc::gid_t) -> nix::Result<()> {
    // SAFETY: takes integers only.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) }).map(drop)
}

// ANCHOR: setuid
/// Sets all three user ids.
///
/// # Errors
/// `EINVAL` where the id is not mapped, `EPERM` without CAP_SETUID.
pub fn setuid(uid: libc::uid_t) -> nix::Result<()> {
    // SAFETY: takes integers only.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}
// ANCHOR_END: setuid

/// A prctl(2) that takes integers only.
///
/// # Errors
/// As the option documents.
pub fn prctl(option: c_int, a: c_ulong, b: c_ulong) -> nix::Result<()> {
    const NONE: c_ulong = 0;
    // SAFETY: the options used in this crate (PDEATHSIG, DUMPABLE, NO_NEW_PRIVS, CAPBSET_DROP, CAP_AMBIENT,
    // SECUREBITS, CHILD_SUBREAPER) take integers, no pointers.
    check(unsafe { libc::prctl(option, a, b, NONE, NONE) }.into()).map(drop)
}

// ANCHOR: capset
/// capset(2): the effective, permitted and inheritable sets as bit masks.
///
/// # Errors
/// `EPERM` where a capability would be added that the thread does not have.
pub fn capset(effective: u64, permitted: u64, inheritable: u64) -> nix::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: c_int,
    }
    #[repr(C)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    // _LINUX_CAPABILITY_VERSION_3 of linux/capability.h: two halves of 32 bits each.
    let header = Header { version: 0x2008_0522, pid: 0 };
    let half = |shift: u32| Data {
        effective: (effective >> shift) as u32,
        permitted: (permitted >> shift) as u32,
        inheritable: (inheritable >> shift) as u32,
    };
    let data = [half(0), half(32)];
    // SAFETY: version 3 reads one header and two data structures, laid out as the kernel's.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) }).map(drop)
}
// ANCHOR_END: capset

/// The calling thread's effective capabilities, as a bit mask.
///
/// # Errors
/// None in practice.
pub fn capget_effective() -> nix::Result<u64> {
    let header: [u32; 2] = [0x2008_0522, 0];
    let mut data = [[0u32; 3]; 2];
    // SAFETY: version 3 reads the header (two words) and writes two structures of three words.
    check(unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), data.as_mut_ptr()) })?;
    Ok(u64::from(data[0][0]) | u64::from(data[1][0]) << 32)
}
