//! Compressing older files, in a process of its own.
//!
//! The shim has one thread and must not wait, and compressing 20 MB takes a third of a second. So it
//! forks: with one thread that is sound without an execve(2). The child reads the plain file, writes
//! a new one beside it, and ends; the shim, which alone changes names, learns of it as of every
//! child's end, and puts the new file in the old one's place. Until then nothing has changed, so a
//! kill of either loses no line: the next shim begins again.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use flate2::{Compression, GzBuilder};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::format::Format;
use super::rotation::{numbered, packed, packing, rotated};
use super::stamp;
use crate::sys;

/// What is compressed now.
#[derive(Debug, Default)]
pub(super) struct Packer {
    running: Option<Running>,
    /// After a failure nothing is tried until the next rotation.
    failed: bool,
}

#[derive(Debug)]
struct Running {
    pid: Pid,
    /// Open, so that no other file gets its inode number: by that it is known, whatever its name is
    /// by then.
    plain: File,
}

/// What stands in the header of a compressed file: moby's `lastTime`, and which file it was, so
/// that a reader who has read that knows it again.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Header {
    /// When its last entry was written.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) last_time: String,
    /// The plain file's inode number.
    #[serde(default)]
    pub(crate) inode: u64,
}

impl Packer {
    /// Begins with the oldest file that is not compressed yet, where none is at work.
    pub(super) fn start(&mut self, path: &Path, format: Format) {
        if self.running.is_some() || self.failed {
            return;
        }
        let Ok(there) = rotated(path) else { return };
        let plain = there.iter().rev().find(|(_, forms)| forms.plain && !forms.packed);
        let Some((&number, _)) = plain else { return };
        let Ok(plain) = File::open(numbered(path, number)) else { return };
        let to = packing(path);
        let child = sys::fork(|| {
            let opened = sys::replace(plain.as_fd(), 0).and_then(|()| sys::close_from(3));
            let packed = opened.map_err(Into::into).and_then(|()| pack(&to, format));
            u8::from(packed.is_err())
        });
        match child {
            Ok(pid) => self.running = Some(Running { pid, plain }),
            Err(_) => self.failed = true,
        }
    }

    // ANCHOR: placed
    /// A child has ended: tells whether it was this one's. What it has made gets its name, unless the
    /// plain file has become the oldest meanwhile, and is gone.
    pub(super) fn ended(&mut self, pid: i32, status: i32, path: &Path) -> bool {
        let Some(running) = self.running.take_if(|running| running.pid.as_raw() == pid) else {
            return false;
        };
        let place = || {
            let inode = running.plain.metadata()?.ino();
            for number in rotated(path)?.into_keys() {
                let plain = numbered(path, number);
                if plain.symlink_metadata().is_ok_and(|metadata| metadata.ino() == inode) {
                    std::fs::rename(packing(path), packed(path, number))?;
                    return std::fs::remove_file(plain);
                }
            }
            std::fs::remove_file(packing(path))
        };
        if status != 0 || place().is_err() {
            let _ = std::fs::remove_file(packing(path));
            self.failed = true;
        }
        true
    }
    // ANCHOR_END: placed

    /// There is a new file to compress.
    pub(super) fn rotated(&mut self) {
        self.failed = false;
    }

    /// The child that is at work.
    pub(super) fn child(&self) -> Option<i32> {
        self.running.as_ref().map(|running| running.pid.as_raw())
    }

    /// Gives up what is not done: the plain file is still there.
    pub(super) fn stop(&mut self, path: &Path) {
        if let Some(running) = self.running.take() {
            let _ = kill(running.pid, Signal::SIGKILL);
            let _ = nix::sys::wait::waitpid(running.pid, None);
            let _ = std::fs::remove_file(packing(path));
        }
    }
}

// ANCHOR: pack
/// Compresses what standard input is into a new file, which is on the disk then.
fn pack(to: &Path, format: Format) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    // Whatever the container has to do is more urgent.
    sys::be_nice();
    let mut plain = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let last = crate::reader::last_time(&plain, format);
    let header = Header {
        last_time: last.map(stamp::rfc3339).unwrap_or_default(),
        inode: plain.metadata()?.ino(),
    };
    let mut options = std::fs::OpenOptions::new();
    let new = options.write(true).create(true).truncate(true).mode(0o640).open(to)?;
    let builder = GzBuilder::new().extra(serde_json::to_vec(&header)?);
    let mut encoder = builder.write(new, Compression::default());
    let mut buffer = vec![0; 64 << 10];
    loop {
        match plain.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => encoder.write_all(buffer.get(..length).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    encoder.finish()?.sync_data()
}
// ANCHOR_END: pack
