//! What a process that has stopped holds: its memory, its descriptors, its program.

use std::io::IoSliceMut;

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

/// As much of a text as is shown.
pub(super) const SHOWN: usize = 120;

/// What the buffers of a `struct msghdr` hold.
pub(super) fn gathered(pid: i32, address: u64) -> Vec<u8> {
    let header = memory(pid, address, 32);
    let word = |bytes: &[u8], at: usize| {
        let bytes = bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u64::from_ne_bytes)
    };
    let (vectors, count) = (word(&header, 16), word(&header, 24).min(16));
    let mut all = Vec::new();
    for at in 0..count {
        let vector = memory(pid, vectors + 16 * at, 16);
        let length = usize::try_from(word(&vector, 8)).unwrap_or(0).min(64 << 10);
        all.extend(memory(pid, word(&vector, 0), length));
    }
    all
}

/// Whether a process runs this program, also where it is a copy of it in memory.
pub(super) fn is_ours(pid: i32) -> bool {
    let path = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let path = path.to_string_lossy();
    let name = path.rsplit('/').next().unwrap_or_default();
    // A mount of one file that is nowhere has no name but that of its root.
    path.starts_with("/memfd:") || path == "/" || name.starts_with("corten")
}

/// What a descriptor is open on; nothing for AT_FDCWD.
pub(super) fn descriptor(pid: i32, fd: u64) -> String {
    let Ok(fd) = u32::try_from(fd) else { return String::new() };
    if fd.cast_signed() < 0 {
        return String::new();
    }
    let link = std::fs::read_link(format!("/proc/{pid}/fd/{fd}"));
    link.map_or_else(|_| fd.to_string(), |path| path.to_string_lossy().into_owned())
}

/// A path from the directory before it.
pub(super) fn beside(before: &[String], path: &str) -> String {
    match before.last().map(String::as_str) {
        Some(directory) if !directory.is_empty() && !path.starts_with('/') && !path.is_empty() => {
            format!("{}/{path}", directory.trim_end_matches('/'))
        }
        Some(directory) if path.is_empty() => directory.to_owned(),
        _ => path.to_owned(),
    }
}

/// A C string in a process's memory.
pub(super) fn text(pid: i32, address: u64) -> String {
    if address == 0 {
        return String::new();
    }
    let mut bytes = Vec::new();
    // Not beyond the page that it is in: the next one may not be there.
    while bytes.len() < 4096 {
        let at = address + bytes.len() as u64;
        let left = usize::try_from(4096 - at % 4096).unwrap_or(1);
        let part = memory(pid, at, left);
        let end = part.iter().position(|byte| *byte == 0);
        bytes.extend_from_slice(part.get(..end.unwrap_or(part.len())).unwrap_or_default());
        if end.is_some() || part.is_empty() {
            break;
        }
    }
    printable(&bytes)
}

pub(super) fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes.get(..bytes.len().min(2 * SHOWN)).unwrap_or_default());
    let text: String = text.trim_end().escape_debug().collect();
    match text.char_indices().nth(2 * SHOWN) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

/// Bytes of a process's memory (process_vm_readv(2)); as many as can be read.
pub(super) fn memory(pid: i32, address: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let Ok(base) = usize::try_from(address) else { return Vec::new() };
    if base == 0 || length == 0 {
        return Vec::new();
    }
    let remote = [RemoteIoVec { base, len: length }];
    let read = process_vm_readv(Pid::from_raw(pid), &mut [IoSliceMut::new(&mut bytes)], &remote);
    bytes.truncate(read.unwrap_or(0));
    bytes
}
