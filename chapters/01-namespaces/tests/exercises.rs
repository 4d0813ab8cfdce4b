//! The solutions of the exercises of chapter 1, each put to the test.
// clippy.toml allows it in functions with #[test], not in those that they call.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Seek};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use corten_namespaces::spawn::Exit;
use corten_namespaces::{Namespace, Plan};

#[path = "../examples/outlives.rs"]
#[allow(dead_code)]
mod outlives;
#[path = "../examples/pod.rs"]
#[allow(dead_code)]
mod pod;
#[path = "../examples/shared.rs"]
#[allow(dead_code)]
mod shared;
#[path = "../examples/stop.rs"]
#[allow(dead_code)]
mod stop;

/// A root of busybox alone.
fn rootfs() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("bin")).unwrap();
    corten_tier::copy_program("/bin/busybox", root.path().join("bin/busybox"));
    for applet in ["sh", "sleep", "readlink", "true"] {
        std::os::unix::fs::symlink("busybox", root.path().join("bin").join(applet)).unwrap();
    }
    // A user other than root has to get in.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(root.path(), mode).unwrap();
    root
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn words(command: &[&str]) -> Vec<String> {
    command.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn exercise_1_a_process_shares_all_with_its_child() {
    let own = std::process::id() as i32;
    let mut child = Command::new("sleep").arg("10").spawn().unwrap();
    let (same, different) = shared::shared(own, child.id() as i32).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(same, Namespace::ALL);
    assert!(different.is_empty());
}

#[corten_tier::t1]
fn exercise_2_who_ignores_sigterm_is_killed() {
    let root = rootfs();
    // Pid 1 without a handler: SIGTERM does not even reach it.
    let mut deaf = pod::member(text(root.path()), &words(&["sleep", "60"]), None, None).unwrap();
    let exit = stop::stop(&mut deaf, Duration::from_millis(200)).unwrap();
    assert_eq!(exit, Exit::Signal(9));
}

#[corten_tier::t1]
fn exercise_2_who_obeys_is_not_killed() {
    let root = rootfs();
    let (mut ready, writer) = std::io::pipe().unwrap();
    let script = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done";
    let command = words(&["sh", "-c", script]);
    let output = Some(writer.into());
    let mut polite = pod::member(text(root.path()), &command, None, output).unwrap();
    ready.read_exact(&mut [0; 5]).unwrap();
    let exit = stop::stop(&mut polite, Duration::from_secs(20)).unwrap();
    assert_eq!(exit, Exit::Code(5));
}

#[corten_tier::t1]
fn exercise_3_the_pod_shares_its_network_and_nothing_else() {
    let root = rootfs();
    let mut first = pod::member(text(root.path()), &words(&["sleep", "60"]), None, None).unwrap();
    let mut output = tempfile::tempfile().unwrap();
    let command = words(&["sh", "-c", "readlink /proc/self/ns/net; readlink /proc/self/ns/uts"]);
    let fd = output.try_clone().unwrap().into();
    let mut second = pod::member(text(root.path()), &command, Some(&first), Some(fd)).unwrap();
    assert_eq!(second.wait().unwrap(), Exit::Code(0));
    let mut said = String::new();
    output.rewind().unwrap();
    output.read_to_string(&mut said).unwrap();
    let of_first = |namespace: Namespace| namespace.of(first.pid()).unwrap().inode;
    let (net, uts) = said.trim().split_once('\n').unwrap();
    assert_eq!(net, format!("net:[{}]", of_first(Namespace::Net)));
    assert_ne!(uts, format!("uts:[{}]", of_first(Namespace::Uts)));
    first.signal(9).unwrap();
    first.wait().unwrap();
}

/// Whether the container of a plan still runs when the process that spawned it has ended.
fn outlives_its_parent(plan: impl FnOnce() -> Plan + Send) -> bool {
    // PR_SET_PDEATHSIG counts from the thread that spawned, so a thread can play the parent.
    let container =
        std::thread::scope(|scope| scope.spawn(|| plan().spawn().unwrap()).join().unwrap());
    let mut ended = [nix::poll::PollFd::new(container.pidfd(), nix::poll::PollFlags::POLLIN)];
    nix::poll::poll(&mut ended, 1000u16).unwrap() == 0
}

#[corten_tier::t1]
fn exercise_4_the_broken_plan_outlives_its_parent_and_the_mended_one_does_not() {
    use outlives::{broken, mended};
    let root = rootfs();
    let rootfs = text(root.path());
    let command = words(&["sleep", "60"]);
    assert!(outlives_its_parent(|| broken(rootfs, 1000, &command).unwrap()));
    assert!(!outlives_its_parent(|| mended(rootfs, 1000, &command).unwrap()));
}
