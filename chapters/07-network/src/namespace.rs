//! A container's network namespace: made, kept without a process, and entered by descriptor.
//!
//! A namespace is entered by a thread, and a thread that is somewhere else must not go on with other
//! work: so a new thread does what has to be done inside and ends. What it brings back is a netlink
//! socket, which belongs to the namespace where it was opened, for as long as it is open.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use corten_namespaces::Namespace as Kind;
use corten_namespaces::namespace::persist;
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};

use crate::error::{At, Context, Error, Result};
use crate::netlink::{Socket, up};
use crate::store;

/// A network namespace that is open.
#[derive(Debug)]
pub struct Namespace {
    path: PathBuf,
    file: File,
    /// Opened inside.
    socket: Option<Socket>,
}

impl Namespace {
    // ANCHOR: create
    /// Makes one with a loopback interface that is up, and keeps it at `path`, whoever ends. What an
    /// earlier engine has left there goes first.
    ///
    /// # Errors
    /// `EPERM` without CAP_SYS_ADMIN; `ENOSPC` where /proc/sys/user/max_net_namespaces is reached.
    pub fn create(path: &Path) -> Result<Namespace> {
        store::directory(path.parent().unwrap_or(Path::new("/")))?;
        Namespace::release(path)?;
        let (file, socket) = apart(|| {
            unshare(CloneFlags::CLONE_NEWNET).during("unshare the network namespace")?;
            let mut socket = Socket::route()?;
            socket.burst(&[up("lo")])?;
            let own = nix::unistd::gettid().as_raw();
            persist(Kind::Net, own, path)?;
            Ok((Kind::Net.open(own)?, socket))
        })?;
        Ok(Namespace { path: path.to_owned(), file, socket: Some(socket) })
    }
    // ANCHOR_END: create

    /// Opens the one that is kept at `path`, or that a process is in: `/proc/PID/ns/net`.
    ///
    /// # Errors
    /// `ENOENT`.
    pub fn open(path: &Path) -> Result<Namespace> {
        let file = File::open(path).at("open the network namespace", path)?;
        Ok(Namespace { path: path.to_owned(), file, socket: None })
    }

    /// Where it is kept.
    pub fn path(&self) -> &Path {
        &self.path
    }

    // ANCHOR: release
    /// Keeps the namespace no longer; it ends with its last process, and the kernel takes it apart
    /// afterwards. One that is not kept is no error.
    ///
    /// # Errors
    /// Where it cannot be unmounted.
    pub fn release(path: &Path) -> Result<()> {
        match corten_namespaces::namespace::release(path) {
            Ok(()) => Ok(()),
            Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(()),
            // A file on which nothing was mounted yet.
            Err(error) if error.errno() == Some(Errno::EINVAL) => store::remove(path),
            Err(error) => Err(error.into()),
        }
    }
    // ANCHOR_END: release

    /// A socket that speaks to it.
    pub(crate) fn socket(&mut self) -> Result<&mut Socket> {
        if self.socket.is_none() {
            self.socket = Some(self.within(Socket::route)?);
        }
        self.socket.as_mut().ok_or_else(|| Error::invalid("namespace", "has no socket"))
    }

    // ANCHOR: within
    /// Does something inside, in a thread of its own.
    ///
    /// # Errors
    /// Where it cannot be entered, and what `body` gives.
    pub fn within<T: Send>(&self, body: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let file = &self.file;
        apart(move || {
            setns(file, CloneFlags::CLONE_NEWNET).during("enter the network namespace")?;
            body()
        })
    }
    // ANCHOR_END: within
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Runs `body` in a thread that ends with it.
fn apart<T: Send>(body: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(256 << 10).spawn_scoped(scope, body);
        let thread = thread.map_err(|error| {
            Error::path("start a thread for", Path::new("the network namespace"), error)
        })?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
