//! A machine of its own: a network namespace as the host, others as containers, files that say who
//! is attached, and resolvers that do what a test wants.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use corten_network::Endpoint;
use corten_network::names::{Names, Report};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use serde_json::{Value, json};

/// The program under test: beside the tests on the host, in the PATH of the lab VM.
fn program() -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_corten-network"));
    if built.exists() {
        return built.to_path_buf();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|place| place.join("corten-network"));
    places.find(|place| place.exists()).expect("corten-network")
}

/// Waits until `condition` holds.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}: not within 30 s");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub struct Lab {
    base: tempfile::TempDir,
    pub names: Names,
}

impl Lab {
    /// A host without a network: what the calling thread and its children see from now on.
    pub fn new() -> Lab {
        let base = tempfile::Builder::new().prefix("corten-names-").tempdir().unwrap();
        // State belongs on a tmpfs, as /run is.
        mount(Some("tmpfs"), base.path(), Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        for place in ["root/networks", "state/networks", "netns"] {
            fs::create_dir_all(base.path().join(place)).unwrap();
        }
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        corten_namespaces::sys::loopback_up().unwrap();
        let names = Names::new(&base.path().join("root"), &base.path().join("state"))
            .with_program(&program())
            .with_resolv_conf(&base.path().join("resolv.conf"));
        Lab { base, names }
    }

    pub fn path(&self, place: &str) -> PathBuf {
        self.base.path().join(place)
    }

    /// The host's resolvers.
    pub fn resolvers(&self, addresses: &[&str]) {
        let lines: String = addresses.iter().map(|it| format!("nameserver {it}\n")).collect();
        fs::write(self.path("new"), lines).unwrap();
        fs::rename(self.path("new"), self.path("resolv.conf")).unwrap();
    }

    /// Makes a network; its id.
    pub fn network(&self, name: &str, internal: bool) -> String {
        let id = format!("{name:0<64}").replace(|c: char| !c.is_ascii_alphanumeric(), "0");
        let text = json!({"Name": name, "Id": id, "Internal": internal}).to_string();
        fs::write(self.path(&format!("root/networks/{id}.json")), text).unwrap();
        fs::create_dir_all(self.path(&format!("state/networks/{id}/endpoints"))).unwrap();
        id
    }

    /// Makes a container, in no network yet.
    pub fn container(&self, name: &str) -> Container {
        let id = format!("{name:f<64}");
        let pinned = self.path("netns").join(&id);
        let namespace = std::thread::scope(|scope| {
            let make = || {
                unshare(CloneFlags::CLONE_NEWNET).unwrap();
                corten_namespaces::sys::loopback_up().unwrap();
                let own = Path::new("/proc/thread-self/ns/net");
                fs::write(&pinned, "").unwrap();
                mount(Some(own), &pinned, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
                OwnedFd::from(fs::File::open(&pinned).unwrap())
            };
            scope.spawn(make).join().unwrap()
        });
        Container { id, name: name.to_owned(), pinned, namespace }
    }

    fn endpoint_file(&self, network: &str, container: &Container) -> PathBuf {
        self.path(&format!("state/networks/{network}/endpoints/{}.json", container.id))
    }

    /// Writes an endpoint's file, as an engine does, and tells nobody.
    pub fn write(&self, network: &str, container: &Container, address: &str, more: Value) {
        let endpoint = Endpoint {
            container: container.id.clone(),
            name: container.name.clone(),
            ipv4: Some(format!("{address}/16").parse().unwrap()),
            namespace: container.pinned.clone(),
            ..Endpoint::default()
        };
        let mut record = serde_json::to_value(endpoint).unwrap();
        record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fs::write(self.path("new"), record.to_string()).unwrap();
        fs::rename(self.path("new"), self.endpoint_file(network, container)).unwrap();
    }

    /// Attaches it, as an engine does.
    pub fn attach(&self, network: &str, container: &Container, address: &str, more: Value) {
        self.write(network, container, address, more);
        let report = self.names.announce(network).unwrap();
        assert!(report.failed.is_empty(), "{report:?}");
    }

    pub fn remove(&self, network: &str, container: &Container) {
        fs::remove_file(self.endpoint_file(network, container)).unwrap();
    }

    pub fn detach(&self, network: &str, container: &Container) -> Report {
        self.remove(network, container);
        self.names.announce(network).unwrap()
    }

    pub fn status(&self, network: &str) -> Report {
        self.names.status(network).unwrap().expect("no server")
    }

    /// Where the container can ask, by UDP and by TCP.
    pub fn ports(&self, network: &str, container: &Container) -> (u16, u16) {
        self.status(network).served[&container.id]
    }

    /// A container with its client, alone in a network.
    pub fn single(&self, network: &str) -> (Container, Client) {
        let container = self.container("web");
        self.attach(network, &container, "10.0.0.2", json!({}));
        let client = self.client(network, &container);
        (container, client)
    }

    /// Moves a device from one container to another.
    pub fn hand_over(from: &Container, device: &str, to: &Container) {
        let target = to.pinned.display();
        from.inside(|| ip(&format!("link set {device} netns {target}")));
    }

    pub fn client(&self, network: &str, container: &Container) -> Client {
        let (udp, tcp) = self.ports(network, container);
        Lab::client_at(container, udp, tcp)
    }

    /// One that asks as programs do, without knowing of ports.
    pub fn usual_client(container: &Container) -> Client {
        Lab::client_at(container, 53, 53)
    }

    fn client_at(container: &Container, udp: u16, tcp: u16) -> Client {
        let inside = container.inside(|| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.connect((Ipv4Addr::new(127, 0, 0, 11), udp)).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            socket
        });
        Client { socket: inside, tcp, namespace: container.namespace.try_clone().unwrap() }
    }
}

impl Drop for Lab {
    /// Without endpoints the servers end.
    fn drop(&mut self) {
        let networks = fs::read_dir(self.path("state/networks")).unwrap();
        for network in networks.flatten() {
            let _ = fs::remove_dir_all(network.path().join("endpoints"));
        }
        let begun = Instant::now();
        let names = self.path("state/names");
        let any = || fs::read_dir(&names).is_ok_and(|mut entries| entries.next().is_some());
        while any() && begun.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = nix::mount::umount2(self.base.path(), nix::mount::MntFlags::MNT_DETACH);
    }
}

pub struct Container {
    pub id: String,
    name: String,
    pub pinned: PathBuf,
    namespace: OwnedFd,
}

impl Container {
    /// One that has no namespace of its own and a name only.
    pub fn sharing(other: &Container, name: &str) -> Container {
        let id = format!("{name:f<64}");
        let namespace = other.namespace.try_clone().unwrap();
        Container { id, name: name.to_owned(), pinned: other.pinned.clone(), namespace }
    }

