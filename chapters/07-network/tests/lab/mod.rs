//! What the tests of this chapter share: a host that is a network namespace of the test's own, another
//! machine on its wire, containers, and servers that say who asks them.
// Each test target compiles this module, and none uses all of it.
#![allow(dead_code, clippy::unwrap_used)]

pub mod frame;
pub mod sys;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use corten_network::network::Request;
use corten_network::ports::{Publish, parse};
use corten_network::{Endpoint, EndpointRequest, Namespace, Network, Networks, Result};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{Backlog, SockaddrStorage, bind, connect, listen, setsockopt, sockopt};
use nix::sys::time::TimeVal;
use tempfile::TempDir;

/// How long is waited for what must come.
pub const LIMIT: Duration = Duration::from_secs(20);

/// How long is waited for what must not come.
pub const SILENCE: Duration = Duration::from_millis(300);

/// The addresses of the host and of the other machine on the wire between them.
pub const HOST: &str = "192.0.2.1";
pub const HOST6: &str = "2001:db8::1";
pub const MACHINE: &str = "192.0.2.2";
pub const MACHINE6: &str = "2001:db8::2";

/// A host.
pub struct Lab {
    dir: TempDir,
    pub networks: Networks,
}

impl Lab {
    /// Makes the calling thread, and all that it starts, a host of its own.
    pub fn new() -> Lab {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        ip("link set lo up");
        let dir = TempDir::with_prefix("corten-net-").unwrap();
        let networks = open(dir.path());
        Lab { dir, networks }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The networks as another process would open them.
    pub fn open(&self) -> Networks {
        open(self.dir.path())
    }

    pub fn network(&self, name: &str) -> Network {
        self.network_with(name, |_| {})
    }

    pub fn network_with(&self, name: &str, change: impl FnOnce(&mut Request)) -> Network {
        let mut request = Request { name: name.into(), ..Request::default() };
        change(&mut request);
        self.networks.create(&request).unwrap()
    }

    /// A namespace that nothing is connected to.
    pub fn container(&self, name: &str) -> Container {
        let path = self.dir.path().join("netns").join(name);
        let namespace = Namespace::create(&path).unwrap();
        Container { name: name.into(), path, namespace }
    }

    /// A container on a network.
    pub fn on(&self, network: &str, name: &str, ports: &[&str]) -> (Container, Endpoint) {
        let container = self.container(name);
        let endpoint = self.connect(network, &container, ports).unwrap();
        (container, endpoint)
    }

    pub fn connect(
        &self,
        network: &str,
        container: &Container,
        ports: &[&str],
    ) -> Result<Endpoint> {
        self.networks.connect(network, &container.request(ports))
    }

    /// Another machine on this host's wire, whose way to everywhere is this host.
    pub fn machine(&self) -> Container {
        let machine = self.container("machine");
        let pin = machine.path.display();
        sh(&format!(
            "ip link add eth0 type veth peer name tmp0 && \
             ip address add {HOST}/24 dev eth0 && ip address add {HOST6}/64 dev eth0 nodad && \
             ip link set eth0 up && exec 3<{pin} && ip link set tmp0 netns /proc/self/fd/3"
        ));
        machine.ip("link set tmp0 name eth0");
        machine.ip(&format!("address add {MACHINE}/24 dev eth0"));
        machine.ip(&format!("address add {MACHINE6}/64 dev eth0 nodad"));
        machine.ip("link set eth0 up");
        machine.ip(&format!("route add default via {HOST}"));
        machine.ip(&format!("-6 route add default via {HOST6}"));
        machine
    }

    /// The links of the host.
    pub fn links(&self) -> Vec<String> {
        let listing = sh("ip -o link");
        let name = |line: &str| line.split([':', '@']).nth(1).unwrap_or("").trim().to_owned();
        listing.lines().map(name).collect()
    }

    /// Waits until the kernel has taken apart what was released.
    pub fn until_links(&self, what: &str, mut holds: impl FnMut(&[String]) -> bool) {
        until(what, || holds(&self.links()));
    }
}

impl Drop for Lab {
    /// A directory in which something is mounted could not be removed.
    fn drop(&mut self) {
        for entry in std::fs::read_dir(self.dir().join("netns")).into_iter().flatten().flatten() {
            let _ = Namespace::release(&entry.path());
        }
    }
}

fn open(dir: &Path) -> Networks {
    Networks::open(&dir.join("root"), &dir.join("state")).unwrap()
}

/// Anything with a network namespace of its own.
pub struct Container {
    pub name: String,
    pub path: PathBuf,
    pub namespace: Namespace,
}

impl Container {
    /// Its id.
    pub fn id(&self) -> String {
        let hex: String = self.name.bytes().map(|byte| format!("{byte:02x}")).collect();
        format!("{hex:0<64}")
    }

    pub fn request(&self, ports: &[&str]) -> EndpointRequest {
        EndpointRequest {
            container: self.id(),
            name: self.name.clone(),
            namespace: self.path.clone(),
            ports: publish(ports),
            ..EndpointRequest::default()
        }
    }

    /// Does something inside.
    pub fn within<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        self.namespace.within(|| Ok(body())).unwrap()
    }

    pub fn ip(&self, arguments: &str) -> String {
        self.within(|| ip(arguments))
    }

