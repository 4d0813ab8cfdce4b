//! What comes from a container, or from somebody who has no business here.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use corten_supervisor::client::Client;
use corten_supervisor::protocol::Operation;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, sendmsg, socket,
};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::json;

use crate::lab::{Lab, output_streams, proc, until};

/// CVE-2020-15257: containerd's shims listened on an abstract address, which belongs to a network
/// namespace, and a container with the host's network is in it. Ours has a path, and below a
/// directory that only its owner enters.
#[corten_tier::t1]
fn a_container_on_the_hosts_network_finds_no_control_socket() {
    let mut lab = Lab::new("cat /proc/net/unix; echo over; sleep 1000");
    let namespaces = lab.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "network");
    lab.run(&["--detach"]).ok();
    lab.said("over");
    // Sockets that listen are known by their flag; the last column is the address.
    let seen = lab.log();
    let abstract_ones: Vec<&str> =
        seen.lines().filter_map(|line| line.split_whitespace().nth(7)).collect();
    // It sees the host's sockets, ours among them: by a path that means nothing to it.
    assert!(abstract_ones.iter().any(|name| name.ends_with("control.sock")), "{seen}");
    let ours = abstract_ones.iter().filter(|name| name.contains("control.sock"));
    for name in ours {
        assert!(!name.starts_with('@'), "{name} is in reach of every container on this network");
    }
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&lab.directory()), 0o700);
    assert_eq!(mode(&lab.root()), 0o700);
    assert_eq!(mode(&lab.directory().join("control.sock")), 0o600);
}

/// Somebody else who has found a way to the socket all the same.
#[corten_tier::t1]
fn a_client_of_another_user_is_refused() {
    let lab = Lab::new("sleep 1000");
    let _client = lab.started();
    // The directory is opened before: what is tested is the check of who asks.
    let directory = std::fs::File::open(lab.directory()).unwrap();
    let path = format!("/proc/self/fd/{}/control.sock", directory.as_raw_fd());
    for open in [&lab.directory(), &lab.root(), &lab.base().join("run"), &lab.base().to_path_buf()]
    {
        std::fs::set_permissions(open, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let socket_path = lab.directory().join("control.sock");
    std::fs::set_permissions(&socket_path, std::fs::Permissions::from_mode(0o666)).unwrap();
    let status = |uid: u32| {
        let request = br#"J{"v":1,"id":1,"do":"status"}"#;
        // In a process of its own: credentials are taken at connect(2), and are per thread.
        let path = path.clone();
        let asking = std::thread::spawn(move || {
            crate::lab::sys::become_user(uid);
            let kind = SockType::SeqPacket;
            let socket = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None).unwrap();
            let address = UnixAddr::new(path.as_str()).unwrap();
            connect(socket.as_raw_fd(), &address).unwrap();
            let _ = nix::sys::socket::send(socket.as_raw_fd(), request, MsgFlags::MSG_NOSIGNAL);
            let mut answer = [0; 4096];
            nix::sys::socket::recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())
        });
        asking.join().unwrap()
    };
    assert!(status(0).unwrap() > 0);
    let refused = status(65534);
    assert!(matches!(refused, Ok(0) | Err(_)), "{refused:?}");
}

/// CVE-2019-5736: a container that opens /proc/PID/exe of its first process before that has become
/// its program finds the shim's own file. Nobody may write to that, also not when it does not run.
#[corten_tier::t1]
fn the_first_process_never_is_a_file_that_can_be_written() {
    let mut lab = Lab::new("sleep 1000");
    // A hook keeps the first process as it is before execve.
    let (seen, go) = (lab.base().join("seen"), lab.base().join("go"));
    let script = format!(
        "cat >{0}.new; mv {0}.new {0}; while ! test -e {1}; do sleep 0.02; done",
        seen.display(),
        go.display()
    );
    let env = ["PATH=/bin:/usr/bin:/sbin"];
    let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": env});
    lab.config["hooks"] = json!({"createRuntime": [hook]});
    lab.write_config();
    let mut command = lab.command(&["run", "--detach", lab.id()]);
    let mut launcher = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    until("the hook runs", || seen.exists());
    let state: serde_json::Value = serde_json::from_slice(&std::fs::read(&seen).unwrap()).unwrap();
    let exe = std::fs::File::open(format!("/proc/{}/exe", state["pid"])).unwrap();
    std::fs::write(go, "").unwrap();
    assert!(launcher.wait().unwrap().success());
    let file = crate::lab::supervisor().metadata().ok();
    if let Some(file) = file {
        assert_eq!((file.ino(), file.len()), (exe.metadata().unwrap().ino(), file.len()));
    }
    let flags = nix::sys::statvfs::fstatvfs(&exe).unwrap().flags();
    let sealed = nix::fcntl::fcntl(&exe, nix::fcntl::FcntlArg::F_GET_SEALS).unwrap_or(0) != 0;
    assert!(sealed || flags.contains(nix::sys::statvfs::FsFlags::ST_RDONLY), "{flags:?}");
}