    /// Does something as a process of the container would.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(&self.namespace, work)
    }
}

fn inside<T: Send>(namespace: &OwnedFd, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let entered = scope.spawn(|| {
            setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
            work()
        });
        entered.join().unwrap()
    })
}

/// A question.
pub fn question(id: u16, name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.to_vec().unwrap()
}

pub fn with_payload(question: &[u8], payload: u16) -> Vec<u8> {
    let mut message = Message::from_vec(question).unwrap();
    let mut edns = Edns::new();
    edns.set_max_payload(payload);
    message.set_edns(edns);
    message.to_vec().unwrap()
}

/// A process in a container that has questions.
pub struct Client {
    pub socket: UdpSocket,
    pub tcp: u16,
    namespace: OwnedFd,
}

impl Client {
    /// Sends a packet; what comes back.
    pub fn exchange(&self, packet: &[u8]) -> Message {
        self.socket.send(packet).unwrap();
        self.receive().expect("no answer")
    }

    pub fn receive(&self) -> Option<Message> {
        let mut buffer = [0; 65536];
        let length = self.socket.recv(&mut buffer).ok()?;
        Some(Message::from_vec(&buffer[..length]).unwrap())
    }

    pub fn ask(&self, name: &str, kind: RecordType) -> Message {
        let answer = self.exchange(&question(77, name, kind));
        assert_eq!(answer.metadata.id, 77);
        answer
    }

