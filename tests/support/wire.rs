//! Another machine on the wire of the test's host: a network namespace of its own, and those who ask
//! and answer in namespaces.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The host's addresses on the wire, and the machine's.
pub const HOST: &str = "192.0.2.1";
pub const HOST6: &str = "2001:db8::1";
pub const MACHINE: &str = "192.0.2.2";

/// For how long an answer is waited for that may never come.
pub const SILENCE: Duration = Duration::from_millis(700);

/// The other machine. It ends with the value.
pub struct Machine(Child);

/// Runs `script`, which must go well. busybox's shell has an `ip` of its own.
#[track_caller]
pub fn sh(script: &str) -> String {
    let output = Command::new("bash").args(["-ec", script]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

impl Machine {
    /// Needs [`super::own_network`].
    pub fn new() -> Machine {
        let mut command = Command::new("unshare");
        let child = command.args(["--net", "sh", "-c", "echo; exec sleep 100000"]);
        let mut child = Machine(child.stdout(Stdio::piped()).spawn().unwrap());
        let mut ready = [0];
        child.0.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        let pid = child.0.id();
        sh(&format!(
            "ip link add wire type veth peer name eth0 netns {pid}
             ip address add {HOST}/24 dev wire; ip address add {HOST6}/64 dev wire nodad
             ip link set wire up
             nsenter --net=/proc/{pid}/ns/net bash -ec '
                ip link set lo up; ip address add {MACHINE}/24 dev eth0
                ip address add 2001:db8::2/64 dev eth0 nodad; ip link set eth0 up
                ip route add default via {HOST}; ip route add default via {HOST6}'"
        ));
        child
    }

    /// Its network namespace.
    pub fn namespace(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.0.id()).into()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Does something in a network namespace, in a thread that ends with it.
pub fn within<T: Send>(namespace: &Path, body: impl FnOnce() -> T + Send) -> T {
    let file = std::fs::File::open(namespace).unwrap();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            nix::sched::setns(&file, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            body()
        });
        thread.join().unwrap()
    })
}

/// What a web server says; nothing where it does not answer.
pub fn get(address: &str) -> Option<String> {
    let address: SocketAddr = address.parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&address, SILENCE).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text.rsplit("\r\n\r\n").next()?.trim().to_owned()).filter(|body| !body.is_empty())
}

/// Whether a datagram to this address is answered.
pub fn is_answered(address: &str) -> bool {
    let address: SocketAddr = address.parse().unwrap();
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).unwrap();
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    socket.send_to(b"are you there", address).is_ok() && socket.recv(&mut [0; 64]).is_ok()
}

/// Answers one datagram after the other in a namespace, until it is dropped.
pub struct Answerer {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Answerer {
    pub fn new(namespace: &Path, address: &str) -> Answerer {
        let socket = within(namespace, || UdpSocket::bind(address).unwrap());
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let ends = over.clone();
        let answer = move || {
            let mut buffer = [0; 64];
            while !ends.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(&buffer[..length], from);
                }
            }
        };
        Answerer { over, thread: Some(std::thread::spawn(answer)) }
    }
}

impl Drop for Answerer {
    /// Its socket keeps the namespace.
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