/// CVE-2024-21626: a descriptor that is left open leads a container to the host.
#[corten_tier::t1]
fn a_container_has_three_descriptors() {
    for terminal in [false, true] {
        let mut lab = Lab::with_input(
            "ls /proc/self/fd | tr '\\n' ' '; ls /proc/1/fd | tr '\\n' ' '; echo over; sleep 1000",
        );
        lab.config["process"]["terminal"] = json!(terminal);
        let (mut client, mut shim) = lab.shim();
        std::thread::spawn(move || shim.wait());
        // Others that the shim has open.
        let _streams: Vec<OwnedFd> =
            (0..5).map(|_| client.attach(output_streams()).unwrap()).collect();
        client.start().unwrap();
        lab.said("over");
        // 3 is ls's own, of the directory that it reads; pid 1 may have one of its own beside.
        let seen = lab.log();
        assert!(seen.starts_with("0 1 2 3 0 1 2 "), "{seen}");
        let pid = client.status().unwrap().pid;
        for (number, target) in proc::descriptors(pid) {
            let stream = number < 3 || target.contains("/dev/tty") || target.contains("/dev/pts");
            assert!(stream, "{number} leads to {target}");
        }
        let exec = lab.exec(&["ls", "/proc/self/fd"], Some(output_streams()));
        let (number, _, streams) = client.exec(exec).unwrap();
        assert_eq!(crate::lab::output(streams.unwrap()), "0\n1\n2\n3\n");
        client.wait_exec(number).unwrap();
    }
}

/// What the shim blocks and ignores is its own affair.
#[corten_tier::t1]
fn a_container_has_all_signals() {
    let mut lab = Lab::new("");
    lab.config["process"]["args"] = json!(["grep", "Sig", "/proc/self/status"]);
    let text = lab.run(&[]).ok();
    for field in ["SigBlk", "SigIgn", "SigCgt"] {
        let line = text.lines().find(|line| line.starts_with(field)).unwrap();
        assert!(line.ends_with("\t0000000000000000"), "{line}");
    }
}

/// A signal to its own process group reaches nobody outside.
#[corten_tier::t1]
fn a_container_cannot_signal_the_shim() {
    for shared in [false, true] {
        let mut lab = Lab::new("kill -9 0; sleep 1000");
        if shared {
            lab.share_processes();
        }
        lab.started();
        until("it is killed, or not", || lab.exit().is_some() || !shared);
        if !shared {
            std::thread::sleep(std::time::Duration::from_millis(300));
        }
        assert!(proc::stat(lab.shim_pid()).is_alive() || lab.exit().is_some());
    }
}

/// A connection below the protocol.
struct Raw(OwnedFd);

impl Raw {
    fn connect(lab: &Lab) -> Raw {
        let kind = SockType::SeqPacket;
        let socket = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None).unwrap();
        let directory = std::fs::File::open(lab.directory()).unwrap();
        let path = format!("/proc/self/fd/{}/control.sock", directory.as_raw_fd());
        connect(socket.as_raw_fd(), &UnixAddr::new(path.as_str()).unwrap()).unwrap();
        Raw(socket)
    }

    fn send(&self, bytes: &[u8], fds: &[i32]) -> nix::Result<usize> {
        let rights = [ControlMessage::ScmRights(fds)];
        let control: &[ControlMessage<'_>] = if fds.is_empty() { &[] } else { &rights };
        let vector = [std::io::IoSlice::new(bytes)];
        let flags = MsgFlags::MSG_NOSIGNAL;
        sendmsg::<()>(self.0.as_raw_fd(), &vector, control, flags, None)
    }

    /// The next packet; empty where the connection is closed.
    fn receive(&self) -> String {
        let mut buffer = vec![0; 1 << 16];
        let flags = MsgFlags::empty();
        let length = nix::sys::socket::recv(self.0.as_raw_fd(), &mut buffer, flags).unwrap_or(0);
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }
}

/// What every hostile client is followed by: the shim lives, answers, and is no larger.
struct Unharmed {
    lab: Lab,
    client: Client,
    descriptors: usize,
    memory: u64,
}

