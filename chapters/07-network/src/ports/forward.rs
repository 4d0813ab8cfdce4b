//! Published ports without root: a process that listens in the host's network, and connects in the user's.
//!
//! Of root's engine the kernel redirects what comes in. Of a user's engine the bridges are in a network
//! namespace of the user's, where nothing comes in. So sockets that were made in the host's network are given to
//! a process in the user's: it takes connections and datagrams from the one side and makes and sends them at the
//! other. It lives as long as the endpoint's file is there.

use std::ffi::OsStr;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use corten_namespaces::rootless::outside;
use corten_runtime::shield;
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType,
    listen, recvmsg, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};

use super::{Protocol, Published, datagrams};
use crate::attach::Site;
use crate::error::{Context, Error, Result};

/// The name under which a program forwards ports.
pub const NAME: &str = "corten-ports";

/// How many sockets one message takes (SCM_MAX_FD is 253).
const MOST: usize = 128;

/// Which ports a user may listen at.
const FIRST_PORT: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";

/// What a forwarder is told; the sockets come in the same order.
#[derive(Debug, Serialize, Deserialize)]
struct Settings {
    /// It ends when this file is gone.
    endpoint: PathBuf,
    /// Where each socket leads.
    targets: Vec<(Protocol, SocketAddr)>,
}

/// What is said of a port that a user may not have.
pub(super) fn forbidden(place: String, port: u16) -> Error {
    let first = std::fs::read_to_string(FIRST_PORT).unwrap_or_default();
    let why = format!(
        "without root ports begin at {}: publish another one, or as root: sysctl \
         net.ipv4.ip_unprivileged_port_start={port}",
        first.trim()
    );
    Error::invalid(place, why)
}

/// Whether ports are published by such a process.
pub(super) fn is_needed() -> bool {
    outside::is_there()
}

// ANCHOR: begin
/// Starts a forwarder for the ports of an endpoint, whose file is `endpoint`; of no ports, none.
///
/// # Errors
/// Where one of them is another's by now, or no process can be made.
fn begin(published: &[Published], endpoint: &Path) -> Result<()> {
    if published.is_empty() || !is_needed() {
        return Ok(());
    }
    let mut sockets = Vec::new();
    for port in published {
        let at = SocketAddr::new(port.host, port.host_port);
        let made = super::reserve::outside(port.protocol, at).on("bind to", &port.place())?;
        let socket = made.ok_or_else(|| Error::invalid(port.place(), "cannot be listened at"))?;
        match port.protocol {
            Protocol::Tcp => listen(&socket, Backlog::MAXCONN).on("listen at", &port.place())?,
            _ => datagrams::ask_for_addresses(&socket, port.host.is_ipv4())?,
        }
        sockets.push(socket);
    }
    let target =
        |port: &Published| (port.protocol, SocketAddr::new(port.container, port.container_port));
    let targets = published.iter().map(target).collect();
    start(&Settings { endpoint: endpoint.to_owned(), targets }, &sockets)
}
// ANCHOR_END: begin

impl Site<'_> {
    /// Without root, ports are published by a process.
    pub(crate) fn forward(&self, ports: &[Published]) -> Result<()> {
        begin(ports, &self.places().1)
    }
}

fn start(settings: &Settings, sockets: &[OwnedFd]) -> Result<()> {
    if sockets.len() > MOST {
        return Err(Error::invalid("ports", format!("are more than {MOST} of one network")));
    }
    let (kind, flags) = (SockType::SeqPacket, SockFlag::SOCK_CLOEXEC);
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, kind, None, flags).during("make a socket pair")?;
    let program = shield::program(Path::new("/proc/self/exe"))?;
    let text = serde_json::to_string(settings).map_err(io::Error::from).during("write settings")?;
    let mut child = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()))
        .arg0(NAME)
        .arg(text)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .during("start a forwarder of ports")?;
    // Whoever lives longer than it collects it.
    std::thread::spawn(move || child.wait());
    let numbers: Vec<RawFd> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let (bytes, flags) = ([IoSlice::new(b"!")], MsgFlags::MSG_NOSIGNAL);
    sendmsg::<()>(ours.as_raw_fd(), &bytes, &rights, flags, None)
        .map(drop)
        .during("hand over the sockets")
}

