//! Loading a seccomp filter.

use std::ffi::{c_long, c_uint, c_ulong};
use std::os::fd::RawFd;

use super::check;

/// One instruction of the filter machine: sock_filter of linux/filter.h.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// The operation.
    pub code: u16,
    /// How many instructions to skip where a jump's condition holds.
    pub jt: u8,
    /// How many to skip where it does not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

// ANCHOR: load
/// Loads `program` as a filter of the calling thread (seccomp(2)). With
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER` the answer is the number of the listener's descriptor.
///
/// # Errors
/// `EACCES` without no_new_privs or CAP_SYS_ADMIN, `EINVAL` for a program that the kernel's
/// verifier refuses.
pub fn load(program: &[Instruction], flags: c_ulong) -> nix::Result<RawFd> {
    let program = libc::sock_fprog {
        // Filters have at most 4096 instructions, which the compiler checks.
        len: program.len() as u16,
        filter: program.as_ptr().cast_mut().cast(),
    };
    // SAFETY: `Instruction` is laid out as sock_filter, the kernel reads `len` of them and copies
    // them, and writes nothing.
    check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER as c_uint,
            flags,
            &raw const program,
        )
    })
    .map(|answer: c_long| answer as RawFd)
}
// ANCHOR_END: load

/// Whether the kernel knows this action (SECCOMP_GET_ACTION_AVAIL).
pub fn knows_action(action: u32) -> bool {
    // SAFETY: the kernel reads one u32.
    unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_GET_ACTION_AVAIL as c_uint,
            0 as c_uint,
            &raw const action,
        ) == 0
    }
}