impl Unharmed {
    fn new() -> Unharmed {
        let lab = Lab::new("sleep 1000");
        let mut client = lab.started();
        client.status().unwrap();
        let pid = lab.shim_pid();
        let descriptors = proc::descriptors(pid).len();
        Unharmed { memory: proc::own(pid), lab, client, descriptors }
    }

    #[track_caller]
    fn check(&mut self) {
        let pid = self.lab.shim_pid();
        until("all descriptors are closed", || {
            self.client.status().unwrap();
            proc::descriptors(pid).len() <= self.descriptors
        });
        let now = proc::own(pid);
        assert!(now <= self.memory + 256, "{} KiB, then {now} KiB", self.memory);
    }
}

#[corten_tier::t1]
fn a_packet_that_is_none_harms_nobody() {
    let mut shim = Unharmed::new();
    let long = [b"J".to_vec(), vec![b'['; 30_000]].concat();
    for packet in [
        &b"x"[..],
        b"J",
        b"F",
        b"J{",
        b"Jnull",
        b"J\xff\xfe",
        b"J[[[[[[[[",
        &long,
        br#"J{"v":1,"id":1,"do":{"resize":{"rows":-1}}}"#,
        br#"J{"v":1,"id":18446744073709551616,"do":"status"}"#,
    ] {
        let raw = Raw::connect(&shim.lab);
        raw.send(packet, &[]).unwrap();
        // An answer with a code, or the end of the connection.
        let answer = raw.receive();
        assert!(answer.is_empty() || answer.contains("\"error\""), "{answer}");
    }
    shim.check();
}