    pub fn connect(&self) -> TcpStream {
        let stream = inside(&self.namespace, || TcpStream::connect(("127.0.0.11", self.tcp)));
        let stream = stream.unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    /// The addresses of a name.
    pub fn addresses(&self, name: &str) -> Vec<String> {
        let answer = self.ask(name, RecordType::A);
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError, "{name}");
        addresses(&answer)
    }

    pub fn code(&self, name: &str) -> ResponseCode {
        self.ask(name, RecordType::A).metadata.response_code
    }
}

pub fn addresses(answer: &Message) -> Vec<String> {
    answer.answers.iter().map(|record| record.data.to_string()).collect()
}

/// Sends a question over a connection, and takes the answer.
pub fn exchange_stream(stream: &mut TcpStream, packet: &[u8]) -> Message {
    stream.write_all(&framed(packet)).unwrap();
    receive_stream(stream).expect("no answer")
}

pub fn framed(packet: &[u8]) -> Vec<u8> {
    [&(packet.len() as u16).to_be_bytes()[..], packet].concat()
}

pub fn receive_stream(stream: &mut TcpStream) -> Option<Message> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut packet = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut packet).ok()?;
    Some(Message::from_vec(&packet).unwrap())
}

/// A resolver of the host's. It answers questions of both transports as it is told; an answer of
/// no bytes is none.
pub struct Resolver {
    pub asked: Arc<AtomicUsize>,
}

impl Resolver {
    pub fn new(
        address: &str,
        answer: impl Fn(&Message, bool) -> Vec<Vec<u8>> + Send + Sync + 'static,
    ) -> Resolver {
        let answer = Arc::new(answer);
        let asked = Arc::new(AtomicUsize::new(0));
        let udp = UdpSocket::bind((address, 53)).unwrap();
        let tcp = TcpListener::bind((address, 53)).unwrap();
        let (of_udp, count) = (answer.clone(), asked.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, peer)) = udp.recv_from(&mut buffer) {
                count.fetch_add(1, Ordering::SeqCst);
                let asked = Message::from_vec(&buffer[..length]).unwrap();
                for answer in of_udp(&asked, false) {
                    let _ = udp.send_to(&answer, peer);
                }
            }
        });
        let count = asked.clone();
        std::thread::spawn(move || {
            for mut stream in tcp.incoming().flatten() {
                if let Some(asked) = receive_stream(&mut stream) {
                    count.fetch_add(1, Ordering::SeqCst);
                    for answer in answer(&asked, true) {
                        let _ = stream.write_all(&framed(&answer));
                    }
                }
            }
        });
        Resolver { asked }
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// One that says 192.0.2.1 to everything.
    pub fn plain(address: &str) -> Resolver {
        Resolver::new(address, |asked, _| vec![reply(asked, &["192.0.2.1"])])
    }

    /// One that never says anything.
    pub fn silent(address: &str) -> Resolver {
        Resolver::new(address, |_, _| Vec::new())
    }

    /// One that says that it cannot.
    pub fn failing(address: &str, code: ResponseCode) -> Resolver {
        Resolver::new(address, move |asked, _| {
            let mut message = Message::from_vec(&reply(asked, &[])).unwrap();
            message.metadata.response_code = code;
            vec![message.to_vec().unwrap()]
        })
    }
}

/// An answer with these addresses.
pub fn reply(asked: &Message, addresses: &[&str]) -> Vec<u8> {
    let mut message = asked.clone().into_response();
    message.metadata.recursion_available = true;
    let name = message.queries[0].name().clone();
    for address in addresses {
        let data = RData::A(A(address.parse().unwrap()));
        message.add_answer(Record::from_rdata(name.clone(), 60, data));
    }
    message.to_vec().unwrap()
}

/// Runs `ip`, in the network namespace of the calling thread.
pub fn ip(arguments: &str) {
    let status = std::process::Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}
