//! The system calls that this chapter adds to those of chapter 1: all `unsafe` of the crate.
#![allow(unsafe_code)]

use std::ffi::c_long;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

pub mod link;
pub mod mount;
pub mod process;
pub mod schedule;
pub mod seccomp;

fn check(result: c_long) -> nix::Result<c_long> {
    if result < 0 { Err(Errno::last()) } else { Ok(result) }
}

/// Takes ownership of the descriptor that a system call has just returned.
fn owned(result: c_long) -> nix::Result<OwnedFd> {
    let fd = check(result)? as RawFd;
    // SAFETY: the kernel returned `fd` from a call that creates a descriptor, so it is open and
    // nobody else has it: this OwnedFd is its only owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
