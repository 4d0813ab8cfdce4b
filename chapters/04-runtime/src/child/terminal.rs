//! The container's terminal.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use corten_namespaces::error::Context;
use corten_namespaces::sys;
use corten_namespaces::sys::mount as kernel;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag};

use super::Child;
use crate::channel;
use crate::create::step::Terminal;
use crate::error::Result;
use crate::sys::process::replace_stdio;

impl Child {
    // ANCHOR: terminal
    /// Opens a pseudoterminal in the container's own devpts, its slave through the master and not
    /// by name (CVE-2025-52565), and sends the master to whoever waits on the console socket.
    pub(super) fn terminal(&mut self, terminal: &Terminal) -> Result<()> {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY;
        let master = self.root()?.open_at("/dev/pts/ptmx", flags, Mode::empty())?;
        let opened = || {
            sys::tty::unlock(master.as_raw_fd())?;
            let slave = sys::tty::open_peer(master.as_raw_fd())?;
            if let Some((rows, columns)) = terminal.size {
                sys::tty::set_size(slave.as_raw_fd(), rows, columns)?;
            }
            nix::unistd::fchown(&slave, Some(terminal.uid.into()), None)?;
            Ok::<_, Errno>(slave)
        };
        let slave: OwnedFd = opened().during("open a terminal")?;
        if terminal.console {
            let place = self.console().on("make", "/dev/console")?;
            let tree = kernel::clone_tree(slave.as_raw_fd(), c"", false);
            tree.and_then(|tree| kernel::move_mount(tree.as_fd(), place.as_raw_fd()))
                .on("mount the terminal on", "/dev/console")?;
        }
        channel::send_fd(terminal.socket.as_fd(), b"/dev/ptmx", master.as_fd())?;
        self.slave = Some(slave);
        Ok(())
    }
    // ANCHOR_END: terminal

    fn console(&self) -> nix::Result<OwnedFd> {
        let directory = || {
            self.root
                .as_ref()
                .ok_or(Errno::EBADF)?
                .resolve(Path::new("/dev"))
                .map_err(|_| Errno::ENOENT)
        };
        let dev = directory()?;
        match sys::mknodat(dev.as_raw_fd(), c"console", SFlag::S_IFREG.bits() | 0o600, 0) {
            // A link there would put the terminal in the place of what it leads to.
            Ok(()) | Err(Errno::EEXIST) => {
                let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let place = nix::fcntl::openat(&dev, c"console", flags, Mode::empty())?;
                let mode = nix::sys::stat::fstat(&place)?.st_mode;
                if mode & libc::S_IFMT == libc::S_IFLNK { Err(Errno::ELOOP) } else { Ok(place) }
            }
            Err(errno) => Err(errno),
        }
    }

    /// A session of its own: in the caller's, a program could type into the caller's terminal.
    pub(super) fn session(&self) -> Result<()> {
        match nix::unistd::setsid() {
            Ok(_) | Err(Errno::EPERM) => {}
            Err(errno) => Err(errno).during("start a session")?,
        }
        let Some(slave) = &self.slave else { return Ok(()) };
        sys::tty::make_controlling(slave.as_raw_fd()).during("take the controlling terminal")?;
        for number in 0..3 {
            replace_stdio(slave.as_fd(), number).during("take the terminal as standard input")?;
        }
        Ok(())
    }
}
