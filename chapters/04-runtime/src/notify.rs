//! sd_notify(3): a service in a container tells systemd that it is ready.
//!
//! systemd listens on a socket of the host, which the container cannot reach, and believes only
//! processes that it started. So the container gets a socket of ours, and this program passes on
//! that it is ready, with the container's number as the main process.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use corten_namespaces::error::Context;
use corten_namespaces::sys::mount as sys;
use nix::poll::{PollFd, PollFlags, PollTimeout};

use crate::error::Result;
use crate::mount::{Inside, Mount, Options, Source};

/// The socket's name in the container.
pub const INSIDE: &str = "/run/notify/notify.sock";

/// Makes the socket, in a file system of its own that only the container will see, as
/// [`INSIDE`]: nothing of it is on the host, whatever happens to this program.
///
/// # Errors
/// Where the file system or the socket cannot be made.
pub fn bind() -> Result<(UnixDatagram, OwnedFd)> {
    use std::os::unix::fs::PermissionsExt;
    let tree = sys::fsopen(c"tmpfs").and_then(|context| {
        sys::set_string(context.as_fd(), c"mode", c"0755")?;
        sys::create(context.as_fd())?;
        let attributes = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
        sys::fsmount(context.as_fd(), attributes)
    });
    let tree = tree.during("make a file system for the notify socket")?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/notify.sock", tree.as_raw_fd()));
    let socket = UnixDatagram::bind(&path).on("make the socket", &path)?;
    // The container's user need not be root.
    let all = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(&path, all).on("open to all", &path)?;
    Ok((socket, tree))
}

/// The mount by which the container sees it.
///
/// # Errors
/// Where there are too many descriptors.
pub fn mount(tree: &OwnedFd) -> Result<Mount> {
    let tree = tree.try_clone().during("copy a descriptor")?;
    Ok(Mount {
        target: Inside::new("/run/notify")?,
        source: Source::Tree { tree, from: INSIDE.into() },
        options: Options::default(),
    })
}

/// Waits until the container says that it is ready, or ends, and passes it on.
///
/// # Errors
/// Where the host's socket is gone.
pub fn relay(socket: &UnixDatagram, host: &Path, pid: libc::pid_t) -> Result<()> {
    let pidfd = corten_namespaces::sys::pidfd_open(pid).during("watch the container")?;
    let mut bytes = [0; 4096];
    loop {
        let mut fds = [
            PollFd::new(socket.as_fd(), PollFlags::POLLIN),
            PollFd::new(pidfd.as_fd(), PollFlags::POLLIN),
        ];
        match nix::poll::poll(&mut fds, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => continue,
            other => other.during("wait for the container")?,
        };
        let [said, ended] = fds.map(|fd| fd.any().unwrap_or(false));
        if said {
            let length = socket.recv(&mut bytes).during("hear from the container")?;
            let text =
                String::from_utf8_lossy(bytes.get(..length).unwrap_or_default()).into_owned();
            if text.lines().any(|line| line == "READY=1") {
                let out = UnixDatagram::unbound().during("make a socket")?;
                let message = format!("READY=1\nMAINPID={pid}\n");
                out.send_to(message.as_bytes(), host).on("notify", host)?;
                return Ok(());
            }
        } else if ended {
            return Ok(());
        }
    }
}
