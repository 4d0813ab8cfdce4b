//! What hides and protects files, made to do the opposite: CVE-2025-31133, CVE-2025-52565 and
//! CVE-2025-52881 are of one kind. Each leads the runtime to something that it trusts by its name.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use serde_json::json;

use super::fails;
use super::lab::{Lab, Outcome, Ran, Runtime, finish, until};
use super::mounts::rounds;

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

/// A volume for `/dev` as [`forged_dev`] makes it, in which no device can be made any more.
fn crowded_dev(lab: &mut Lab) -> std::path::PathBuf {
    let dev = forged_dev(lab);
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        fs::write(dev.join(name), "").unwrap();
    }
    dev
}

/// Runs the lab's container with a terminal, until it has made `/etc/end`.
fn run_with_terminal(lab: &mut Lab) -> Ran {
    lab.config["process"]["terminal"] = json!(true);
    let socket = lab.outside().join("console.sock");
    let _ = fs::remove_file(&socket);
    let _ = fs::remove_file(lab.rootfs().join("etc/end"));
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
    lab.delete();
    ran
}

// ANCHOR: cve_2025_52565
/// The terminal is mounted on /dev/console. Where that is a link, it is mounted on what the link
/// leads to, and before anything is masked.
pub fn console_is_a_link(runtime: Runtime) -> Outcome {
    let mut lab = Lab::new(runtime);
    let dev = crowded_dev(&mut lab);
    symlink("/etc/target", dev.join("console")).unwrap();
    fs::write(lab.rootfs().join("etc/target"), "").unwrap();
    lab.script("[ -c /etc/target ] && touch /etc/redirected; touch /etc/end");
    let ran = run_with_terminal(&mut lab);
    if lab.rootfs().join("etc/redirected").exists() { Outcome::Succeeded } else { ran.stopped() }
}

/// The other way round: what is mounted on /dev/console is not the terminal but what a link in the
/// place of /dev/pts/0 leads to, a file that will be read-only only later. Such a mount of it is
/// not. Another container that has the volume exchanges the directory with the terminals for one
/// with such a link, all the time; `script` is what the program does then.
fn exchange_terminal(
    runtime: Runtime,
    target: &str,
    script: &str,
    redirected: impl Fn(&Lab) -> bool,
) -> Outcome {
    let mut lab = Lab::new(runtime);
    let dev = crowded_dev(&mut lab);
    fs::write(dev.join("console"), "").unwrap();
    // Whichever of the two has the terminals mounted on it: under the name of the other, its
    // /dev/pts/ptmx still makes one.
    let (pts, trap) = (dev.join("pts"), dev.join("trap"));
    fs::create_dir(&trap).unwrap();
    for directory in [&pts, &trap] {
        symlink(target, directory.join("0")).unwrap();
        symlink("/dev/trap/ptmx", directory.join("ptmx")).unwrap();
    }
    lab.config["linux"]["readonlyPaths"] = json!(["/proc/sys"]);
    lab.script(&format!("{script}\ntouch /etc/end"));
    let stop = AtomicBool::new(false);
    let mut said = Outcome::Stopped(String::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = renameat2(AT_FDCWD, &pts, AT_FDCWD, &trap, RenameFlags::RENAME_EXCHANGE);
            }
        });
        for _ in 0..rounds(runtime) {
            said = run_with_terminal(&mut lab).stopped();
            if redirected(&lab) {
                said = Outcome::Succeeded;
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    said
}

/// The file is the host name of the container's own namespace, which does this machine no harm.
pub fn terminal_is_exchanged(runtime: Runtime) -> Outcome {
    let file = "/proc/sys/kernel/hostname";
    let script = format!(
        "echo direct >{file} && touch /etc/unprotected
         echo redirected >/dev/console; hostname >/etc/name"
    );
    exchange_terminal(runtime, file, &script, |lab| {
        assert!(!lab.rootfs().join("etc/unprotected").exists(), "/proc/sys can be written");
        let name = fs::read_to_string(lab.rootfs().join("etc/name")).unwrap_or_default();
        name.trim() == "redirected"
    })
}
// ANCHOR_END: cve_2025_52565

#[corten_tier::t1]
fn cve_2025_52565() {
    fails(console_is_a_link);
}

#[corten_tier::t1]
fn cve_2025_52565_exchanged() {
    // Without the defence: mutants/18-terminal-by-name.patch.
    fails(terminal_is_exchanged);
}

/// The whole of it, in a VM whose kernel it may subvert: where a core dump goes is one of the files
/// of /proc/sys, and what goes to a pipe is a program that the kernel runs on the host.
fn core_pattern_runs(runtime: Runtime) -> Outcome {
    let owned = tempfile::tempdir().unwrap();
    let mark = owned.path().join("owned");
    let agent = owned.path().join("agent");
    fs::write(&agent, format!("#!/bin/sh\ntouch {}\n", mark.display())).unwrap();
    fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).unwrap();
    let script = format!(
        "echo '|{}' >/dev/console; ulimit -c unlimited; sh -c 'kill -SEGV $$'; sleep 0.3",
        agent.display()
    );
    exchange_terminal(runtime, "/proc/sys/kernel/core_pattern", &script, |_| mark.exists())
}

#[corten_tier::t2]
fn cve_2025_52565_runs_on_the_host() {
    fails(core_pattern_runs);
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
