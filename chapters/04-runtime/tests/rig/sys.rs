//! Descriptors that a runtime sends over a socket.

use std::fs::File;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

/// One message's descriptors, as files.
pub fn receive(stream: &UnixStream) -> Vec<File> {
    receive_with_text(stream).0
}

/// One message's descriptors and its text.
#[allow(unsafe_code)]
pub fn receive_with_text(stream: &UnixStream) -> (Vec<File>, String) {
    let mut buffer = vec![0; 1 << 16];
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 8]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut slices, Some(&mut space), flags).unwrap();
    let length = message.bytes;
    let mut files = Vec::new();
    for control in message.cmsgs().unwrap() {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            // SAFETY: the kernel has just made these descriptors for this process, and nothing
            // else knows their numbers.
            files.extend(
                numbers.into_iter().map(|n| File::from(unsafe { OwnedFd::from_raw_fd(n) })),
            );
        }
    }
    (files, String::from_utf8_lossy(&buffer[..length]).into_owned())
}