    pub fn sh(&self, script: &str) -> String {
        self.within(|| sh(script))
    }

    /// Serves as [`serve`] does.
    pub fn serve(&self, at: &str) -> Server {
        self.within(|| serve(at))
    }

    /// Asks as [`ask`] does.
    pub fn ask(&self, server: SocketAddr) -> Option<String> {
        self.within(|| ask(server))
    }

    pub fn ask_udp(&self, server: SocketAddr) -> Option<String> {
        self.within(|| ask_udp(server))
    }

    pub fn ask_sctp(&self, server: SocketAddr) -> Option<String> {
        self.within(|| ask_sctp(server))
    }
}

pub fn publish(ports: &[&str]) -> Vec<Publish> {
    ports.iter().flat_map(|text| parse::publish(text).unwrap()).collect()
}

pub fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

pub fn v4(endpoint: &Endpoint) -> IpAddr {
    endpoint.ipv4.unwrap().addr()
}

pub fn v6(endpoint: &Endpoint) -> IpAddr {
    endpoint.ipv6.unwrap().addr()
}

/// Runs `ip`, which must succeed.
pub fn ip(arguments: &str) -> String {
    sh(&format!("ip {arguments}"))
}

/// Runs a script, which must succeed.
#[track_caller]
pub fn sh(script: &str) -> String {
    let output = run(script);
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub fn run(script: &str) -> Output {
    // Not sh: in the lab VM that is busybox, which takes its own `ip` before iproute2's.
    Command::new("bash").args(["-c", script]).output().unwrap()
}

/// A server that ends with its value.
pub struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    pub port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// Listens at `tcp:ADDRESS:PORT`, `sctp:ADDRESS:PORT` or `udp:ADDRESS:PORT` of the calling thread's
/// namespace, and answers each with its own address as the server sees it.
pub fn serve(place: &str) -> Server {
    let (kind, address) = place.split_once(':').unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&stop);
    let (thread, port) = if kind != "udp" {
        let listener = match kind {
            "sctp" => listen_sctp(address.parse().unwrap()),
            _ => TcpListener::bind(address).unwrap(),
        };
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let body = move || {
            while !ended.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((mut stream, peer)) => drop(stream.write_all(peer.to_string().as_bytes())),
                    Err(_) => std::thread::sleep(Duration::from_millis(2)),
                }
            }
        };
        (std::thread::spawn(body), port)
    } else {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let port = socket.local_addr().unwrap().port();
        let body = move || {
            let mut buffer = [0; 2048];
            while !ended.load(Ordering::Relaxed) {
                if let Ok((_, peer)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(peer.to_string().as_bytes(), peer);
                }
            }
        };
        (std::thread::spawn(body), port)
    };
    Server { stop, thread: Some(thread), port }
}

/// Connects, and gives what the server says: the address that it sees. `None` where nobody answers.
pub fn ask(server: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&server, Duration::from_millis(1500)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// The same by UDP.
pub fn ask_udp(server: SocketAddr) -> Option<String> {
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).ok()?;
    socket.set_read_timeout(Some(SILENCE)).ok()?;
    socket.connect(server).ok()?;
    let mut buffer = [0; 2048];
    for _ in 0..8 {
        socket.send(b"who am I").ok()?;
        if let Ok(length) = socket.recv(&mut buffer) {
            return String::from_utf8(buffer[..length].to_vec()).ok();
        }
    }
    None
}

/// A listener of SCTP; std's type knows no protocol, but what a stream can do.
fn listen_sctp(at: SocketAddr) -> TcpListener {
    let socket = sys::sctp(at.is_ipv6()).unwrap();
    bind(socket.as_raw_fd(), &SockaddrStorage::from(at)).unwrap();
    listen(&socket, Backlog::new(8).unwrap()).unwrap();
    socket.into()
}

/// Asks by SCTP: what it sends back is asked for as in [`ask`].
pub fn ask_sctp(server: SocketAddr) -> Option<String> {
    let socket = sys::sctp(server.is_ipv6()).unwrap();
    // Also of connect(2) that is the limit.
    setsockopt(&socket, sockopt::SendTimeout, &TimeVal::new(2, 0)).unwrap();
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(5, 0)).unwrap();
    connect(socket.as_raw_fd(), &SockaddrStorage::from(server)).ok()?;
    let mut text = String::new();
    TcpStream::from(socket).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The address in what a server says.
pub fn host_of(answer: Option<String>) -> Option<IpAddr> {
    Some(answer?.parse::<SocketAddr>().unwrap().ip())
}

/// Waits until `condition` holds.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < corten_tier::patience(LIMIT), "{what}: not after {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether the filters of IPv6 see what passes a bridge (br_netfilter), from now on; `false` where the kernel
/// has no such thing.
pub fn bridged_ipv6(on: bool) -> bool {
    let setting = "/proc/sys/net/bridge/bridge-nf-call-ip6tables";
    std::fs::write(setting, if on { "1" } else { "0" }).is_ok()
}

/// The files below a directory, with what is in those that are small.
pub fn tree(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path.display().to_string());
            }
        }
    }
    found.sort();
    found
}

/// The binary under test: beside the tests on the host, in the PATH of the lab VM.
pub fn program() -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_corten-network"));
    if built.exists() { built.to_owned() } else { "corten-network".into() }
}
