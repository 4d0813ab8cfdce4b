//! The two things that need `unsafe`: a program that asks to be traced, and the kernel's word of a stop.
#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use nix::libc;
use nix::sys::ptrace;
use nix::unistd::Pid;

/// Why a thread has stopped at a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// It begins: number and arguments.
    Entry(i64, [u64; 6]),
    /// It has ended: its value, or a negative errno.
    Exit(i64),
    /// Something else.
    Other,
}

/// Starts a program that stops after its execve(2), for its parent to trace it.
///
/// # Errors
/// What starting it fails with; `EPERM` where it may not be traced.
pub(super) fn start(command: &mut Command) -> io::Result<Child> {
    let ask = || ptrace::traceme().map_err(io::Error::from);
    // SAFETY: between fork and exec only ptrace(2) is called, which is async-signal-safe, and its error is
    // made from a number without allocating.
    unsafe { command.pre_exec(ask) }.spawn()
}

/// Looks why a thread has stopped (ptrace(2), PTRACE_GET_SYSCALL_INFO; since Linux 5.3).
///
/// # Errors
/// `ESRCH` where it was killed meanwhile.
pub(super) fn stop(pid: Pid) -> nix::Result<Stop> {
    let info = ptrace::syscall_info(pid)?;
    Ok(match info.op {
        libc::PTRACE_SYSCALL_INFO_ENTRY => {
            // SAFETY: `op` says that the kernel has filled this member of the union.
            let entry = unsafe { info.u.entry };
            Stop::Entry(entry.nr.cast_signed(), entry.args)
        }
        libc::PTRACE_SYSCALL_INFO_EXIT => {
            // SAFETY: the same, of the other member.
            Stop::Exit(unsafe { info.u.exit }.sval)
        }
        _ => Stop::Other,
    })
}
