//! Scheduling: policy, I/O priority, memory policy. The C library wraps none of these.

use std::ffi::{c_int, c_uint, c_ulong};
use std::mem::size_of;

use super::check;

/// sched_attr of linux/sched/types.h, in its first form.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SchedulerAttributes {
    /// The size of this structure.
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// For SCHED_OTHER and SCHED_BATCH.
    pub nice: i32,
    /// For SCHED_FIFO and SCHED_RR.
    pub priority: u32,
    /// For SCHED_DEADLINE, in nanoseconds.
    pub runtime: u64,
    /// For SCHED_DEADLINE, in nanoseconds.
    pub deadline: u64,
    /// For SCHED_DEADLINE, in nanoseconds.
    pub period: u64,
}

/// sched_setattr(2) of the calling thread.
///
/// # Errors
/// `EPERM` without CAP_SYS_NICE, `EINVAL` for values that the policy does not take.
pub fn set_scheduler(attributes: SchedulerAttributes) -> nix::Result<()> {
    let size = size_of::<SchedulerAttributes>() as u32;
    let attributes = SchedulerAttributes { size, ..attributes };
    // SAFETY: the structure says its own size and lives across the call.
    check(unsafe {
        libc::syscall(libc::SYS_sched_setattr, 0 as c_int, &raw const attributes, 0 as c_uint)
    })
    .map(drop)
}

/// ioprio_set(2) of the calling thread: class and level.
///
/// # Errors
/// `EPERM` for the real-time class without CAP_SYS_ADMIN or CAP_SYS_NICE.
pub fn set_io_priority(class: u32, level: u32) -> nix::Result<()> {
    const WHO_PROCESS: c_int = 1;
    const CLASS_SHIFT: u32 = 13;
    let priority = class << CLASS_SHIFT | level;
    // SAFETY: takes integers only.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0 as c_int, priority) })
        .map(drop)
}

/// set_mempolicy(2) of the calling thread; `nodes` is a bit mask.
///
/// # Errors
/// `EINVAL` for nodes that are not there.
pub fn set_memory_policy(mode: c_int, nodes: &[c_ulong]) -> nix::Result<()> {
    // The kernel wants one more than the number of bits that it may read.
    let bits = if nodes.is_empty() { 0 } else { nodes.len() * c_ulong::BITS as usize + 1 };
    let pointer = if nodes.is_empty() { std::ptr::null() } else { nodes.as_ptr() };
    // SAFETY: the kernel reads `bits - 1` bits, which `nodes` holds.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, bits) }).map(drop)
}