#[corten_tier::t1]
fn what_is_not_known_is_said_to_be_so() {
    let shim = Unharmed::new();
    let raw = Raw::connect(&shim.lab);
    let ask = |text: &str| {
        raw.send(format!("J{text}").as_bytes(), &[]).unwrap();
        serde_json::from_str::<serde_json::Value>(&raw.receive()[1..]).unwrap()["answer"].clone()
    };
    let unknown = ask(r#"{"v":9,"id":7,"do":{"teleport":{"to":"mars"}}}"#);
    assert_eq!((&unknown["id"], &unknown["error"]["code"]), (&json!(7), &json!("unknown")));
    let unknown = ask(r#"{"v":9,"id":8,"do":"levitate"}"#);
    assert_eq!((&unknown["id"], &unknown["error"]["code"]), (&json!(8), &json!("unknown")));
    // Of another version, but known.
    let known = ask(r#"{"v":9,"id":9,"do":"status","why":"new"}"#);
    assert_eq!(known["ok"]["status"]["phase"], "running");
    // Known, but no request.
    let wrong = ask(r#"{"v":1,"id":10,"do":{"resize":{"rows":"many"}}}"#);
    assert_eq!((&wrong["id"], &wrong["error"]["code"]), (&json!(10), &json!("invalid")));
}

#[corten_tier::t1]
fn large_packets_do_not_grow_the_shim() {
    let mut shim = Unharmed::new();
    for content in [vec![b' '; 16 << 20], vec![b'['; 16 << 20], vec![b'x'; 64 << 20]] {
        let file = std::fs::File::from(memfd_create(c"large", MFdFlags::MFD_CLOEXEC).unwrap());
        std::io::Write::write_all(&mut &file, &content).unwrap();
        for _ in 0..3 {
            let raw = Raw::connect(&shim.lab);
            raw.send(b"F", &[file.as_raw_fd()]).unwrap();
            raw.receive();
        }
    }
    // Many small values, which a reader of JSON keeps one by one.
    let many = format!(r#"{{"v":1,"id":1,"do":{{"update":[{}1]}}}}"#, "1,".repeat(4 << 20));
    let file = std::fs::File::from(memfd_create(c"large", MFdFlags::MFD_CLOEXEC).unwrap());
    std::io::Write::write_all(&mut &file, many.as_bytes()).unwrap();
    let raw = Raw::connect(&shim.lab);
    raw.send(b"F", &[file.as_raw_fd()]).unwrap();
    assert!(raw.receive().contains("invalid"));
    drop(raw);
    shim.check();
}

/// A pipe never ends, a device never either: the shim must not wait for them.
#[corten_tier::t1]
fn files_that_are_none_in_memory_are_not_read() {
    let mut shim = Unharmed::new();
    let (read, _write) = nix::unistd::pipe().unwrap();
    let zero = std::fs::File::open("/dev/zero").unwrap();
    let directory = std::fs::File::open("/").unwrap();
    for fd in [read.as_fd(), zero.as_fd(), directory.as_fd()] {
        let raw = Raw::connect(&shim.lab);
        raw.send(b"F", &[fd.as_raw_fd()]).unwrap();
        assert_eq!(raw.receive(), "");
    }
    shim.check();
}

#[corten_tier::t1]
fn descriptors_that_nobody_asked_for_are_closed() {
    let mut shim = Unharmed::new();
    let file = std::fs::File::open("/dev/null").unwrap();
    for number in [1, 2, 3, 200] {
        let raw = Raw::connect(&shim.lab);
        let fds = vec![file.as_raw_fd(); number];
        raw.send(br#"J{"v":1,"id":1,"do":"status"}"#, &fds).unwrap();
        raw.receive();
    }
    shim.check();
}

/// Who asks and never reads is dropped; who waits a thousand times is told that it is enough; who
/// connects again and again finds the door closed, and others do not.
#[corten_tier::t1]
fn a_flood_drowns_nobody() {
    let mut shim = Unharmed::new();
    let deaf = Raw::connect(&shim.lab);
    while deaf.send(br#"J{"v":1,"id":1,"do":"status"}"#, &[]).is_ok() {}
    let waiting = Raw::connect(&shim.lab);
    for _ in 0..64 {
        waiting.send(br#"J{"v":1,"id":1,"do":{"wait":{}}}"#, &[]).unwrap();
    }
    waiting.send(br#"J{"v":1,"id":2,"do":{"wait":{}}}"#, &[]).unwrap();
    assert!(waiting.receive().contains("too many"));
    let crowd: Vec<Raw> = (0..300).map(|_| Raw::connect(&shim.lab)).collect();
    shim.client.status().unwrap();
    let last = crowd.last().unwrap();
    let _ = last.send(br#"J{"v":1,"id":1,"do":"status"}"#, &[]);
    assert_eq!(last.receive(), "");
    proc::comes_to_rest(shim.lab.shim_pid());
    drop((deaf, waiting, crowd));
    shim.check();
    assert!(Client::connect(&shim.lab.directory(), shim.lab.id()).unwrap().status().is_ok());
}

/// With no descriptor left, a client is sent away, and no time is spent.
#[corten_tier::t1]
fn a_shim_without_descriptors_lives() {
    let shim = Unharmed::new();
    let mut client = shim.client;
    let pid = shim.lab.shim_pid();
    crate::lab::sys::limit_files(pid, 36);
    let crowd: Vec<Raw> = (0..60).map(|_| Raw::connect(&shim.lab)).collect();
    client.status().unwrap();
    proc::comes_to_rest(pid);
    assert_eq!(crowd.last().unwrap().receive(), "");
    assert!(client.attach(output_streams()).is_err());
    assert!(client.exec(shim.lab.exec(&["true"], None)).is_err());
    drop(crowd);
    client.perform(Operation::Signal { number: libc::SIGKILL, all: false }).unwrap();
    until("its end is written", || shim.lab.exit().is_some());
}

/// Whatever the bytes.
#[corten_tier::t1]
fn no_packet_ends_the_shim() {
    let mut shim = Unharmed::new();
    let words = prop::sample::select(vec![
        "\"v\":1",
        "\"id\":7",
        "\"do\":",
        "{",
        "}",
        ",",
        "\"exec\"",
        ":{",
        "\"process\"",
        "[",
        "]",
        "\"resize\"",
        "\"signal\"",
        "{\"number\":10}",
        "\"update\"",
        "\"wait-exec\"",
        "null",
        "1e99",
        "\"attach\"",
        "\"policy\"",
        "{\"name\":\"no\"}",
        "\\u0000",
        "\"terminal\":true",
        "-1",
    ]);
    let text = prop::collection::vec(words, 0..12).prop_map(|words| words.concat().into_bytes());
    let bytes = prop::collection::vec(any::<u8>(), 0..200);
    let packet = (any::<bool>(), prop_oneof![text, bytes], 0..4usize);
    let cases = if std::env::var_os(corten_tier::IN_VM).is_some() { 64 } else { 512 };
    let mut runner = TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    });
    let null = std::fs::File::open("/dev/null").unwrap();
    let lab = &shim.lab;
    let result = runner.run(&packet, |(inline, mut bytes, fds)| {
        if inline {
            bytes.insert(0, b'J');
        }
        let raw = Raw::connect(lab);
        let _ = raw.send(&bytes, &vec![null.as_raw_fd(); fds]);
        drop(raw);
        prop_assert!(proc::stat(lab.shim_pid()).is_alive());
        Ok(())
    });
    result.unwrap();
    shim.check();
}