/// Whether this process was started as a forwarder: then it is one, and its end is the process's.
pub fn as_forwarder() -> Option<ExitCode> {
    let mut arguments = std::env::args_os();
    if arguments.next()? != OsStr::new(NAME) {
        return None;
    }
    let settings = arguments.next()?;
    Some(match serve(settings.as_encoded_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    })
}

fn serve(settings: &[u8]) -> Result<()> {
    let _ = nix::unistd::setsid();
    let _ = std::fs::write("/proc/self/comm", NAME);
    let settings: Settings =
        serde_json::from_slice(settings).map_err(io::Error::from).during("read settings")?;
    let watch = Inotify::init(InitFlags::IN_CLOEXEC).during("make a watch")?;
    let events = AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_MOVE
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_ONLYDIR;
    let directory = settings.endpoint.parent().unwrap_or(Path::new("/"));
    watch.add_watch(directory, events).during("watch the endpoint")?;
    for (socket, (protocol, target)) in received()?.into_iter().zip(settings.targets) {
        std::thread::spawn(move || match protocol {
            Protocol::Udp => drop(datagrams::relay(socket.into(), target)),
            _ => accept(&socket.into(), target),
        });
    }
    while settings.endpoint.exists() {
        match watch.read_events() {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).during("wait for the endpoint's end"),
        }
    }
    Ok(())
}

/// The sockets, out of the message on standard input.
fn received() -> Result<Vec<OwnedFd>> {
    let mut bytes = [0];
    let mut space = nix::cmsg_space!([RawFd; MOST]);
    let mut vector = [IoSliceMut::new(&mut bytes)];
    let stdin = io::stdin();
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(stdin.as_fd().as_raw_fd(), &mut vector, Some(&mut space), flags)
        .during("receive the sockets")?;
    let mut sockets = Vec::new();
    for control in message.cmsgs().during("receive the sockets")? {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            sockets.extend(numbers.into_iter().map(crate::sys::received));
        }
    }
    Ok(sockets)
}

// ANCHOR: accept
/// Takes connections for as long as the process lives. Each has two threads, one for each direction.
fn accept(listener: &TcpListener, target: SocketAddr) {
    for connection in listener.incoming() {
        match connection {
            Ok(outer) => drop(std::thread::spawn(move || carry(outer, target))),
            // Too many open files: those that end make room.
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(50)),
        }
    }
}

fn carry(outer: TcpStream, target: SocketAddr) -> io::Result<()> {
    let inner = TcpStream::connect(target)?;
    let _ = outer.set_nodelay(true).and_then(|()| inner.set_nodelay(true));
    let (from, to) = (outer.try_clone()?, inner.try_clone()?);
    let there = std::thread::spawn(move || copy(&from, &to));
    copy(&inner, &outer);
    let _ = there.join();
    Ok(())
}

/// Until one end says that no more comes, which the other end is told.
fn copy(mut from: &TcpStream, mut to: &TcpStream) {
    let mut bytes = vec![0; 64 << 10];
    loop {
        match from.read(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(count) if count > 0 && to.write_all(&bytes[..count]).is_ok() => {}
            _ => break,
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    // Who cannot be written to any more is not read from either.
    let _ = from.shutdown(Shutdown::Read);
}
// ANCHOR_END: accept

/// Only TCP and UDP are forwarded.
pub(super) fn check(protocol: Protocol, place: &str) -> Result<()> {
    match protocol {
        Protocol::Tcp | Protocol::Udp => Ok(()),
        Protocol::Sctp if !is_needed() => Ok(()),
        Protocol::Sctp => Err(Error::invalid(
            place.to_owned(),
            "without root only ports of TCP and UDP can be published: run as root for this one",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_pass_both_ways_and_the_end_of_one_way_leaves_the_other() {
        let inner = TcpListener::bind("127.0.0.1:0").unwrap();
        let outer = TcpListener::bind("127.0.0.1:0").unwrap();
        let (at, target) = (outer.local_addr().unwrap(), inner.local_addr().unwrap());
        std::thread::spawn(move || accept(&outer, target));
        let server = std::thread::spawn(move || {
            let (mut stream, _) = inner.accept().unwrap();
            let mut heard = String::new();
            stream.read_to_string(&mut heard).unwrap();
            stream.write_all(heard.to_uppercase().as_bytes()).unwrap();
        });
        let mut client = TcpStream::connect(at).unwrap();
        client.write_all(b"hello").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "HELLO");
        server.join().unwrap();
    }
}
