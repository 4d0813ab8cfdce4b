//! The calls of ptrace(2) that need `unsafe`.
#![allow(unsafe_code)]

use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::ptrace;
use nix::unistd::Pid;

/// Lets the command stop at its execve(2) for the thread that starts it.
pub fn trace_me(command: &mut Command) {
    // SAFETY: between fork and execve it makes one system call, which neither allocates nor locks.
    unsafe { command.pre_exec(|| ptrace::traceme().map_err(std::io::Error::from)) };
}

/// The number of the system call at whose entry `pid` stands; `None` where it stands at the end of
/// one.
#[cfg(target_arch = "x86_64")]
pub fn entered(pid: Pid) -> nix::Result<Option<u64>> {
    let info = ptrace::syscall_info(pid)?;
    if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return Ok(None);
    }
    // SAFETY: `op` says that the kernel has filled in `entry`.
    Ok(Some(unsafe { info.u.entry.nr }))
}

/// Replaces the system call at whose entry `pid` stands by one that does nothing, and that seccomp
/// filters allow; a number that is none at all they do not.
#[cfg(target_arch = "x86_64")]
pub fn leave_out(pid: Pid) -> nix::Result<()> {
    let mut registers = ptrace::getregs(pid)?;
    registers.orig_rax = libc::SYS_getppid as u64;
    ptrace::setregs(pid, registers)
}

/// Sets the result of the system call at whose end `pid` stands.
#[cfg(target_arch = "x86_64")]
pub fn fail(pid: Pid, errno: nix::errno::Errno) -> nix::Result<()> {
    let mut registers = ptrace::getregs(pid)?;
    registers.rax = -i64::from(errno as i32) as u64;
    ptrace::setregs(pid, registers)
}
