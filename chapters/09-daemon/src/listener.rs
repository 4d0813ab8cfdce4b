//! Where clients come in: Unix sockets, TCP, and what systemd has opened.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use corten_namespaces::rootless;
use nix::sys::socket::{
    AddressFamily, SockaddrLike, SockaddrStorage, getsockname, setsockopt, sockopt,
};
use nix::unistd::Group;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio_rustls::TlsAcceptor;

use crate::connection::Connection;
use crate::error::{Error, Result};

/// Seconds after which a silent client's machine is asked whether the connection is still there.
const SILENT: u32 = 15;

/// A place, as `-H` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// `unix://PATH`.
    Unix(PathBuf),
    /// `tcp://ADDRESS:PORT`.
    Tcp(SocketAddr),
    /// `fd://`: the sockets that systemd passes on.
    Activated,
}

impl FromStr for Host {
    type Err = Error;

    fn from_str(text: &str) -> Result<Host> {
        let wrong = |why: &str| Error::invalid(format!("-H {text}"), why);
        if let Some(path) = text.strip_prefix("unix://") {
            return match path.starts_with('/') {
                true => Ok(Host::Unix(path.into())),
                false => Err(wrong("is not absolute: unix:///run/corten.sock")),
            };
        }
        if text == "fd://" || text.starts_with("fd://") {
            return Ok(Host::Activated);
        }
        let Some(address) = text.strip_prefix("tcp://") else {
            return Err(wrong("is neither unix://PATH nor tcp://ADDRESS:PORT nor fd://"));
        };
        let address = address.replace("localhost:", "127.0.0.1:");
        address
            .parse()
            .map(Host::Tcp)
            .map_err(|_| wrong("has no ADDRESS:PORT, as in 127.0.0.1:2376"))
    }
}

enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener, Option<TlsAcceptor>),
}

/// A socket that clients connect to. Dropped, a Unix socket that was made here is removed.
pub struct Listener {
    socket: Socket,
    made: Option<PathBuf>,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("made", &self.made).finish_non_exhaustive()
    }
}

/// A client at the door: with TLS it must say hello first.
pub struct Coming(Door);

enum Door {
    Open(Connection),
    Closed(TcpStream, TlsAcceptor),
}

impl Coming {
    /// Lets it in.
    ///
    /// # Errors
    /// Where it has no certificate, or one that is not trusted.
    pub async fn ready(self) -> io::Result<Connection> {
        match self.0 {
            Door::Open(connection) => Ok(connection),
            Door::Closed(stream, tls) => {
                tls.accept(stream).await.map(Box::new).map(Connection::Tls)
            }
        }
    }
}

