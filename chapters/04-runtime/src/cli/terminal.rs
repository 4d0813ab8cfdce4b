//! A container in the foreground: its terminal, signals, and its end.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use corten_namespaces::error::Context;
use corten_namespaces::spawn::Container as Foreground;
use corten_namespaces::{Exit, Relay, sys};

use crate::channel;
use crate::error::{Error, Result};

/// What stands between a person and a container.
#[derive(Debug)]
pub struct Front {
    /// Where the master of the terminal comes in, and where the child sends it.
    sockets: Option<(OwnedFd, OwnedFd)>,
    /// Signals, from before the container is there; none where nobody waits for its end.
    relay: Option<Relay>,
}

impl Front {
    /// Prepares for a terminal, where one is wanted and no console socket takes it.
    ///
    /// # Errors
    /// A detached container with a terminal needs somebody who holds its master.
    pub fn prepare(terminal: bool, detach: bool) -> Result<Front> {
        use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
        let relay = if detach { None } else { Some(Relay::new()?) };
        if !terminal {
            return Ok(Front { sockets: None, relay });
        }
        if detach {
            let why = "cannot be detached with a terminal: use --console-socket";
            return Err(Error::invalid("the container", why));
        }
        let (kind, flags) = (SockType::Stream, SockFlag::SOCK_CLOEXEC);
        let pair =
            socketpair(AddressFamily::Unix, kind, None, flags).during("make a socket pair")?;
        Ok(Front { sockets: Some(pair), relay })
    }

    /// The socket for the child.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn socket(&self) -> Result<Option<OwnedFd>> {
        let copy = |(_, theirs): &(OwnedFd, OwnedFd)| theirs.try_clone();
        Ok(self.sockets.as_ref().map(copy).transpose().during("copy a socket")?)
    }

    /// Waits for the process behind `pidfd`, passing on keys, output and signals; gives its exit
    /// status as shells count it.
    ///
    /// # Errors
    /// Where the terminal cannot be had.
    pub fn wait(self, pidfd: BorrowedFd<'_>, pid: libc::pid_t) -> Result<u8> {
        let Some(relay) = self.relay else { return Ok(0) };
        let terminal = match self.sockets {
            Some((ours, theirs)) => {
                drop(theirs);
                channel::receive_fd(ours.as_fd())?
            }
            None => None,
        };
        if let Some(master) = &terminal
            && let Ok((rows, columns)) = sys::tty::size(libc::STDIN_FILENO)
        {
            // A terminal of the default size is better than none.
            let _ = sys::tty::set_size(master.as_raw_fd(), rows, columns);
        }
        let pidfd = pidfd.try_clone_to_owned().during("keep the pidfd")?;
        let mut container = Foreground::adopt(pidfd, pid, terminal);
        let exit: Exit = relay.run(&mut container)?;
        Ok(exit.status())
    }
}
