//! A container without root: chapter 1's program in a user namespace, and a network for it by a program
//! of the distribution's, since making a cable to the host's network is root's.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::image;
use crate::error::{Error, OnPath, Result};
use crate::{process, say};
use carrier::{Carrier, PATIENCE};

// Chapter 1's: the engine's way out without root is the same one.
#[path = "../../../chapters/01-namespaces/src/rootless/carrier.rs"]
mod carrier;

/// Connects the network namespace of a process; gives what is to be ended after it. Where it cannot,
/// that is told, and the container has its loopback interface.
fn connect(carrier: Carrier, pid: u32) -> Result<Option<Child>> {
    let command = carrier.command(pid);
    let carried = carrier.connect(pid).map_err(|source| process::start_error(&command, source))?;
    if carried.is_none() {
        say!("{} could not do it: {}", carrier.program(), process::line(&command));
    }
    Ok(carried)
}

/// Runs the script that shows a container, as whoever calls.
///
/// # Errors
/// Where it cannot be run.
pub fn run(program: &Path, root: &Path, script: &str) -> Result<()> {
    let mut command = Command::new(program);
    command.args(["run", "--map-root", "--hostname", "corten", "--rootfs"]).arg(root);
    command.env("PATH", image::PATH);
    let Some(carrier) = Carrier::here() else {
        say!("its network is a loopback interface: for more, install passt (or slirp4netns)");
        return process::run(command.args(["--", "/bin/sh", "-c", script]));
    };
    say!("its network is made by {}", carrier.program());
    if Path::new("/etc/resolv.conf").is_file() {
        command.args(["--volume", "/etc/resolv.conf:/etc/resolv.conf:ro"]);
    }
    // It waits until it is connected.
    let waits = format!("read -r go || exit; {script}");
    command.args(["--", "/bin/sh", "-c", &waits]).stdin(Stdio::piped());
    let mut child = command.spawn().map_err(|source| process::start_error(&command, source))?;
    let carried = inside(&child).and_then(|pid| connect(carrier, pid));
    if let (Ok(_), Some(stdin)) = (&carried, &mut child.stdin) {
        // One that has ended says so itself.
        let _ = stdin.write_all(b"go\n");
    }
    // Without the word it ends, too.
    drop(child.stdin.take());
    let ended = child.wait().on("wait for", program)?;
    if let Some(mut carrier) = carried? {
        let _ = carrier.kill();
        let _ = carrier.wait();
    }
    match ended.success() {
        true => Ok(()),
        false => Err(Error::Ended { command: process::line(&command), status: ended }),
    }
}

/// The container's first process, once it is in all its namespaces: it is the shell then.
fn inside(child: &Child) -> Result<u32> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let children = std::fs::read_to_string(children).unwrap_or_default();
        let first = children.split_whitespace().next().and_then(|pid| pid.parse().ok());
        let is_shell = |pid: &u32| {
            std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm == "sh\n")
        };
        if let Some(pid) = first.filter(is_shell) {
            return Ok(pid);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Err(Error::failed("the container does not start"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// Names the directory with the program and the root for [`as_anybody`].
    const PLACE: &str = "CORTEN_ROOTLESS_TEST";

    /// Not a test but what the one below runs without root.
    #[test]
    fn as_anybody() {
        let Some(place) = std::env::var_os(PLACE).map(std::path::PathBuf::from) else { return };
        let script = "ip -o addr; ip route; id -u";
        run(&place.join("corten-namespaces"), &place.join("root"), script).unwrap();
    }

    fn sh(script: &str) {
        let status = Command::new("sh").args(["-ec", script]).status().unwrap();
        assert!(status.success(), "{script}");
    }

    #[corten_tier::t1]
    fn without_root_a_container_has_a_network_by_either_program() {
        if std::env::var_os(corten_tier::IN_VM).is_some() {
            // With `--everywhere`: neither program is there, nor what is built of others.
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let place = dir.path().display();
        let built = crate::workspace::target().join("debug/corten-namespaces");
        // udev opens the device of user space's network cards to everybody; not here.
        sh(&format!(
            "cp {} {place}; cd {place}; mkdir -p root/bin root/dev root/proc root/sys root/tmp root/etc
             cp /bin/busybox root/bin; for name in sh ip id; do ln -s busybox root/bin/$name; done
             chown -R 1000:1000 root
             mount -t tmpfs tun /dev/net; mknod -m 666 /dev/net/tun c 10 200",
            built.display()
        ));
        // A host that has somewhere to go, which it shares.
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        sh("ip link set lo up; ip link add out type veth peer name other; ip link set other up
            ip address add 192.0.2.1/24 dev out; ip link set out up
            ip route add default via 192.0.2.2");
        let hidden = |other: &str| format!("mount --bind /dev/null $(command -v {other})");
        let run = || {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=1000", "--regid=1000", "--clear-groups"]);
            command.arg(std::env::current_exe().unwrap()).args(["as_anybody", "--nocapture"]);
            let output = command.env(PLACE, dir.path()).output().unwrap();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            assert!(output.status.success(), "{} {}", text(&output.stdout), text(&output.stderr));
            text(&output.stdout) + &text(&output.stderr)
        };
        let carriers = || {
            let list = "pgrep -u 1000 -x 'pasta|passt|passt.avx2|pasta.avx2|slirp4netns' || true";
            Command::new("sh").args(["-c", list]).output().unwrap().stdout
        };
        let before = carriers();
        let by_pasta = run();
        assert!(
            by_pasta.contains("192.0.2.1/24") && by_pasta.contains("default via"),
            "{by_pasta}"
        );
        sh(&hidden("pasta"));
        let by_slirp = run();
        assert!(by_slirp.contains("10.0.2.100/24") && by_slirp.contains("tap0"), "{by_slirp}");
        sh(&hidden("slirp4netns"));
        // Of slirp4netns's two processes the other one ends when it sees that the first has.
        let begun = Instant::now();
        while carriers() != before && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(carriers(), before, "they end with the container");
        let alone = run();
        assert!(alone.contains("install passt") && !alone.contains("default via"), "{alone}");
    }
}
