//! What comes over the control socket, or over the streams that it has given out.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use corten_supervisor::protocol::{Attach, Operation};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, sendmsg,
    socket,
};

use super::Outcome;
use crate::lab::{Lab, sys};

/// A connection below the protocol.
fn connected(lab: &Lab) -> OwnedFd {
    let kind = SockType::SeqPacket;
    let socket = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None).unwrap();
    let directory = std::fs::File::open(lab.directory()).unwrap();
    let path = format!("/proc/self/fd/{}/control.sock", directory.as_raw_fd());
    connect(socket.as_raw_fd(), &UnixAddr::new(path.as_str()).unwrap()).unwrap();
    socket
}

fn running(script: &str, program: &Path) -> Lab {
    let mut lab = Lab::new(script);
    lab.program = program.to_owned();
    lab.settings.log = None;
    lab
}

/// An administrator has opened the directories for a program that is to read logs, and somebody who
/// is not root kills a container.
pub fn another_user(program: &Path) -> Outcome {
    let lab = running("sleep 1000", program);
    let _client = lab.started();
    for path in [&lab.directory(), &lab.root(), &lab.base().join("run"), &lab.base().to_path_buf()]
    {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let socket = lab.directory().join("control.sock");
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o666)).unwrap();
    let attack = || {
        sys::become_user(65534);
        let socket = connected(&lab);
        let request = br#"J{"v":1,"id":1,"do":{"signal":{"number":9}}}"#;
        let sent = nix::sys::socket::send(socket.as_raw_fd(), request, MsgFlags::MSG_NOSIGNAL);
        sent.and_then(|_| recv(socket.as_raw_fd(), &mut [0; 4096], MsgFlags::empty()))
    };
    // Credentials are per thread, and this one ends.
    let answer = std::thread::scope(|scope| scope.spawn(attack).join().unwrap());
    match answer {
        Ok(length) if length > 0 => Outcome::Succeeded,
        Ok(_) => Outcome::Stopped("the connection is closed".into()),
        Err(errno) => Outcome::Stopped(errno.to_string()),
    }
}

/// So long a program may take to write what [`deaf`] has it write.
fn patience() -> Duration {
    let emulated = std::env::var_os(corten_tier::IN_VM).is_some();
    Duration::from_secs(if emulated { 60 } else { 5 })
}

// ANCHOR: deaf
/// A client attaches, and reads nothing. The container shall stand still.
pub fn deaf(program: &Path) -> Outcome {
    let script = "head -c 40000000 /dev/zero; echo done >/tmp/done; sleep 1000";
    let lab = running(script, program);
    let mut client = lab.started();
    let _streams = client.attach(Attach { stdout: true, ..Attach::default() }).unwrap();
    let (begun, done) = (Instant::now(), lab.rootfs().join("tmp/done"));
    while begun.elapsed() < patience() {
        if done.exists() {
            return Outcome::Stopped("the client is dropped, and the program goes on".into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Outcome::Succeeded
}
// ANCHOR_END: deaf

/// A client sends descriptors that nobody asked for, until the supervisor has none left for an exec.
pub fn descriptors(program: &Path) -> Outcome {
    let lab = running("sleep 1000", program);
    let mut client = lab.started();
    sys::limit_files(client.status().unwrap().supervisor, 256);
    let null = std::fs::File::open("/dev/null").unwrap();
    for _ in 0..200 {
        let socket = connected(&lab);
        let fds = [null.as_raw_fd(); 3];
        let content = br#"J{"v":1,"id":1,"do":"status"}"#;
        let (rights, vector) =
            ([ControlMessage::ScmRights(&fds)], [std::io::IoSlice::new(content)]);
        let flags = MsgFlags::MSG_NOSIGNAL;
        let _ = sendmsg::<()>(socket.as_raw_fd(), &vector, &rights, flags, None);
        let _ = recv(socket.as_raw_fd(), &mut [0; 4096], MsgFlags::empty());
    }
    let exec = lab.exec(&["true"], None);
    match client.perform(Operation::Exec(Box::new(exec))) {
        Ok(()) => Outcome::Stopped("they are closed, and an exec runs".into()),
        Err(_) => Outcome::Succeeded,
    }
}
