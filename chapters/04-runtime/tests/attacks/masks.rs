//! What hides and protects files, made to do the opposite: CVE-2025-31133, CVE-2025-52565 and
//! CVE-2025-52881 are of one kind. Each leads the runtime to something that it trusts by its name.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use serde_json::json;

use super::fails;
use super::lab::{Lab, Outcome, Runtime, finish, until};

/// A volume for `/dev`, as one container can prepare it for the next.
fn forged_dev(lab: &mut Lab) -> std::path::PathBuf {
    let dev = lab.volume("dev");
    fs::create_dir(dev.join("pts")).unwrap();
    symlink("pts/ptmx", dev.join("ptmx")).unwrap();
    lab.unmount("/dev");
    let pts = lab.config["mounts"].as_array().unwrap().last().unwrap().clone();
    lab.unmount("/dev/pts");
    lab.bind(&dev, "/dev");
    lab.mount(pts);
    dev
}

// ANCHOR: cve_2025_31133
/// A file is masked with /dev/null. Where the container's is a link, whatever it leads to is
/// mounted instead, and can be written: in the wild, /proc/sys/kernel/core_pattern.
pub fn null_is_a_link(runtime: Runtime) -> Outcome {
    let mut lab = Lab::new(runtime);
    let dev = forged_dev(&mut lab);
    symlink("/etc/target", dev.join("null")).unwrap();
    fs::write(lab.rootfs().join("etc/target"), "the link's target\n").unwrap();
    fs::write(lab.rootfs().join("etc/masked"), "what shall be hidden\n").unwrap();
    lab.config["linux"]["maskedPaths"] = json!(["/etc/masked"]);
    lab.script("echo written >/etc/masked; cat /etc/target /etc/masked; echo end");
    let ran = lab.run();
    let redirected = ran.text.contains("written") || ran.text.contains("hidden");
    if redirected { Outcome::Succeeded } else { ran.stopped() }
}
// ANCHOR_END: cve_2025_31133

#[corten_tier::t1]
fn cve_2025_31133() {
    fails(null_is_a_link);
}

// ANCHOR: cve_2025_52565
/// The terminal is mounted on /dev/console. Where that is a link, it is mounted on what the link
/// leads to, and before anything is masked.
pub fn console_is_a_link(runtime: Runtime) -> Outcome {
    let mut lab = Lab::new(runtime);
    let dev = forged_dev(&mut lab);
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        fs::write(dev.join(name), "").unwrap();
    }
    symlink("/etc/target", dev.join("console")).unwrap();
    fs::write(lab.rootfs().join("etc/target"), "").unwrap();
    lab.config["process"]["terminal"] = json!(true);
    lab.script("[ -c /etc/target ] && touch /etc/redirected; touch /etc/end");
    let socket = lab.outside().join("console.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let receiver = std::thread::spawn(move || {
        // Without a terminal nobody connects: the test connects itself then.
        let (stream, _) = listener.accept().unwrap();
        let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
        let mut byte = [0; 64];
        let mut io = [std::io::IoSliceMut::new(&mut byte)];
        let flags = nix::sys::socket::MsgFlags::empty();
        let fd = stream.as_raw_fd();
        let received = nix::sys::socket::recvmsg::<()>(fd, &mut io, Some(&mut space), flags);
        // The master stays open until this process ends, for the container to write to.
        received.map(|message| message.bytes).unwrap_or(0)
    });
    let options = ["--detach", "--console-socket", socket.to_str().unwrap()];
    let ran = finish(lab.command("run", &options));
    drop(std::os::unix::net::UnixStream::connect(&socket));
    let _ = receiver.join();
    if ran.status == Some(0) {
        until(|| lab.rootfs().join("etc/end").exists(), || ran.text.clone());
    }
    if lab.rootfs().join("etc/redirected").exists() { Outcome::Succeeded } else { ran.stopped() }
}
// ANCHOR_END: cve_2025_52565

#[corten_tier::t1]
fn cve_2025_52565() {
    fails(console_is_a_link);
}

// ANCHOR: cve_2025_52881
/// What the runtime writes to /proc goes elsewhere, where the container's configuration has put a
/// file system over a part of it: a kernel parameter is not set, a label is not taken on.
pub fn parameter_is_redirected(runtime: Runtime) -> Outcome {
    let mut lab = Lab::new(runtime);
    lab.mount(json!({ "destination": "/proc/sys/net/ipv4", "type": "tmpfs", "source": "tmpfs" }));
    fs::create_dir(lab.rootfs().join("real")).unwrap();
    lab.mount(json!({ "destination": "/real", "type": "proc", "source": "proc" }));
    lab.config["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1" });
    lab.script("echo forward $(cat /real/sys/net/ipv4/ip_forward)");
    let ran = lab.run();
    if ran.text.contains("forward 0") { Outcome::Succeeded } else { ran.stopped() }
}
// ANCHOR_END: cve_2025_52881

#[corten_tier::t1]
fn cve_2025_52881() {
    fails(parameter_is_redirected);
}