impl Listener {
    // ANCHOR: unix
    /// A Unix socket for the members of `group`: mode 0660. One that nobody listens at any more is
    /// replaced.
    ///
    /// # Errors
    /// Where somebody listens there, or it cannot be made.
    pub fn unix(path: &Path, group: Option<&str>) -> Result<Listener> {
        let at = || format!("unix://{}", path.display());
        let listen = |source| Error::Listen { at: at(), source };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(Error::path("make the directory", parent))?;
        }
        if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(listen(io::ErrorKind::AddrInUse.into()));
            }
            std::fs::remove_file(path).map_err(Error::path("remove the old socket", path))?;
        }
        // Made under another name, so that nobody connects before its mode is right.
        let new = path.with_extension("new");
        let _ = std::fs::remove_file(&new);
        let socket = std::os::unix::net::UnixListener::bind(&new).map_err(listen)?;
        let mode = std::fs::Permissions::from_mode(0o660);
        let owner = owner(group)?;
        let ready = std::os::unix::fs::chown(&new, Some(0), owner)
            .or_else(|why| if nix::unistd::geteuid().is_root() { Err(why) } else { Ok(()) })
            .and_then(|()| std::fs::set_permissions(&new, mode))
            .and_then(|()| std::fs::rename(&new, path));
        ready.map_err(Error::path("make the socket", path))?;
        socket.set_nonblocking(true).map_err(listen)?;
        let socket = UnixListener::from_std(socket).map_err(listen)?;
        Ok(Listener { socket: Socket::Unix(socket), made: Some(path.to_owned()) })
    }
    // ANCHOR_END: unix

    /// A TCP socket, with TLS or without.
    ///
    /// # Errors
    /// Where the address is another's.
    pub fn tcp(address: SocketAddr, tls: Option<Arc<rustls::ServerConfig>>) -> Result<Listener> {
        let listen = |source| Error::Listen { at: format!("tcp://{address}"), source };
        // In the host's network, also where the containers of a user's daemon are in another one.
        let bind = move || std::net::TcpListener::bind(address);
        let socket = rootless::outside::outside(bind).map_err(listen)?;
        socket.set_nonblocking(true).map_err(listen)?;
        let socket = TcpListener::from_std(socket).map_err(listen)?;
        Ok(Listener { socket: Socket::Tcp(socket, tls.map(TlsAcceptor::from)), made: None })
    }

    /// The address of a TCP socket.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(socket, _) => socket.local_addr().ok(),
            Socket::Unix(_) => None,
        }
    }

    /// The sockets that systemd has opened for this process (sd_listen_fds(3)).
    ///
    /// # Errors
    /// Where one is no listening socket, or a TCP one comes without TLS.
    pub fn activated(tls: Option<&Arc<rustls::ServerConfig>>) -> Result<Vec<Listener>> {
        let variable =
            |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<i32>().ok());
        let own = i32::try_from(std::process::id()).ok();
        let count = match variable("LISTEN_PID") {
            Some(pid) if Some(pid) == own => variable("LISTEN_FDS").unwrap_or(0),
            _ => 0,
        };
        (0..count).map(|at| Listener::taken(inherited(3 + at), tls)).collect()
    }

    fn taken(socket: OwnedFd, tls: Option<&Arc<rustls::ServerConfig>>) -> Result<Listener> {
        use std::os::fd::AsRawFd;
        let listen = |source| Error::Listen { at: "fd://".to_owned(), source };
        let flags = nix::fcntl::FdFlag::FD_CLOEXEC;
        nix::fcntl::fcntl(&socket, nix::fcntl::FcntlArg::F_SETFD(flags))
            .map_err(|errno| listen(errno.into()))?;
        let address: SockaddrStorage =
            getsockname(socket.as_raw_fd()).map_err(|errno| listen(errno.into()))?;
        let socket = if address.family() == Some(AddressFamily::Unix) {
            let socket = std::os::unix::net::UnixListener::from(socket);
            socket.set_nonblocking(true).map_err(listen)?;
            Socket::Unix(UnixListener::from_std(socket).map_err(listen)?)
        } else {
            let Some(tls) = tls else {
                return Err(Error::invalid("fd://", "a TCP socket needs --tlsverify"));
            };
            let socket = std::net::TcpListener::from(socket);
            socket.set_nonblocking(true).map_err(listen)?;
            let socket = TcpListener::from_std(socket).map_err(listen)?;
            Socket::Tcp(socket, Some(TlsAcceptor::from(Arc::clone(tls))))
        };
        Ok(Listener { socket, made: None })
    }

    /// The next client.
    ///
    /// # Errors
    /// `EMFILE` and the like.
    pub async fn accept(&self) -> io::Result<Coming> {
        Ok(Coming(match &self.socket {
            Socket::Unix(socket) => Door::Open(Connection::Unix(socket.accept().await?.0)),
            Socket::Tcp(socket, tls) => {
                let stream = socket.accept().await?.0;
                // Keys that are typed go one by one.
                stream.set_nodelay(true)?;
                keep_alive(&stream)?;
                match tls {
                    Some(tls) => Door::Closed(stream, tls.clone()),
                    None => Door::Open(Connection::Tcp(stream)),
                }
            }
        }))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.made {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Lets the kernel find out when a client is gone that has only been silent: one that waits for the end of
/// a container may be so for days, and of its machine's end nothing is heard (tcp(7)).
fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &SILENT)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &SILENT)?;
    Ok(())
}

/// A descriptor that was passed on to this process.
fn inherited(number: i32) -> OwnedFd {
    crate::sys::inherited(number)
}

/// The group of the socket: the one that was asked for, or `corten` or `docker` where there is one.
fn owner(group: Option<&str>) -> Result<Option<u32>> {
    let find = |name: &str| Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw());
    match group {
        Some("") => Ok(None),
        Some(name) => match name.parse().ok().or_else(|| find(name)) {
            Some(gid) => Ok(Some(gid)),
            None => Err(Error::invalid(format!("--group {name}"), "there is no such group")),
        },
        // A user's daemon is nobody else's.
        None if rootless::inside() => Ok(None),
        None => Ok(find("corten").or_else(|| find("docker"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_kernel_looks_whether_a_silent_client_is_still_there() {
        let listener = Listener::tcp(([127, 0, 0, 1], 0).into(), None).unwrap();
        let _client = TcpStream::connect(listener.address().unwrap()).await.unwrap();
        let Coming(Door::Open(Connection::Tcp(stream))) = listener.accept().await.unwrap() else {
            panic!("the connection is no TCP without TLS");
        };
        assert!(nix::sys::socket::getsockopt(&stream, sockopt::KeepAlive).unwrap());
    }

    #[test]
    fn hosts_are_read_as_docker_writes_them() {
        let unix = "unix:///run/corten.sock".parse::<Host>().unwrap();
        assert_eq!(unix, Host::Unix("/run/corten.sock".into()));
        let tcp = "tcp://127.0.0.1:2376".parse::<Host>().unwrap();
        assert_eq!(tcp, Host::Tcp(([127, 0, 0, 1], 2376).into()));
        assert_eq!("fd://".parse::<Host>().unwrap(), Host::Activated);
        for bad in ["unix://run", "tcp://x", "http://1.2.3.4:1", ""] {
            assert!(bad.parse::<Host>().is_err(), "{bad}");
        }
    }
}
