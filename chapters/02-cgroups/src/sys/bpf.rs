//! bpf(2): loading a device program, and attaching it to a group.

use std::ffi::{c_int, c_uint};
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::{check, owned};
use crate::bpf::Instruction;

// enum bpf_cmd of linux/bpf.h, and what else is used of it.
const PROG_LOAD: c_int = 5;
const PROG_ATTACH: c_int = 8;
const PROG_DETACH: c_int = 9;
const PROG_GET_FD_BY_ID: c_int = 13;
const PROG_QUERY: c_int = 16;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
const F_ALLOW_MULTI: u32 = 2;
const F_REPLACE: u32 = 4;

/// union bpf_attr, as BPF_PROG_LOAD uses it.
#[repr(C)]
#[derive(Default)]
struct Load {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

/// As BPF_PROG_ATTACH and BPF_PROG_DETACH use it.
#[repr(C)]
#[derive(Default)]
struct Attach {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
    replaced: u32,
    padding: u32,
}

/// As BPF_PROG_QUERY uses it. Newer kernels write back to fields that older ones do not have.
#[repr(C)]
#[derive(Default)]
struct Query {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
    attach_flags_of_each: u64,
    link_ids: u64,
    link_flags: u64,
    revision: u64,
}

/// As BPF_PROG_GET_FD_BY_ID uses it.
#[repr(C)]
#[derive(Default)]
struct ById {
    id: u32,
    next: u32,
    flags: u32,
    padding: u32,
}

// ANCHOR: bpf
/// The call itself; `T` is the view of the attribute union that `command` takes.
fn bpf<T>(command: c_int, attribute: &mut T) -> nix::Result<i64> {
    // Every `T` of this module is `repr(C)`, laid out as linux/bpf.h has the command's part of the
    // union, and made of integers, so it has no padding that is not a field. Pointers in it are set
    // by the callers below to memory that lives across the call, with its length beside.
    // SAFETY: `attribute` is such a `T`, lives across the call, and its size is passed.
    check(unsafe {
        libc::syscall(libc::SYS_bpf, command, &raw mut *attribute, size_of::<T>() as c_uint)
    })
}
// ANCHOR_END: bpf

fn number(fd: &impl AsFd) -> u32 {
    // The number of an open descriptor is never negative.
    fd.as_fd().as_raw_fd().cast_unsigned()
}

/// Loads a device program; with room in `log`, the verifier explains itself there.
///
/// # Errors
/// `EINVAL` and `EACCES` where the verifier refuses it, `EPERM` without the right.
pub fn load(instructions: &[Instruction], log: &mut [u8]) -> nix::Result<OwnedFd> {
    let mut attribute = Load {
        program_type: PROG_TYPE_CGROUP_DEVICE,
        instruction_count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        // The program calls nothing, so any licence will do.
        license: c"Apache-2.0".as_ptr() as u64,
        name: *b"corten_devices\0\0",
        ..Load::default()
    };
    if !log.is_empty() {
        (attribute.log_level, attribute.log_size) = (1, log.len() as u32);
        attribute.log = log.as_mut_ptr() as u64;
    }
    owned(bpf(PROG_LOAD, &mut attribute)?)
}

/// Attaches `program` to the group, in the place of `replaced`.
///
/// # Errors
/// `ENOENT` where `replaced` is not attached any more, `EPERM`.
pub fn attach(
    program: BorrowedFd<'_>,
    group: BorrowedFd<'_>,
    replaced: Option<&OwnedFd>,
) -> nix::Result<()> {
    let mut attribute = Attach {
        target: number(&group),
        program: number(&program),
        attach_type: CGROUP_DEVICE,
        flags: F_ALLOW_MULTI,
        ..Attach::default()
    };
    if let Some(replaced) = replaced {
        attribute.flags |= F_REPLACE;
        attribute.replaced = number(replaced);
    }
    bpf(PROG_ATTACH, &mut attribute).map(drop)
}

/// Takes `program` off the group.
///
/// # Errors
/// `ENOENT` where it is not attached.
pub fn detach(program: &OwnedFd, group: BorrowedFd<'_>) -> nix::Result<()> {
    let (target, program) = (number(&group), number(program));
    let mut attribute = Attach { target, program, attach_type: CGROUP_DEVICE, ..Attach::default() };
    bpf(PROG_DETACH, &mut attribute).map(drop)
}

/// The numbers of the device programs that are attached to the group itself.
///
/// # Errors
/// `EPERM`; `EINVAL` where the kernel was built without.
pub fn attached(group: BorrowedFd<'_>) -> nix::Result<Vec<u32>> {
    let mut ids = [0u32; 64];
    let mut attribute = Query {
        target: number(&group),
        attach_type: CGROUP_DEVICE,
        ids: ids.as_mut_ptr() as u64,
        count: ids.len() as u32,
        ..Query::default()
    };
    bpf(PROG_QUERY, &mut attribute)?;
    Ok(ids[..ids.len().min(attribute.count as usize)].to_vec())
}

/// A descriptor of a loaded program.
///
/// # Errors
/// `ENOENT` where it is gone.
pub fn by_id(id: u32) -> nix::Result<OwnedFd> {
    owned(bpf(PROG_GET_FD_BY_ID, &mut ById { id, ..ById::default() })?)
}
